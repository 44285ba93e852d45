"""Initial values of parameters, and the random numbers that layers draw.

Each function fills a Tensor in place, in its dtype and memory order, and returns it. The same seed gives the
same bits; in float32 they are those of float64, rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from tinygrad_mnist.engine.observe import tracer
from tinygrad_mnist.engine.pytorch_names import missing_name
from tinygrad_mnist.engine.random_state import draws
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn.parameter import write_values

__all__ = [
    "calculate_gain", "constant_", "kaiming_normal_", "kaiming_uniform_", "manual_seed", "normal_", "ones_",
    "uniform_", "xavier_normal_", "xavier_uniform_", "zeros_",
]  # fmt: skip

RNG: TypeAlias = "np.random.Generator | np.random.SeedSequence | int | None"
"""A source of random numbers: a generator, a seed, or None for the seed of `manual_seed`."""

T = TypeVar("T", bound=Tensor)

_lock = Lock()
_root: np.random.SeedSequence | None = (
    None  # made when it is first needed, as numpy.random takes long to load
)


def manual_seed(seed: int) -> None:
    """Set the seed of everything that is drawn without ``rng=`` from now on, in all threads.

    The layers that are made from now on get generators of their own, in turn: children of the
    `numpy.random.SeedSequence` of this seed. So it makes no difference for one layer how much another one
    draws.

    Parameters
    ----------
    seed : int
        The seed, not negative.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import nn
    >>> nn.manual_seed(0)
    >>> first = nn.Linear(3, 2)
    >>> nn.manual_seed(0)
    >>> np.array_equal(nn.Linear(3, 2).weight.data, first.weight.data)
    True
    """
    set_root_seed(np.random.SeedSequence(seed))


def root_seed() -> np.random.SeedSequence | None:
    """Return the root of all that is drawn without ``rng=``; None where nothing was drawn or seeded yet."""
    return _root


def set_root_seed(root: np.random.SeedSequence | None) -> None:
    """Go on from a root that `root_seed` returned."""
    global _root
    with _lock:
        _root = root


def generator(
    rng: RNG = None, part: Callable[[np.random.Generator], np.random.Generator] | None = None
) -> np.random.Generator:
    """Return the generator that an argument ``rng`` stands for; None gets a new one, of `manual_seed`'s seed.

    ``part`` makes of it one that draws a part of its numbers (see `random_rows`).

    Examples
    --------
    >>> bool(generator(7).random() == generator(7).random())
    True
    """
    if (tracing := tracer()) is not None:
        make = _generator if part is None else lambda rng: part(_generator(rng))
        traced: np.random.Generator = tracing.generator(make, rng)
        return traced
    drawn = draws.get()  # set while a checkpointed function runs, which has to draw the same numbers again
    made = _generator(rng) if drawn is None else drawn.generator(lambda: _generator(rng))
    return made if part is None else part(made)


def _generator(rng: RNG) -> np.random.Generator:
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is None:
        rng = _next_child()
    return np.random.default_rng(rng)


def _next_child() -> np.random.SeedSequence:
    global _root
    with _lock:
        if _root is None:
            _root = np.random.SeedSequence()
        (child,) = _root.spawn(1)
    return child


# ---- plain values ----------------------------------------------------------------------------------------


def constant_(tensor: T, value: float) -> T:
    """Fill a Tensor with one value."""
    write_values(tensor, value)
    return tensor


def zeros_(tensor: T) -> T:
    """Fill a Tensor with 0."""
    return constant_(tensor, 0)


def ones_(tensor: T) -> T:
    """Fill a Tensor with 1."""
    return constant_(tensor, 1)


def uniform_(tensor: T, a: float = 0.0, b: float = 1.0, rng: RNG = None) -> T:
    """Fill a Tensor from the uniform distribution on [a, b)."""
    write_values(tensor, generator(rng).uniform(a, b, tensor.shape))
    return tensor


def normal_(tensor: T, mean: float = 0.0, std: float = 1.0, rng: RNG = None) -> T:
    """Fill a Tensor from the normal distribution."""
    write_values(tensor, generator(rng).normal(mean, std, tensor.shape))
    return tensor


# ---- values that keep the variance of signals or gradients from layer to layer ---------------------------


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor by which weights must be larger to make up for the nonlinearity behind them.

    Parameters
    ----------
    nonlinearity : str
        ``linear``, ``sigmoid``, ``tanh``, ``relu``, ``leaky_relu`` or ``selu``.
    param : float, optional
        The negative slope of ``leaky_relu``; 0.01 when absent.

    Raises
    ------
    ValueError
        If the nonlinearity is another.

    Examples
    --------
    >>> calculate_gain("relu") == 2**0.5
    True
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    gains = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75}
    if nonlinearity not in gains:
        raise ValueError(f"nonlinearity={nonlinearity!r} was given; expected one of {[*gains, 'leaky_relu']}")
    return gains[nonlinearity]


def xavier_uniform_(tensor: T, gain: float = 1.0, rng: RNG = None) -> T:
    """Fill a Tensor uniformly with variance ``gain**2 * 2 / (fan_in + fan_out)``.

    This keeps the variance of signals and of gradients about equal from layer to layer, where the
    nonlinearity is close to linear, such as tanh.

    Parameters
    ----------
    tensor : Tensor
        Shape (fan_out, fan_in), or (out, in, ...) of a convolution.
    gain : float
        See `calculate_gain`.
    rng : Generator or int, optional
        The source of random numbers.

    Raises
    ------
    ValueError
        If the tensor has fewer than two axes.

    References
    ----------
    Glorot & Bengio (2010), "Understanding the difficulty of training deep feedforward neural networks",
    equation 16.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import nn
    >>> weight = xavier_uniform_(nn.Parameter(np.empty((4, 2))), rng=0)
    >>> bool(np.all(np.abs(weight.data) <= 1))
    True
    """
    std = gain / math.sqrt(_fan(tensor, "fan_avg"))
    # U(-b, b) has the variance b^2 / 3.
    return uniform_(tensor, -math.sqrt(3) * std, math.sqrt(3) * std, rng)


def xavier_normal_(tensor: T, gain: float = 1.0, rng: RNG = None) -> T:
    """Fill a Tensor normally with variance ``gain**2 * 2 / (fan_in + fan_out)``; see `xavier_uniform_`."""
    return normal_(tensor, 0, gain / math.sqrt(_fan(tensor, "fan_avg")), rng)


def kaiming_uniform_(
    tensor: T, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", rng: RNG = None
) -> T:
    """Fill a Tensor uniformly with variance ``gain**2 / fan``.

    This keeps the variance of signals (``fan_in``) or of gradients (``fan_out``) from layer to layer, behind
    a ReLU.

    Parameters
    ----------
    tensor : Tensor
        Shape (fan_out, fan_in), or (out, in, ...) of a convolution.
    a : float
        The negative slope of ``leaky_relu``; 0 is a ReLU.
    mode : str
        ``fan_in``, ``fan_out`` or ``fan_avg``, the mean of both.
    nonlinearity : str
        See `calculate_gain`.
    rng : Generator or int, optional
        The source of random numbers.

    Raises
    ------
    ValueError
        If the tensor has fewer than two axes, or a name is unknown.

    References
    ----------
    He, Zhang, Ren & Sun (2015), "Delving deep into rectifiers", equations 10 and 14.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import nn
    >>> weight = kaiming_uniform_(nn.Parameter(np.empty((4, 6))), rng=0)
    >>> bool(np.all(np.abs(weight.data) <= 1))
    True
    """
    std = calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode))
    return uniform_(tensor, -math.sqrt(3) * std, math.sqrt(3) * std, rng)


def kaiming_normal_(
    tensor: T, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", rng: RNG = None
) -> T:
    """Fill a Tensor normally with variance ``gain**2 / fan``; see `kaiming_uniform_`."""
    return normal_(tensor, 0, calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode)), rng)


def _fan(tensor: Tensor, mode: str) -> float:
    """Return the number of products in a sum by a weight: of signals, of gradients, or the mean of both."""
    if tensor.ndim < 2:
        raise ValueError(
            f"a Tensor of shape {tensor.shape} has no fan; expected a weight of shape (out, in, ...)"
        )
    receptive = math.prod(tensor.shape[2:])
    fan_in, fan_out = tensor.shape[1] * receptive, tensor.shape[0] * receptive
    # By fan_avg, 2 / (fan_in + fan_out) is 1 / fan: so Glorot's rule is one case of this.
    fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
    if mode not in fans:
        raise ValueError(f"mode={mode!r} was given; expected one of {[*fans]}")
    return fans[mode]


if not TYPE_CHECKING:  # to a type checker an unknown name stays an error

    def __getattr__(name: str) -> Any:
        raise missing_name(__name__, name)
