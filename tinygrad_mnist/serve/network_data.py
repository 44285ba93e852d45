"""A trained network as data that JavaScript computes with: its layers one after the other, and their weights.

The layers are those that the model was built of, whoever built it: a `Sequential`, or several in each other,
of the modules in `LAYERS`. What is not there is refused by name. `serve/page_local/network.js` has a row for
each kind of layer that the functions here write.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import nn
from tinygrad_mnist.engine.tape import no_grad
from tinygrad_mnist.nn.image_options import pair, sides
from tinygrad_mnist.nn.module import MODULE, evaluation_mode
from tinygrad_mnist.nn.pooling_functions import pool_options
from tinygrad_mnist.ops.windows import NO_PADDING, Pair, Sides
from tinygrad_mnist.training.checkpoints.checkpoint import Checkpoint
from tinygrad_mnist.training.errors import CheckpointError

MOST_WEIGHTS: Final = 1 << 23
"""Weights of a network at most: as text they are 45 MB, which a telephone still loads."""

Shape = tuple[int, ...]


Layer = tuple[str, dict[str, Any]]
"""The name of a row in the JavaScript, and the options that it takes; its weights are those of the module."""


class _Unsupported(Exception):
    """An option of a layer that the JavaScript does not have: a phrase that says which."""


# ---- each kind of module -----------------------------------------------------------------------------------


def _nothing(module: Any, before: Shape) -> None:
    """Leave out a module that does nothing when a network is evaluated."""


def _flatten(module: nn.Flatten, before: Shape) -> None:
    """Leave out a reshape: in JavaScript, too, the numbers lie in one row."""
    if module.start_dim != 1 or module.end_dim not in (-1, len(before)):
        raise _Unsupported(f"start_dim={module.start_dim} and end_dim={module.end_dim}, where 1 and -1 are")


def _linear(module: nn.Linear, before: Shape) -> Layer:
    if len(before) != 1:
        raise _Unsupported(f"an input of {len(before)} axes, where one is: put nn.Flatten() before it")
    return "linear", {}


def _conv2d(module: nn.Conv2d, before: Shape) -> Layer:
    if module.padding_mode != "zeros":
        raise _Unsupported(f"padding_mode={module.padding_mode!r}, where 'zeros' is")
    kernel, stride, dilation = module.kernel_size, module.stride, module.dilation
    windows = _windows(kernel, stride, sides(module.padding, kernel, stride, dilation), dilation)
    return "conv2d", {**windows, "groups": module.groups}


def _windows(kernel: Pair, stride: Pair, padding: Sides, dilation: Pair = (1, 1)) -> dict[str, Any]:
    """Return where the windows over an image lie.

    How many there are follows from the shapes. So does the padding at the bottom and the right, and with it
    what ``ceil_mode`` adds there.
    """
    corner = tuple(before for before, _ in padding)
    return {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": corner}


def _max_pool(module: nn.MaxPool2d, before: Shape) -> Layer:
    options = pool_options(module.kernel_size, module.stride, module.padding)
    return "max-pool", _windows(*options, pair("dilation", module.dilation))


def _avg_pool(module: nn.AvgPool2d, before: Shape) -> Layer:
    kernel, stride, around = pool_options(module.kernel_size, module.stride, module.padding)
    counted = around if module.count_include_pad else NO_PADDING
    divisor = {"counted": counted, "divisor": module.divisor_override}
    return "avg-pool", {**_windows(kernel, stride, around), **divisor}


def _adaptive_avg_pool(module: nn.AdaptiveAvgPool2d, before: Shape) -> Layer:
    wanted = module.output_size
    each = wanted if isinstance(wanted, (tuple, list)) else (wanted, wanted)
    size = [length if one is None else one for one, length in zip(each, before[1:], strict=True)]
    if any(length % one for one, length in zip(size, before[1:], strict=True)):
        raise _Unsupported(f"output_size={wanted} of images of {before[1:]}, where a divisor of it is")
    kernel = (before[1] // size[0], before[2] // size[1])
    whole = {"counted": NO_PADDING, "divisor": None}
    return "avg-pool", {**_windows(kernel, kernel, NO_PADDING), **whole}


def _batch_norm(module: nn.BatchNorm1d | nn.BatchNorm2d, before: Shape) -> Layer:
    if module.running_mean is None:
        raise _Unsupported("track_running_stats=False, where running statistics are")
    return "batch-norm", {"eps": module.eps, "run": _pixels(before)}


def _group_norm(module: nn.GroupNorm, before: Shape) -> Layer:
    length = before[0] // module.num_groups * _pixels(before)
    return "norm", {"length": length, "run": _pixels(before), "centred": True, "eps": module.eps}


def _layer_norm(module: nn.LayerNorm, before: Shape) -> Layer:
    length = math.prod(module.normalized_shape)
    return "norm", {"length": length, "run": 1, "centred": True, "eps": module.eps}


def _rms_norm(module: nn.RMSNorm, before: Shape) -> Layer:
    eps = float(np.finfo(np.float32).eps) if module.eps is None else module.eps
    length = math.prod(module.normalized_shape)
    return "norm", {"length": length, "run": 1, "centred": False, "eps": eps}


def _activation(name: str, **options: str) -> Callable[[Any, Shape], Layer]:
    """Return a function that writes an activation, its options taken from attributes of the module."""

    def layer(module: nn.Module, before: Shape) -> Layer:
        return "activation", {"name": name, **{key: getattr(module, own) for key, own in options.items()}}

    return layer


def _gelu(module: nn.GELU, before: Shape) -> Layer:
    return "activation", {"name": "gelu" if module.approximate == "none" else "gelu-tanh"}


LAYERS: Final[dict[type[nn.Module], Callable[[Any, Shape], Layer | None]]] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv2d,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _avg_pool,
    nn.AdaptiveAvgPool2d: _adaptive_avg_pool,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _rms_norm,
    nn.ReLU: _activation("relu"),
    nn.LeakyReLU: _activation("leaky-relu", slope="negative_slope"),
    nn.ELU: _activation("elu", alpha="alpha"),
    nn.SiLU: _activation("silu"),
    nn.GELU: _gelu,
    nn.Tanh: _activation("tanh"),
    nn.Sigmoid: _activation("sigmoid"),
    nn.Softplus: _activation("softplus", beta="beta", threshold="threshold"),
    nn.Hardtanh: _activation("hardtanh", least="min_val", most="max_val"),
    nn.Flatten: _flatten,
    nn.Dropout: _nothing,
    nn.Dropout2d: _nothing,
    nn.Identity: _nothing,
}
"""For each module that JavaScript computes a function of it and of the shape before it: the layer as data.

