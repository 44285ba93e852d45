"""Losses as modules; as functions they are in `functional`."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn import functional as F
from tinygrad_mnist.nn.functional import TensorLike
from tinygrad_mnist.nn.module import Module


class _Loss(Module):
    """The base of all losses, with the option that they share: the reduction."""

    def __init__(self, reduction: str) -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction={reduction!r} was given; expected 'mean', 'sum' or 'none'")
        self.reduction = reduction

    def extra_repr(self) -> str:
        """Return the reduction, unless it is the default."""
        return "" if self.reduction == "mean" else f"reduction={self.reduction!r}"


class CrossEntropyLoss(_Loss):
    """The cross-entropy of softmax: ``-sum(target * log_softmax(input))`` of each row, reduced.

    Parameters
    ----------
    reduction : str
        ``mean`` over the rows, ``sum``, or ``none`` for one number for each row.
    label_smoothing : float
        The share of the uniform distribution that is mixed into the target, from 0 to 1.

    Raises
    ------
    ValueError
        If an option is unknown or out of range; when called, if input (N, C) and target (integer labels
        (N,), or one-hot rows or probabilities (N, C)) do not fit.
    IndexError
        When called, if a label is not a class.

    References
    ----------
    Szegedy et al. (2016), "Rethinking the Inception architecture for computer vision", section 7, for the
    label smoothing.

    Examples
    --------
    >>> import numpy as np
    >>> logits = Tensor(np.zeros((2, 4)), requires_grad=True)
    >>> loss = CrossEntropyLoss()(logits, np.array([3, 0]))
    >>> loss.backward()
    >>> float(loss), logits.grad.data[0]
    (1.386294..., array([ 0.125,  0.125,  0.125, -0.375]))
    """

    def __init__(self, *, reduction: str = "mean", label_smoothing: float = 0.0) -> None:
        super().__init__(reduction)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing={label_smoothing} was given; expected a number from 0 to 1")
        self.label_smoothing = label_smoothing

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """Return the loss of logits (N, C) for labels (N,), or for rows of probabilities (N, C)."""
        return F.cross_entropy(input, target, reduction=self.reduction, label_smoothing=self.label_smoothing)

    def extra_repr(self) -> str:
        """Return the options that are not the defaults, as ``repr`` shows them."""
        smoothing = f"label_smoothing={self.label_smoothing}" if self.label_smoothing else ""
        return ", ".join(filter(None, [super().extra_repr(), smoothing]))


class NLLLoss(_Loss):
    """The negative log-likelihood: minus the log-probability of each row's label, reduced; for `LogSoftmax`.

    Parameters
    ----------
    reduction : str
        ``mean``, ``sum`` or ``none``.

    Raises
    ------
    ValueError
        When called, if input (N, C) and integer labels (N,) do not fit.
    IndexError
        When called, if a label is not a class.

    Examples
    --------
    >>> import numpy as np
    >>> float(NLLLoss()(np.array([[-1.0, -2.0], [-3.0, -4.0]]), np.array([0, 1])))
    2.5
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """Return the loss of log-probabilities (N, C) for labels (N,)."""
        return F.nll_loss(input, target, reduction=self.reduction)


class MSELoss(_Loss):
    """The squared difference, reduced over all elements.

    Parameters
    ----------
    reduction : str
        ``mean``, ``sum`` or ``none``.

    Raises
    ------
    ValueError
        When called, if input and target differ in shape.

    Examples
    --------
    >>> import numpy as np
    >>> float(MSELoss()(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    2.0
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """Return the loss of an input for a target of the same shape."""
        return F.mse_loss(input, target, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """The binary cross-entropy of the sigmoid of logits, without overflow, reduced over all elements.

    Parameters
    ----------
    reduction : str
        ``mean``, ``sum`` or ``none``.
    pos_weight : array_like, optional
        The weight of the positive examples, broadcast to the shape of the input. It is a buffer, as in
        PyTorch.

    Raises
    ------
    ValueError
        When called, if input and target differ in shape.

    Examples
    --------
    >>> import numpy as np
    >>> float(BCEWithLogitsLoss()(np.array([0.0, 0.0]), np.array([0.0, 1.0])))  # log(2)
    0.693147...
    """

    pos_weight: NDArray[Any] | None

    def __init__(self, *, reduction: str = "mean", pos_weight: ArrayLike | Tensor | None = None) -> None:
        super().__init__(reduction)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """Return the loss of logits for probabilities of the same shape."""
        return F.binary_cross_entropy_with_logits(
            input, target, reduction=self.reduction, pos_weight=self.pos_weight
        )
