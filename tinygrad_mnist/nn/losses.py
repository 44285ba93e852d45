"""Losses as modules; as functions they are in `functional`."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn import functional as F
from tinygrad_mnist.nn.inputs import TensorLike
from tinygrad_mnist.nn.loss_functions import REDUCTIONS, require_label
from tinygrad_mnist.nn.module import Module
from tinygrad_mnist.ops.loss import IGNORED


class _Loss(Module):
    """The base of all losses, with the option that they share: the reduction."""

    def __init__(self, reduction: str, choices: tuple[str, ...] = REDUCTIONS) -> None:
        super().__init__()
        if reduction not in choices:
            expected = f"{', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}"
            raise ValueError(f"reduction={reduction!r} was given; expected {expected}")
        self.reduction = reduction

    def extra_repr(self) -> str:
        """Return the reduction, unless it is the default."""
        return "" if self.reduction == "mean" else f"reduction={self.reduction!r}"


class CrossEntropyLoss(_Loss):
    """The cross-entropy of softmax: ``-sum(weight * target * log_softmax(input))`` of each row, reduced.

    Parameters
    ----------
    weight : array_like, optional
        The weight of each class, shape (C,). It is a buffer, as in PyTorch.
    ignore_index : int
        The label of rows that are left out: they contribute nothing to the loss, its mean and its gradient.
    reduction : str
        ``mean``, ``sum``, or ``none`` for one number for each row. ``mean`` divides by the sum of the weights
        of the labels; for probabilities, by the number of rows.
    label_smoothing : float
        The share of the uniform distribution that is mixed into the target, from 0 to 1.

    Raises
    ------
    ValueError
        If an option is unknown or out of range; when called, if input (N, C), (N, C, d1, ...) or (C,) and
        target (integer labels of that shape without C; or one-hot rows or probabilities of that shape) do not
        fit.
    IndexError
        When called, if a label is not a class.
    TypeError
        When called, if one of the arrays is masked.

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

    weight: NDArray[Any] | None

    def __init__(
        self,
        weight: ArrayLike | Tensor | None = None,
        *,
        ignore_index: int = IGNORED,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        require_label(ignore_index)
        self.ignore_index = ignore_index
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing={label_smoothing} was given; expected a number from 0 to 1")
        self.label_smoothing = label_smoothing

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """Return the loss of logits (N, C) for labels (N,), or for rows of probabilities (N, C)."""
        return F.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )

    def extra_repr(self) -> str:
        """Return the options that are not the defaults, as ``repr`` shows them."""
        ignored = f"ignore_index={self.ignore_index}" if self.ignore_index != IGNORED else ""
        smoothing = f"label_smoothing={self.label_smoothing}" if self.label_smoothing else ""
        return ", ".join(filter(None, [super().extra_repr(), ignored, smoothing]))