None stands for a layer that is left out.
"""


def _pixels(shape: Shape) -> int:
    """Return the numbers of each channel."""
    return math.prod(shape[1:])


# ---- the whole network -------------------------------------------------------------------------------------


def network_data(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return a trained network as plain data.

    Parameters
    ----------
    checkpoint : Checkpoint
        The model.

    Returns
    -------
    dict
        ``image_shape``, ``crop``, ``scale`` and ``shift`` (a grey level is standardised as ``level * scale +
        shift``), ``layers``, ``first_layer`` (the one that an explanation shows, or None) and ``weights``,
        all of them as little-endian float32 in base64.

    Raises
    ------
    CheckpointError
        If there is a layer that JavaScript does not compute, or the weights are too many: which, and what is
        supported.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist.training import load_checkpoint  # doctest: +SKIP
    >>> network_data(load_checkpoint("runs/cnn"))["first_layer"]  # doctest: +SKIP
    {'index': 0, 'module': '0', 'kind': 'Conv2d'}
    """
    standardizer = checkpoint.standardizer
    height, width = (side - 2 * standardizer.crop for side in checkpoint.image_shape)
    layers: list[dict[str, Any]] = []
    numbers: list[NDArray[Any]] = []
    first: dict[str, Any] | None = None
    has_first, count = False, 0
    picture = np.zeros((1, 1, height, width), np.float32)
    for name, module, given, made in _steps(checkpoint.model, picture):
        layer = _as_data(name, module, given.shape[1:])
        if not has_first and next(module.parameters(recurse=False), None) is not None:
            has_first = True
            if isinstance(module, nn.Conv2d) or (isinstance(module, nn.Linear) and not layers):
                first = {"index": len(layers), "module": name, "kind": type(module).__name__}
        if layer is None:
            continue
        kind, options = layer
        places = {}
        for key, value in module.state_dict().items():
            if value.ndim:  # not the number of batches
                numbers.append(np.asarray(value, "<f4").ravel())
                places[key] = [count, count + numbers[-1].size]
                count = places[key][1]
        shapes = {"input": given.shape[1:], "output": made.shape[1:]}
        layers.append({"kind": kind, **shapes, **options, "arrays": places})
    if count > MOST_WEIGHTS:
        raise CheckpointError(
            f"the model has {count:,} weights, where a page holds {MOST_WEIGHTS:,} at most; serve it instead"
        )
    weights = base64.b64encode(np.concatenate([np.empty(0, "<f4"), *numbers]).tobytes()).decode("ascii")
    return {
        "image_shape": list(checkpoint.image_shape),
        "crop": standardizer.crop,
        "scale": float(np.float32(1 / standardizer.std)),
        "shift": float(np.float32(-standardizer.mean / standardizer.std)),
        "first_layer": first,
        "layers": layers,
        "weights": weights,
    }


def _steps(
    model: nn.Module, x: NDArray[np.float32]
) -> Iterator[tuple[str, nn.Module, NDArray[Any], NDArray[Any]]]:
    """Yield each layer with its name, what it is given for a picture, and what it makes of that."""
    for name, module in _layers(model):
        if type(module) not in LAYERS:
            raise CheckpointError(_refusal(name, module, "there is none such"))
        with no_grad(), evaluation_mode(), np.errstate(all="ignore"):
            made = np.asarray(module(x))
        yield name, module, x, made
        x = made


def _layers(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that a network consists of, in their order, with their names in it."""
    if type(module) is not nn.Sequential:
        yield name, module
        return
    for own, member in module._named(MODULE):  # with one that stands in several places, at each of them
        yield from _layers(member, f"{name}.{own}" if name else own)


def _as_data(name: str, module: nn.Module, before: Shape) -> Layer | None:
    try:
        return LAYERS[type(module)](module, before)
    except _Unsupported as error:
        raise CheckpointError(_refusal(name, module, f"it has {error} supported")) from None


def _refusal(name: str, module: nn.Module, why: str) -> str:
    """Return the sentence about a layer that JavaScript does not compute."""
    where = f"the layer {name!r} of the model, {type(module).__name__}," if name else "the model, " + (
        f"{type(module).__name__},"
    )
    known = ", ".join(sorted(kind.__name__ for kind in LAYERS))
    return (
        f"{where} has no counterpart in the page's JavaScript ({why}); it computes a Sequential of {known}; "
        "serve the model instead"
    )
