"""The layers without a file of their own: Linear, LayerNorm, and those that drop, reshape or do nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.typing import DTypeLike

from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn import functional as F
from tinygrad_mnist.nn import init
from tinygrad_mnist.nn.inputs import TensorLike, as_input, require_integers, shape_of
from tinygrad_mnist.nn.module import Module, Parameter


class Linear(Module):
    """A linear (fully connected) layer: ``input @ weight.T + bias``.

    The weight has PyTorch's shape (out, in). It is stored in Fortran order: ``weight.T``, by which the input
    is multiplied, is then C-contiguous, and the matrix product is cheaper.

    Parameters
    ----------
    in_features : int
        The length of the last axis of the input.
    out_features : int
        The length of the last axis of the output.
    bias : bool
        Whether a bias is added.
    dtype : dtype
        The dtype of the parameters.
    rng : Generator or int, optional
        The source of the initial values.

    Attributes
    ----------
    weight : Parameter
        Shape (out_features, in_features), drawn from U(-k, k) with k = 1 / sqrt(in_features).
    bias : Parameter or None
        Shape (out_features,), drawn from the same distribution.

    Raises
    ------
    ValueError
        If a length is not positive; when called, if the last axis of the input is not ``in_features`` long.

    References
    ----------
    He, Zhang, Ren & Sun (2015), "Delving deep into rectifiers": the initial values. As in PyTorch a =
    sqrt(5), which gives the variance 1 / (3 in_features) instead of their 2 / in_features.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Linear(3, 2, rng=0)
    >>> layer(np.ones((5, 3), np.float32)).shape
    (5, 2)
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
        rng: init.RNG = None,
    ) -> None:
        super().__init__()
        require_integers(f"Linear({in_features!r}, {out_features!r})", in_features, out_features)
        if in_features < 1 or out_features < 1:
            raise ValueError(
                f"Linear({in_features}, {out_features}) was asked for; expected positive lengths"
            )
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(np.empty((out_features, in_features), dtype, order="F"))
        self.register_parameter("bias", Parameter(np.empty(out_features, dtype)) if bias else None)
        self.reset_parameters(rng)

    def reset_parameters(self, rng: init.RNG = None) -> None:
        """Draw new initial values of the parameters."""
        rng = init.generator(rng)
        init.kaiming_uniform_(self.weight, a=math.sqrt(5), rng=rng)
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features)
            init.uniform_(self.bias, -bound, bound, rng)

    def forward(self, input: TensorLike) -> Tensor:
        """Return ``input @ weight.T + bias``; shape (..., in_features) becomes (..., out_features)."""
        # The operation checks the shapes; here an error of them gets the words of the layer. A call that
        # succeeds pays nothing for that.
        try:
            return F.linear(input, self.weight, self.bias)
        except ValueError as error:
            if message := self._wrong_shape_message(input):
                raise ValueError(message) from error
            raise

    def _wrong_shape_message(self, input: TensorLike) -> str | None:
        """Return what does not fit, the input or a weight or bias that was replaced; None if all does."""
        weight, own = self.weight.shape, (self.out_features, self.in_features)
        if len(weight) != 2:
            return f"weight of shape {weight} is here; expected two axes, as {own}"
        replaced = "" if weight == own else f" (the layer was made with a weight of shape {own})"
        if self.bias is not None and (bias := np.shape(self.bias)) != weight[:1]:
            return (
                f"bias of shape {bias} does not fit weight of shape {weight}; expected {weight[:1]}{replaced}"
            )
        shape = as_input(input).shape
        if shape[-1:] == weight[1:]:
            return None
        expected = f"(..., {weight[1]})"
        images = len(shape) > 2 and math.prod(shape[1:]) == weight[1]
        advice = "; put nn.Flatten() before it" if images and not replaced else replaced
        return f"input of shape {shape} does not fit weight of shape {weight}; expected {expected}{advice}"

    def extra_repr(self) -> str:
        """Return the arguments, as ``repr`` shows them."""
        return f"{self.in_features}, {self.out_features}{'' if self.bias is not None else ', bias=False'}"


class LayerNorm(Module):
    """Layer normalisation: mean 0 and variance 1 over the last axes of each sample, then a scale and a shift.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The lengths of the axes to normalise over.
    eps : float
        A number that is added to the variance.
    elementwise_affine : bool
        Whether there is a weight (and, with ``bias``, a bias).
    bias : bool
        Whether there is a bias, too.
    dtype : dtype
        The dtype of the parameters.

    Attributes
    ----------
    weight : Parameter or None
        Shape ``normalized_shape``, at first 1.
    bias : Parameter or None
        Shape ``normalized_shape``, at first 0.

    Raises
    ------
    ValueError
        When called, if the last axes of the input are not ``normalized_shape``.

    References
    ----------
    Ba, Kiros & Hinton (2016), "Layer normalization", equation 3.

    Examples
    --------
    >>> import numpy as np
    >>> LayerNorm(2, elementwise_affine=False)(np.array([[1.0, 3.0]])).round(3)
    array([[-1.,  1.]])
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | list[int] | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__()
        self.normalized_shape = shape = shape_of("LayerNorm", normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        has_bias = elementwise_affine and bias
        self.register_parameter("weight", Parameter(np.ones(shape, dtype)) if elementwise_affine else None)
        self.register_parameter("bias", Parameter(np.zeros(shape, dtype)) if has_bias else None)

    def reset_parameters(self) -> None:
        """Reset the weight to 1 and the bias to 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: TensorLike) -> Tensor:
        """Return the normalised input, of shape (..., *normalized_shape)."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the arguments that are not the defaults, as ``repr`` shows them."""
        text = f"{self.normalized_shape}" + ("" if self.eps == 1e-5 else f", eps={self.eps}")
        if not self.elementwise_affine:
            return f"{text}, elementwise_affine=False"
        return text + ("" if self.bias is not None else ", bias=False")