class NLLLoss(_Loss):
    """The negative log-likelihood: minus the log-probability of each row's label, reduced; for `LogSoftmax`.

    Parameters
    ----------
    weight : array_like, optional
        The weight of each class, shape (C,). It is a buffer, as in PyTorch.
    ignore_index : int
        The label of rows that are left out: they contribute nothing to the loss, its mean and its gradient.
    reduction : str
        ``mean``, which divides by the sum of the weights of the labels, ``sum`` or ``none``.

    Raises
    ------
    ValueError
        When called, if input (N, C), (N, C, d1, ...) or (C,) and integer labels of that shape without C do
        not fit.
    IndexError
        When called, if a label is not a class.
    TypeError
        When called, if one of the arrays is masked.

    Examples
    --------
    >>> import numpy as np
    >>> float(NLLLoss()(np.array([[-1.0, -2.0], [-3.0, -4.0]]), np.array([0, 1])))
    2.5
    """

    weight: NDArray[Any] | None

    def __init__(
        self,
        weight: ArrayLike | Tensor | None = None,
        *,
        ignore_index: int = IGNORED,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        require_label(ignore_index)
        self.ignore_index = ignore_index

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """Return the loss of log-probabilities (N, C) for labels (N,)."""
        return F.nll_loss(
            input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )

    def extra_repr(self) -> str:
        """Return the options that are not the defaults, as ``repr`` shows them."""
        ignored = f"ignore_index={self.ignore_index}" if self.ignore_index != IGNORED else ""
        return ", ".join(filter(None, [super().extra_repr(), ignored]))


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


class L1Loss(_Loss):
    """The absolute difference, with gradient 0 where it is 0, reduced over all elements.

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
    >>> float(L1Loss()(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    1.0
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """Return the loss of an input for a target of the same shape."""
        return F.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """The absolute difference, rounded off by a parabola where it is less than ``beta``, reduced.

    Parameters
    ----------
    reduction : str
        ``mean``, ``sum`` or ``none``.
    beta : float
        The difference at which the parabola ends; 0 makes it `L1Loss`.

    Raises
    ------
    ValueError
        If ``beta`` is negative; when called, if input and target differ in shape.

    References
    ----------
    Girshick (2015), "Fast R-CNN", equation 3.

    Examples
    --------
    >>> import numpy as np
    >>> SmoothL1Loss(reduction="none")(np.array([0.5, 3.0]), np.zeros(2))
    array([0.125, 2.5  ])
    """

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        if not beta >= 0:
            raise ValueError(f"beta={beta} was given; expected 0 or a positive number")
        self.beta = beta

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """Return the loss of an input for a target of the same shape."""
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)

    def extra_repr(self) -> str:
        """Return the options that are not the defaults, as ``repr`` shows them."""
        beta = f"beta={self.beta}" if self.beta != 1 else ""
        return ", ".join(filter(None, [super().extra_repr(), beta]))


class HuberLoss(_Loss):
    """Half the squared difference up to ``delta``, and further out a straight line, reduced.

    Parameters
    ----------
    reduction : str
        ``mean``, ``sum`` or ``none``.
    delta : float
        The difference at which the square ends; positive.

    Raises
    ------
    ValueError
        If ``delta`` is not positive; when called, if input and target differ in shape.

    References
    ----------
    Huber (1964), "Robust estimation of a location parameter", section 3.

    Examples
    --------
    >>> import numpy as np
    >>> HuberLoss(reduction="none")(np.array([0.5, 3.0]), np.zeros(2))
    array([0.125, 2.5  ])
    """

    def __init__(self, *, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        if not delta > 0:
            raise ValueError(f"delta={delta} was given; expected a positive number")
        self.delta = delta

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """Return the loss of an input for a target of the same shape."""
        return F.huber_loss(input, target, reduction=self.reduction, delta=self.delta)

    def extra_repr(self) -> str:
        """Return the options that are not the defaults, as ``repr`` shows them."""
        delta = f"delta={self.delta}" if self.delta != 1 else ""
        return ", ".join(filter(None, [super().extra_repr(), delta]))


class BCELoss(_Loss):
    """The binary cross-entropy of probabilities, each logarithm at least -100, weighted and reduced.

    Parameters
    ----------
    weight : array_like, optional
        The weight of each element, broadcast to the shape of the input. It is a buffer, as in PyTorch.
    reduction : str
        ``mean`` over all elements, ``sum`` or ``none``.

    Raises
    ------
    ValueError
        When called, if the shapes do not fit, an input is not from 0 to 1, or a target is NaN.

    Examples
    --------
    >>> import numpy as np
    >>> float(BCELoss()(np.array([0.5, 0.5]), np.array([0.0, 1.0])))  # log(2)
    0.693147...
    """

    weight: NDArray[Any] | None

    def __init__(self, weight: ArrayLike | Tensor | None = None, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """Return the loss of probabilities for probabilities of the same shape."""
        return F.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """The binary cross-entropy of the sigmoid of logits, without overflow, reduced over all elements.

    Parameters
    ----------
    weight : array_like, optional
        The weight of each element, broadcast to the shape of the input. It is a buffer, as in PyTorch.
    reduction : str
        ``mean`` over all elements, ``sum`` or ``none``.
    pos_weight : array_like, optional
        The weight of the positive examples, broadcast to the shape of the input; a buffer, too.

    Raises
    ------
    ValueError
        When called, if the shapes do not fit, or a target is NaN.

    Examples
    --------
    >>> import numpy as np
    >>> float(BCEWithLogitsLoss()(np.array([0.0, 0.0]), np.array([0.0, 1.0])))  # log(2)
    0.693147...
    """

    weight: NDArray[Any] | None
    pos_weight: NDArray[Any] | None

    def __init__(
        self,
        weight: ArrayLike | Tensor | None = None,
        *,
        reduction: str = "mean",
        pos_weight: ArrayLike | Tensor | None = None,
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """Return the loss of logits for probabilities of the same shape."""
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


class KLDivLoss(_Loss):
    """The Kullback-Leibler divergence ``target * (log(target) - input)`` of log-probabilities, reduced.

    Parameters
    ----------
    reduction : str
        ``batchmean``, the sum divided by the length of the first axis, which is the divergence of the
        distributions; ``mean`` over all elements; ``sum`` or ``none``.
    log_target : bool
        Whether the target holds logarithms of probabilities.

    Raises
    ------
    ValueError
        When called, if input and target differ in shape, or a target is NaN or a negative probability.

    References
    ----------
    Kullback & Leibler (1951), "On information and sufficiency", equation 2.4.

    Examples
    --------
    >>> import numpy as np
    >>> q = np.array([[0.25, 0.75]])
    >>> float(KLDivLoss(reduction="batchmean")(np.log(q), np.array([[0.5, 0.5]])))
    0.143841...
    """

    def __init__(self, *, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction, ("batchmean", *REDUCTIONS))
        self.log_target = log_target

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """Return the loss of log-probabilities for a target of the same shape."""
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)

    def extra_repr(self) -> str:
        """Return the options that are not the defaults, as ``repr`` shows them."""
        log_target = f"log_target={self.log_target}" if self.log_target else ""
        return ", ".join(filter(None, [super().extra_repr(), log_target]))
