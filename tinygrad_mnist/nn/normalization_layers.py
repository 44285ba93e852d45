"""The normalisations without statistics of a batch that are not in `layers`: RMSNorm, GroupNorm."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn import functional as F
from tinygrad_mnist.nn import init
from tinygrad_mnist.nn.inputs import TensorLike, as_input, require_integers, shape_of
from tinygrad_mnist.nn.module import Module, Parameter


class RMSNorm(Module):
    """Root mean square normalisation: mean square 1 over the last axes of each sample, then a scale.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The lengths of the axes to normalise over.
    eps : float or None
        A number that is added to the mean square; None for the machine epsilon of the input's dtype.
    elementwise_affine : bool
        Whether there is a weight.
    dtype : dtype
        The dtype of the weight.

    Attributes
    ----------
    weight : Parameter or None
        Shape ``normalized_shape``, at first 1.

    Raises
    ------
    ValueError
        When called, if the last axes of the input are not ``normalized_shape``.

    References
    ----------
    Zhang & Sennrich (2019), "Root mean square layer normalization", equation 4.

    Examples
    --------
    >>> import numpy as np
    >>> RMSNorm(2, elementwise_affine=False)(np.array([[1.0, 7.0]])).round(3)
    array([[0.2, 1.4]])
    """

    weight: Parameter | None

    def __init__(
        self,
        normalized_shape: int | list[int] | tuple[int, ...],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__()
        self.normalized_shape = shape = shape_of("RMSNorm", normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.register_parameter("weight", Parameter(np.ones(shape, dtype)) if elementwise_affine else None)

    def reset_parameters(self) -> None:
        """Reset the weight to 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: TensorLike) -> Tensor:
        """Return the normalised input, of shape (..., *normalized_shape)."""
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """Return the arguments that are not the defaults, as ``repr`` shows them."""
        text = f"{self.normalized_shape}" + ("" if self.eps is None else f", eps={self.eps}")
        return text + ("" if self.elementwise_affine else ", elementwise_affine=False")


class GroupNorm(Module):
    """Group normalisation: mean 0 and variance 1 in each group of channels of each sample; scale and shift.

    Parameters
    ----------
    num_groups : int
        The number of groups; it divides the number of channels.
    num_channels : int
        The number of channels C.
    eps : float
        A number that is added to the variance.
    affine : bool
        Whether there is a weight (and, with ``bias``, a bias).
    bias : bool
        Whether there is a bias, too.
    dtype : dtype
        The dtype of the parameters.

    Attributes
    ----------
    weight : Parameter or None
        Shape (C,), at first 1.
    bias : Parameter or None
        Shape (C,), at first 0.

    Raises
    ------
    ValueError
        If the groups do not divide the channels; when called, if the input has not C channels.

    References
    ----------
    Wu & He (2018), "Group normalization", equation 7.

    Examples
    --------
    >>> import numpy as np
    >>> GroupNorm(2, 4)(np.array([[1, 3, 10, 30]], np.float32)).detach().numpy().round(3)
    array([[-1.,  1., -1.,  1.]], dtype=float32)
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__()
        require_integers(f"GroupNorm({num_groups!r}, {num_channels!r})", num_groups, num_channels)
        if num_groups < 1 or num_channels < 1 or num_channels % num_groups:
            raise ValueError(
                f"GroupNorm({num_groups}, {num_channels}) was asked for; expected positive numbers of "
                "groups and of channels, where the first divides the second"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        has_bias = affine and bias
        self.register_parameter("weight", Parameter(np.ones(num_channels, dtype)) if affine else None)
        self.register_parameter("bias", Parameter(np.zeros(num_channels, dtype)) if has_bias else None)

    def reset_parameters(self) -> None:
        """Reset the weight to 1 and the bias to 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: TensorLike) -> Tensor:
        """Return the normalised input, of shape (N, C) or (N, C, d1, ...)."""
        shape, c = as_input(input).shape, self.num_channels
        if len(shape) < 2 or shape[1] != c:
            raise ValueError(
                f"input of shape {shape} does not fit {c} channels; expected (N, {c}) or (N, {c}, d1, ...)"
            )
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the arguments that are not the defaults, as ``repr`` shows them."""
        text = f"{self.num_groups}, {self.num_channels}" + ("" if self.eps == 1e-5 else f", eps={self.eps}")
        if not self.affine:
            return f"{text}, affine=False"
        return text + ("" if self.bias is not None else ", bias=False")