class Dropout(Module):
    """Dropout: in training mode each element becomes 0 with probability ``p``.

    The others are multiplied by ``1 / (1 - p)``, so that the mean stays. In evaluation mode nothing happens.

    Parameters
    ----------
    p : float
        The probability, from 0 to 1.
    rng : Generator or int, optional
        The source of random numbers. Each layer has a generator of its own, so that equal seeds give equal
        bits, whatever else is drawn.

    Raises
    ------
    ValueError
        If ``p`` is not a probability.

    References
    ----------
    Srivastava et al. (2014), "Dropout: a simple way to prevent neural networks from overfitting".

    Examples
    --------
    >>> import numpy as np
    >>> layer = Dropout(0.5, rng=0)
    >>> layer(np.ones(6))
    array([2., 2., 2., 0., 0., 0.])
    >>> layer.eval()(np.ones(3))
    array([1., 1., 1.])
    """

    def __init__(self, p: float = 0.5, *, rng: init.RNG = None) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}({p}) was asked for; expected a probability from 0 to 1")
        self.p = p
        self.rng = init.generator(rng)

    def forward(self, input: TensorLike) -> TensorLike:
        """Return the input with some elements dropped; in evaluation mode, the input itself."""
        return F.dropout(input, self.p, self.training, rng=self.rng)

    def extra_repr(self) -> str:
        """Return the argument, as ``repr`` shows it."""
        return f"p={self.p}"


class Dropout2d(Dropout):
    """Dropout of whole channels: in training mode each channel of each image is 0 with probability ``p``.

    Neighbouring pixels are alike, so dropping single ones would take away little. The other channels are
    multiplied by ``1 / (1 - p)``. In evaluation mode nothing happens.

    Parameters
    ----------
    p : float
        The probability, from 0 to 1.
    rng : Generator or int, optional
        The source of random numbers, as of `Dropout`.

    Raises
    ------
    ValueError
        If ``p`` is not a probability; when called, if the input is not (N, C, H, W).

    References
    ----------
    Tompson, Goroshin, Jain, LeCun & Bregler (2015), "Efficient object localization using convolutional
    networks", section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> Dropout2d(0.5, rng=0)(np.ones((1, 6, 2, 2)))[0, :, 0, 0]
    array([2., 2., 2., 0., 0., 0.])
    """

    def forward(self, input: TensorLike) -> TensorLike:
        """Return the input with some channels dropped; in evaluation mode, the input itself."""
        return F.dropout2d(input, self.p, self.training, rng=self.rng)


class Flatten(Module):
    """A reshape that joins all axes from ``start_dim`` to ``end_dim``; by default all but the first.

    Raises
    ------
    TypeError
        If an axis is no integer.
    ValueError
        When called, if ``end_dim`` comes before ``start_dim``.
    numpy.exceptions.AxisError
        When called, if one of the axes does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> Flatten()(np.zeros((5, 28, 28))).shape
    (5, 784)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        require_integers(f"Flatten({start_dim!r}, {end_dim!r})", start_dim, end_dim)
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: TensorLike) -> TensorLike:
        """Return the same values with fewer axes."""
        return F.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """Return the arguments, as ``repr`` shows them."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """A reshape that splits one axis into several: the inverse of `Flatten`.

    Parameters
    ----------
    dim : int
        The axis.
    unflattened_size : sequence of int
        The lengths that it is split into; one may be -1, and is worked out.

    Raises
    ------
    ValueError
        When called, if the lengths do not multiply up to that of the axis.
    numpy.exceptions.AxisError
        When called, if the axis does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> Unflatten(1, (1, 28, 28))(np.zeros((5, 784))).shape
    (5, 1, 28, 28)
    """

    def __init__(self, dim: int, unflattened_size: list[int] | tuple[int, ...]) -> None:
        super().__init__()
        lengths = tuple(unflattened_size)
        require_integers(f"Unflatten({dim!r}, {unflattened_size!r})", dim, *lengths)
        if not lengths or min(lengths) < -1 or lengths.count(-1) > 1:
            raise ValueError(
                f"Unflatten({dim}, {unflattened_size}) was asked for; expected lengths, of which one may be "
                "-1"
            )
        self.dim = dim
        self.unflattened_size = lengths

    def forward(self, input: TensorLike) -> TensorLike:
        """Return the same values with more axes."""
        input = as_input(input)
        shape, lengths = input.shape, self.unflattened_size
        axis = normalize_axis_index(self.dim, len(shape))
        known = math.prod(n for n in lengths if n != -1)
        if known != shape[axis] if -1 not in lengths else not known or shape[axis] % known:
            raise ValueError(
                f"input of shape {shape} has {shape[axis]} values along axis {self.dim}; {lengths} does not "
                "split them"
            )
        lengths = tuple(shape[axis] // known if n == -1 else n for n in lengths)
        return input.reshape(*shape[:axis], *lengths, *shape[axis + 1 :])

    def extra_repr(self) -> str:
        """Return the arguments, as ``repr`` shows them."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class Identity(Module):
    """The identity: it returns its input, and ignores the arguments that it is made with.

    Examples
    --------
    >>> Identity()(3.0)
    3.0
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        """Return the input."""
        return input
