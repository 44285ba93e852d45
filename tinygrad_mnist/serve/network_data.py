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
from tinygrad_mnist.data import Standardizer
from tinygrad_mnist.engine.tape import no_grad
from tinygrad_mnist.nn.image_options import pair, sides
from tinygrad_mnist.nn.module import MODULE, evaluation_mode
from tinygrad_mnist.nn.pooling_functions import pool_options
from tinygrad_mnist.ops.windows import NO_PADDING, Pair, Sides
from tinygrad_mnist.training.errors import CheckpointError

MOST_WEIGHTS: Final = 1 << 23
"""Weights of a network at most: as text they are 45 MB, which a telephone still loads."""

Shape = tuple[int, ...]


Layer = tuple[str, dict[str, Any]]
"""The name of a row in the JavaScript, and the options that it takes; its weights are those of the module."""


class _UnsupportedError(Exception):
    """An option of a layer that the JavaScript does not have: a phrase that says which."""


# ---- each kind of module -----------------------------------------------------------------------------------


def _nothing(module: Any, before: Shape) -> None:
    """Leave out a module that does nothing when a network is evaluated."""


def _flatten(module: nn.Flatten, before: Shape) -> None:
    """Leave out a reshape: in JavaScript, too, the numbers lie in one row."""
    if module.start_dim != 1 or module.end_dim not in (-1, len(before)):
        dims = f"start_dim={module.start_dim} and end_dim={module.end_dim}"
        raise _UnsupportedError(f"{dims} (expected 1 and -1)")


def _linear(module: nn.Linear, before: Shape) -> Layer:
    if len(before) != 1:
        raise _UnsupportedError(f"an input of {len(before)} axes (expected 1; put nn.Flatten() before it)")
    return "linear", {}


def _conv2d(module: nn.Conv2d, before: Shape) -> Layer:
    if module.padding_mode != "zeros":
        raise _UnsupportedError(f"padding_mode={module.padding_mode!r} (expected 'zeros')")
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
        raise _UnsupportedError(f"output_size={wanted} for images of {before[1:]} (expected divisors of it)")
    kernel = (before[1] // size[0], before[2] // size[1])
    whole = {"counted": NO_PADDING, "divisor": None}
    return "avg-pool", {**_windows(kernel, kernel, NO_PADDING), **whole}


def _batch_norm(module: nn.BatchNorm1d | nn.BatchNorm2d, before: Shape) -> Layer:
    if module.running_mean is None:
        raise _UnsupportedError("track_running_stats=False (expected True)")
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


def network_data(
    model: nn.Module, image_shape: tuple[int, int], standardizer: Standardizer
) -> dict[str, Any]:
    """Return a trained network as plain data.

    Parameters
    ----------
    model : Module
        From standardised images, shape (n, 1, height, width), to logits.
    image_shape : tuple of int
        Height and width of its images, before they are cropped.
    standardizer : Standardizer
        How its images are standardised, and cropped.

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
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> data = network_data(model, (2, 2), Standardizer(mean=100.0, std=50.0))
    >>> data["first_layer"]
    {'index': 0, 'module': '1', 'kind': 'Linear'}
    >>> for layer in data["layers"]:
    ...     print(layer["kind"], layer["arrays"])
    linear {'weight': (0, 12), 'bias': (12, 15)}
    activation {}
    linear {'weight': (15, 21), 'bias': (21, 23)}
    """
    sides = tuple(side - 2 * standardizer.crop for side in image_shape)
    steps = list(_steps(model, np.zeros((1, 1, *sides), np.float32)))
    layers: list[dict[str, Any]] = []
    numbers: list[NDArray[np.float32]] = [np.empty(0, "<f4")]
    first: int | None = None  # of all steps, the first with parameters
    shown = None
    for position, (name, module, layer) in enumerate(steps):
        if first is None and next(module.parameters(recurse=False), None) is not None:
            first = position
            if isinstance(module, nn.Conv2d) or (isinstance(module, nn.Linear) and not layers):
                shown = {"index": len(layers), "module": name, "kind": type(module).__name__}
        if layer is not None:
            layers.append({**layer, "arrays": _places(module, numbers)})
    count = sum(array.size for array in numbers)
    if count > MOST_WEIGHTS:
        raise CheckpointError(
            f"the model has {count:,} weights, where a page holds {MOST_WEIGHTS:,} at most; serve it instead"
        )
    return {
        "image_shape": list(image_shape),
        "crop": standardizer.crop,
        "scale": float(np.float32(1 / standardizer.std)),
        "shift": float(np.float32(-standardizer.mean / standardizer.std)),
        "first_layer": shown,
        "layers": layers,
        "weights": base64.b64encode(np.concatenate(numbers).tobytes()).decode("ascii"),
    }


def _steps(
    model: nn.Module, x: NDArray[np.float32]
) -> Iterator[tuple[str, nn.Module, dict[str, Any] | None]]:
    """Yield each module with its name and as data, with the shapes before and after it, or None."""
    for name, module in _modules(model):
        before = x.shape[1:]
        if type(module) not in LAYERS:
            raise CheckpointError(_refusal(name, module, ""))
        try:
            layer = LAYERS[type(module)](module, before)
        except _UnsupportedError as error:
            raise CheckpointError(_refusal(name, module, f" with {error}")) from None
        with no_grad(), evaluation_mode(), np.errstate(all="ignore"):
            x = np.asarray(module(x))
        shapes = {"input": before, "output": x.shape[1:]}
        yield name, module, None if layer is None else {"kind": layer[0], **shapes, **layer[1]}


def _modules(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that a network consists of, in their order, with their names in it."""
    if type(module) is not nn.Sequential:
        yield name, module
        return
    for own, member in module._named(MODULE):  # with one that stands in several places, at each of them
        yield from _modules(member, f"{name}.{own}" if name else own)


def _places(module: nn.Module, numbers: list[NDArray[np.float32]]) -> dict[str, tuple[int, int]]:
    """Put the weights of a module behind some numbers, and return where each begins and ends."""
    places = {}
    for name, values in module.state_dict().items():
        if values.ndim:  # all but the number of batches
            start = sum(array.size for array in numbers)
            places[name] = (start, start + values.size)
            numbers.append(np.asarray(values, "<f4").ravel())
    return places


def _refusal(name: str, module: nn.Module, option: str) -> str:
    """Return the sentence about a layer that JavaScript does not compute."""
    kind = type(module).__name__
    where = f"the layer {name!r} of the model is {kind}{option}" if name else f"the model is {kind}{option}"
    known = ", ".join(sorted(kind.__name__ for kind in LAYERS))
    return (
        f"{where}, which the page without a server does not compute; it takes a Sequential of {known}; use "
        "'tinygrad-mnist serve' instead"
    )
