"""The rules of the lints on one batch: each takes a `Look` and yields a sentence for each fault.

A rule speaks only of what it has proof of: the recorded graph, dtypes, shapes, numbers that are far off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import nn
from tinygrad_mnist.engine.dtypes import is_float, is_integer
from tinygrad_mnist.engine.tape import Node
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn import functional as F
from tinygrad_mnist.numbers import count_text
from tinygrad_mnist.ops.loss import IGNORED
from tinygrad_mnist.training.lints.looks import (
    ROWS_IN_EVALUATION,
    Applied,
    Look,
    array_of,
    is_rectifier,
    names_text,
    not_finite_rows,
)

Array = NDArray[Any]

REARRANGING: Final = frozenset({
    "reshape", "transpose", "squeeze", "expand_dims", "moveaxis", "swapaxes", "ravel", "astype", "identity",
    "copy", "getitem", "where", "clip", "broadcast_to", "one_of",
})  # fmt: skip
"""Operations behind which a probability is still one, and a pixel still one."""

PRODUCTS: Final = frozenset({"linear", "matmul", "dot", "einsum", "conv2d", "conv2d_with_bias"})
NORMALISATIONS: Final = frozenset({"batch_norm", "layer_norm", "linear_batch_norm_relu"})


# ---- softmax before cross-entropy ------------------------------------------------------------------------


def squashed_before_loss(look: Look) -> Iterator[str]:
    """Find a softmax, log-softmax or sigmoid whose result is taken for logits by the loss."""
    by_node = {id(one.node): one for one in look.operations if one.node is not None}
    for loss, logits in _logits_of(look.operations):
        if (found := _squashing(logits)) is not None:
            kind, node = found
            place = look.name_of(by_node[id(node)].module) if id(node) in by_node else "the model"
            yield _squashed_text(kind, place, loss)
            return


def _squashed_text(kind: str, place: str, loss: str) -> str:
    if kind == "log-softmax" and loss == "cross-entropy":
        return (
            f"a log-softmax is computed twice: in {place}, and again in the cross-entropy; the loss is "
            "right, and slower than it need be: leave the log-softmax out of the model, or take NLLLoss"
        )
    own = {"cross-entropy": "softmax", "BCEWithLogitsLoss": "sigmoid"}[loss]
    return (
        f"the {kind} in {place} comes before {loss}, which applies a {own} itself: the gradients get small "
        f"and training is slow; let the model return the numbers before the {kind} (the logits)"
    )


def _logits_of(operations: Sequence[Applied]) -> Iterator[tuple[str, Node]]:
    """Yield what the losses among some operations take for logits, and the name of each loss.

    The binary cross-entropy of logits x is composed: of the product of x with a share, and of
    ``log1p(exp(-abs(x)))``. No other loss has both.
    """
    tails = {id(x) for one in operations if one.name == "log1p" for x in _tail_of(one.node)}
    for one in operations:
        logits = one.node.parents[0] if one.node is not None and one.node.parents else None
        if not isinstance(logits, Node):
            continue
        if one.name in ("cross_entropy", "log_softmax"):
            yield "cross-entropy", logits
        elif one.name == "multiply_no_nan" and any(id(x) in tails for x in logits.parents):
            yield "BCEWithLogitsLoss", logits


def _tail_of(node: Node | None) -> tuple[Any, ...]:
    """Return x of ``log1p(exp(where(x >= 0, -x, x)))``, and the node of ``-x``."""
    exponential = None if node is None else node.parents[0]
    if not isinstance(exponential, Node) or exponential.op.name != "exp":
        return ()
    inner = exponential.parents[0]
    if not isinstance(inner, Node) or inner.op.name != "where":
        return ()
    return tuple(one for one in inner.parents if one is not None)


def _source(node: Node) -> Node:
    """Return the node whose result a node only rearranges, or changes by a tiny number."""
    while node.op.name in REARRANGING or _is_tiny_change(node):
        parent = next((one for one in node.parents if isinstance(one, Node)), None)
        if parent is None:
            return node
        node = parent
    return node


NEGLIGIBLE: Final = 1e-3
"""A number that is added to probabilities so that none is 0."""


def _is_tiny_change(node: Node) -> bool:
    """Return whether a node adds a number like 1e-8 to its operand, or takes it as the least value."""
    if node.op.name not in ("add", "subtract", "maximum") or node.arrays is None:
        return False
    numbers = [
        array
        for array, parent in zip(node.arrays, node.parents, strict=True)
        if parent is None and np.size(array) == 1
    ]
    return any(0 < abs(float(one)) <= NEGLIGIBLE for one in map(np.squeeze, numbers))


def rectified_before_loss(look: Look) -> Iterator[str]:
    """Find a ReLU whose result the loss takes for logits."""
    for loss, logits in _logits_of(look.operations):
        node = _source(logits)
        one = next((one for one in look.operations if one.node is node), None)
        if one is None or not is_rectifier(one):
            continue
        place = look.name_of(one.module)
        yield (
            f"the ReLU in {place} is the last operation before {loss}: an output below 0 becomes 0 and gets "
            "no gradient, so that the model cannot rule a class out, and may stop learning; let the model "
            "return the numbers before the ReLU (the logits)"
        )
        return


def _squashing(node: Node) -> tuple[str, Node] | None:
    """Return the kind of a result that is a softmax, log-softmax or sigmoid, and its node; else None."""
    node = _source(node)
    name = node.op.name
    if name in ("softmax", "sigmoid", "log_softmax"):
        return name.replace("_", "-"), node
    parents = [_source(one) if isinstance(one, Node) else None for one in node.parents]
    if name == "log" and parents[0] is not None and (inner := _squashing(parents[0])) is not None:
        return ("log-softmax", inner[1]) if inner[0] == "softmax" else None
    if name == "divide" and parents[1] is not None:
        if parents[0] is not None and _is_softmax_by_hand(node, parents[0], parents[1]):
            return "softmax", node
        if parents[0] is None and _is_sigmoid_by_hand(node, parents[1]):
            return "sigmoid", node
    if name == "subtract" and parents[1] is not None and parents[1].op.name == "logsumexp":
        same = _parent(parents[1]) is parents[0] and parents[0] is not None
        return ("log-softmax", node) if same else None
    return None


def _parent(node: Node) -> Node | None:
    one = next((one for one in node.parents if isinstance(one, Node)), None)
    return None if one is None else _source(one)


def _is_softmax_by_hand(node: Node, above: Node, below: Node) -> bool:
    """Return whether a quotient is ``np.exp(x) / np.sum(np.exp(x))``: by its graph, and its sums."""
    inner = _parent(below)
    if above.op.name != "exp" or below.op.name != "sum" or inner is None or inner.op.name != "exp":
        return False
    axis = below.static.get("axis")
    return axis is not None and bool(np.allclose(np.sum(node.out, axis=axis), 1, atol=1e-3))


def _is_sigmoid_by_hand(node: Node, below: Node) -> bool:
    """Return whether a quotient is ``1 / (1 + np.exp(-x))``."""
    assert node.arrays is not None
    assert below.arrays is not None
    inner = _parent(below)
    if below.op.name != "add" or inner is None or inner.op.name != "exp":
        return False
    before = _parent(inner)
    ones = [node.arrays[0], *(one for one in below.arrays if np.ndim(one) == 0)]
    is_negated = before is not None and before.op.name == "negative"
    return is_negated and len(ones) == 2 and all(one == 1 for one in ones)


# ---- gradients and the optimiser ---------------------------------------------------------------------------


def without_gradient(look: Look) -> Iterator[str]:
    """Find parameters that the loss depends on in none of four looks: layers may be left out at random."""
    missing = set(look.unreached)
    if not isinstance(look.loss_value, Tensor) or not missing:
        return
    for unreached, _ in look.further_looks():
        missing &= unreached
    trained = [name for name, parameter in look.model.named_parameters() if parameter.requires_grad]
    names = [name for name in trained if name in missing]
    if names == trained:
        yield (
            "no parameter of the model receives a gradient: the loss does not depend on them; check that the "
            "loss is computed of the model's output, as a Tensor, without .detach(), .data or np.asarray"
        )
    elif names:
        yield _silent_text(
            names, "no gradient", "use the layer in forward, or freeze it by .requires_grad_(False)"
        )


def gradient_of_zero(look: Look) -> Iterator[str]:
    """Find parameters whose gradient is exactly 0 in four looks.

    Between the looks all parameters of the copy are changed a little: behind weights that start at 0 the
    gradient is 0 in the first look alone.
    """
    zero = {name for name, value in look.gradients.items() if value == 0}
    if not zero:
        return
    for _, gradients in look.further_looks():
        zero &= {name for name, value in gradients.items() if value == 0}
    if names := [name for name, _ in look.model.named_parameters() if name in zero]:
        around = "it" if len(names) == 1 else "them"
        advice = f"the units around {around} are 0 for every input, or are multiplied by 0"
        yield _silent_text(names, "a gradient of exactly 0", advice)


def _silent_text(names: list[str], what: str, advice: str) -> str:
    many = len(names) > 1
    return (
        f"{'parameters' if many else 'parameter'} {names_text(names)} {'get' if many else 'gets'} {what}, so "
        f"that training leaves {'them' if many else 'it'} as at the beginning: {advice}"
    )


def not_in_optimizer(look: Look) -> Iterator[str]:
    """Find parameters that the optimiser does not hold."""
    if look.optimizer is None:
        return
    held = {id(parameter) for group in look.optimizer.param_groups for parameter in group["params"]}
    trained = {name: p for name, p in look.model.named_parameters() if p.requires_grad}
    left = [name for name, parameter in trained.items() if id(parameter) not in held]
    kind = type(look.optimizer).__name__
    if left and len(left) == len(trained):
        yield (
            f"the {kind} holds no parameter of this model, so nothing of it is trained: make it of these "
            f"parameters, {kind}(model.parameters(), ...), after the model is made"
        )
    elif left:
        many = len(left) > 1
        them = "them" if many else "it"
        yield (
            f"the {kind} does not hold {'parameters' if many else 'parameter'} {names_text(left)}, which "
            f"{'stay' if many else 'stays'} as at the beginning unless another optimiser trains {them}: give "
            f"it model.parameters(), or freeze {them} by .requires_grad_(False)"
        )


# ---- modes -------------------------------------------------------------------------------------------------


def evaluation_mode_in_training(look: Look) -> Iterator[str]:
    """Find modules that are in evaluation mode while the model is trained."""
    yield from left_in_evaluation(look.model)


def left_in_evaluation(model: nn.Module) -> Iterator[str]:
    """Find layers of a model in evaluation mode, of those that then behave otherwise."""
    left = [
        (path, one)
        for path, one in model.named_modules()
        if _depends_on_mode(one) and not one.training and not (model.training and _is_frozen(one))
    ]
    if not left:
        return
    many = len(left) > 1
    if not model.training:
        yield (
            f"the model is in evaluation mode while it is trained: {_layers_text(left)} "
            f"{'behave' if many else 'behaves'} as in evaluation; call model.train() before training, and "
            "after each evaluation"
        )
    elif all(_is_norm(one) for _, one in left):
        yield (
            f"{_layers_text(left)} {'stay' if many else 'stays'} in evaluation mode in training, and "
            f"{'normalise' if many else 'normalises'} by the running statistics: that is right for a frozen "
            "batch norm; else call .train()"
        )
    else:
        yield (
            f"{_layers_text(left)} {'stay' if many else 'stays'} in evaluation mode while the model is "
            "trained: if that is not meant, call model.train()"
        )


def _depends_on_mode(one: Any) -> bool:
    """Return whether a layer of this package behaves in evaluation as it does not in training."""
    return _is_norm(one) or (isinstance(one, (nn.Dropout, nn.Dropout2d)) and one.p > 0)


def _is_frozen(one: Any) -> bool:
    """Return whether a norm is frozen altogether: its parameters, too, so that its mode is meant."""
    return _is_norm(one) and not any(parameter.requires_grad for parameter in one.parameters())


def _is_norm(one: Any) -> bool:
    return isinstance(one, (nn.BatchNorm1d, nn.BatchNorm2d))


def _layers_text(layers: list[tuple[str, Any]]) -> str:
    shown = [f"{path!r} ({type(one).__name__})" if path else type(one).__name__ for path, one in layers]
    rest = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    return f"{'layer' if len(shown) == 1 else 'layers'} {', '.join(shown[:3])}{rest}"


def training_mode_in_evaluation(look: Look) -> Iterator[str]:
    """Find dropout that drops, and statistics that change, in evaluation mode."""
    if look.is_own:  # layers of this package heed the mode
        return
    evaluation = look.in_evaluation
    for one in evaluation.operations:
        if one.drawn and one.name == "multiply" and _is_dropout_mask(one.arrays[1]):
            share = 1 - np.count_nonzero(one.arrays[1]) / one.arrays[1].size
            place = evaluation.name_of(one.module)
            yield (
                f"dropout is active in evaluation mode: in {place}, {share:.0%} of the numbers were set to "
                "0, so that the outputs are random; write F.dropout(x, p, training=self.training), or use "
                "nn.Dropout"
            )
            break
    if changed := evaluation.changed:
        yield (
            f"{'buffers' if len(changed) > 1 else 'buffer'} {names_text(changed)} "
            f"change{'' if len(changed) > 1 else 's'} in evaluation mode, as batch norm in training mode "
            "does: what is evaluated depends on what was evaluated before; pass training=self.training"
        )


def _is_dropout_mask(mask: Any) -> bool:
    if not isinstance(mask, np.ndarray) or not mask.size:
        return False
    top = float(mask.max())
    return top >= 1 and bool(np.all((mask == 0) | (mask == top))) and not bool(np.all(mask))


# ---- labels and targets ------------------------------------------------------------------------------------


def wrong_labels(look: Look) -> Iterator[str]:
    """Find labels that are no classes, or are no labels, where the loss is a cross-entropy of classes."""
    outputs, targets = array_of(look.outputs), array_of(look.all_targets)
    if outputs is None or targets is None or outputs.ndim < 2 or not _takes_labels(look):
        return
    own = getattr(look.loss, "ignore_index", IGNORED)
    shape = (*look.few_targets.shape[:1], *outputs.shape[2:])
    fault = label_fault(targets, outputs.shape[1], own, outputs.ndim, look.few_targets.shape == shape)
    if fault is not None:
        yield fault


def _takes_labels(look: Look) -> bool:
    """Return whether the loss takes integer labels of the classes that the outputs stand for.

    If it raised an error, it is tried with labels that are all 0.
    """
    loss = look.loss.func if isinstance(look.loss, partial) else look.loss
    if isinstance(loss, (nn.CrossEntropyLoss, nn.NLLLoss)) or loss in (F.cross_entropy, F.nll_loss):
        return True
    shape = look.outputs.shape
    operations = look.operations[look.model_operations :]
    if look.loss_value is None:
        zeros = np.zeros((shape[0], *shape[2:]), np.int64)
        operations = look.losses_operations(look.outputs, zeros)
    return any(one.name == "cross_entropy" and np.shape(one.arrays[0]) == shape for one in operations)


def label_fault(labels: Array, classes: int, ignored: int, ndim: int = 2, fits: bool = True) -> str | None:
    """Return what is wrong with the labels of a classification, in a sentence; None if nothing is.

    Parameters
    ----------
    labels : ndarray
        Integer labels, shape (n,); or one-hot rows or probabilities, shape (n, classes).
    classes : int
        The number of outputs.
    ignored : int
        The label that the loss leaves out.
    ndim : int
        The number of axes of the outputs.
    fits : bool
        Whether the labels have the shape of the outputs without the axis of the classes.

    Examples
    --------
    >>> print(label_fault(np.array([1, 2, 3]), 3, -100))
    the labels go from 1 to 3, but the 3 outputs stand for the classes 0 to 2: subtract 1 from the labels
    >>> label_fault(np.array([0, 2, 1]), 3, -100)
    """
    if labels.ndim == ndim:
        return _rows_fault(labels, classes)
    if not fits:
        return None  # the error of the loss says so
    if not is_integer(labels):
        whole = is_float(labels) and bool(np.all(labels == np.round(labels)))
        advice = "convert them, y.astype(np.int64)" if whole else "for a regression take MSELoss"
        expected = "but cross-entropy expects integers, the numbers of classes"
        return f"the labels are {labels.dtype}, {expected}: {advice}"
    kept = labels if 0 <= ignored < classes else labels[labels != ignored]
    low, high = (int(kept.min()), int(kept.max())) if kept.size else (0, 0)
    if low >= 0 and high < classes:
        return None
    outputs = f"the {count_text(classes, 'output')} stand for the classes 0 to {classes - 1}"
    text = f"the labels go from {low} to {high}, but {outputs}"
    if low == 1 and high == classes:
        return f"{text}: subtract 1 from the labels"
    outside = count_text(int(np.count_nonzero((kept < 0) | (kept >= classes))), "label")
    advice = (
        f"give the model {high + 1} outputs, or put the labels right"
        if low >= 0
        else "put them right, or leave them out by ignore_index"
    )
    return f"{text}: {outside} of {kept.size:,} are no class; {advice}"


def _rows_fault(rows: Array, classes: int) -> str | None:
    """Return what is wrong with one-hot rows or probabilities."""
    if rows.shape[1] == classes:
        return None
    if rows.shape[1] == 1:
        return (
            f"the labels are a column of shape {rows.shape}; cross-entropy expects one number for each row "
            "of outputs, without that axis: y[:, 0]"
        )
    return (
        f"the targets have {rows.shape[1]} columns, but the model has {count_text(classes, 'output')}: "
        "one-hot rows need one column for each output; give the model as many outputs, or make the rows by "
        f"nn.functional.one_hot(labels, {classes})"
    )


def broadcast_targets(look: Look) -> Iterator[str]:
    """Find a loss that pairs each output with each target, as of shapes (n, 1) and (n,)."""
    outputs, targets = array_of(look.outputs), array_of(look.few_targets)
    if outputs is None or targets is None or outputs.shape == targets.shape or outputs.size != targets.size:
        return
    if targets.size < 2 or _takes_labels(look):
        return
    spread = [one for one in look.operations[look.model_operations :] if _pairs(one, outputs, targets)]
    shapes = f"the outputs have shape {outputs.shape} and the targets {targets.shape}"
    advice = f"give both one shape: y.reshape({_shape_text(outputs.shape)})"
    if spread:
        yield (
            f"{shapes}: '{spread[0].name}' in the loss makes {spread[0].out.shape} of them, each output with "
            f"each target, so that the model learns the mean of the targets; {advice}"
        )
    elif look.loss_value is None:
        yield f"{shapes}, which the loss does not take; {advice}"


def _pairs(one: Applied, outputs: Array, targets: Array) -> bool:
    """Return whether an operation broadcast outputs and targets to all pairs of them."""
    shapes = [np.shape(array) for array in one.arrays]
    return (
        outputs.shape in shapes
        and targets.shape in shapes
        and np.size(one.out) > outputs.size
        and any(np.may_share_memory(array, targets) for array in one.arrays if isinstance(array, np.ndarray))
    )


def _shape_text(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, (-1, *shape[1:])))


def probabilities_to_nll(look: Look) -> Iterator[str]:
    """Find outputs that are no log-probabilities before NLLLoss."""
    loss = look.loss.func if isinstance(look.loss, partial) else look.loss
    outputs = array_of(look.outputs)
    if not (isinstance(loss, nn.NLLLoss) or loss is F.nll_loss) or outputs is None or outputs.ndim < 2:
        return
    with np.errstate(all="ignore"):
        sums = np.sum(np.exp(outputs.astype(np.float64)), axis=1)
    if not np.all(np.isfinite(sums)) or np.max(np.abs(sums - 1), initial=0) < 0.05:
        return
    is_softmax = bool(np.allclose(outputs.sum(axis=1), 1, atol=1e-3)) and bool(np.all(outputs >= 0))
    given = (
        "probabilities" if is_softmax else f"numbers whose exponentials sum to {sums.flat[0]:.3g} in a row"
    )
    yield (
        f"NLLLoss expects log-probabilities, but the model returns {given}: take LogSoftmax(dim=1) as the "
        "last layer, or CrossEntropyLoss and no softmax at all"
    )


# ---- dtypes and scales -------------------------------------------------------------------------------------


def accidental_float64(look: Look) -> Iterator[str]:
    """Find float64 in the computation of a model of float32; not where it is converted on purpose."""
    own = {p.dtype for p in look.model.parameters()} | {b.dtype for b in look.model.buffers() if is_float(b)}
    first = next((one for one in look.operations if getattr(one.out, "dtype", None) == np.float64), None)
    if first is None or first.name == "astype" or np.dtype(np.float64) in own or not own:
        return
    if getattr(look.loss_value, "dtype", None) != np.float64:
        return
    single = max(own, key=lambda dtype: dtype.itemsize)
    inputs, targets = array_of(look.few_inputs), array_of(look.few_targets)
    is_of_the_model = first in look.operations[: look.model_operations]
    if is_of_the_model and inputs is not None and _makes_float64(inputs):
        cause = f"the inputs are {inputs.dtype}; convert them, x.astype(np.{single})"
    elif is_of_the_model:
        cause = (
            f"it becomes so in '{first.name}' in {look.name_of(first.module)}; an array or NumPy scalar of "
            "float64 there is the cause"
        )
    elif targets is not None and _makes_float64(targets):
        cause = f"the targets are {targets.dtype}; convert them, y.astype(np.{single})"
    else:
        cause = f"it becomes so in '{first.name}'; an array or NumPy scalar of float64 there is the cause"
    yield (
        f"the model has parameters of {single}, but the {'outputs are' if is_of_the_model else 'loss is'} "
        f"computed in float64, which takes twice as long: {cause}"
    )


def _makes_float64(array: Array) -> bool:
    return array.dtype == np.float64 or is_integer(array)


def float16_parameters(look: Look) -> Iterator[str]:
    """Find trained parameters in float16."""
    half = [n for n, p in look.model.named_parameters() if p.dtype == np.float16 and p.requires_grad]
    if half:
        yield (
            f"{'parameters' if len(half) > 1 else 'parameter'} {names_text(half)} "
            f"{'are' if len(half) > 1 else 'is'} float16: a step smaller than about a thousandth of a weight "
            "is lost in rounding; train in float32, model.astype(np.float32), and convert afterwards"
        )


FAR_OFF: Final = 20.0
"""The root mean square of inputs beyond which they are not scaled; that of pixels 0 to 255 is about 80."""

TINY: Final = 0.01
"""The largest input below which all were scaled twice; that of pixels 0 to 1 is 1."""


def unscaled_inputs(look: Look) -> Iterator[str]:
    """Find inputs that reach the first layer with numbers far from mean 0 and standard deviation 1."""
    inputs = array_of(look.few_inputs)
    if inputs is None or not inputs.size or not np.all(np.isfinite(inputs)) or not _reach_a_product(look):
        return
    values = inputs.astype(np.float64)
    mean, deviation, low, high = values.mean(), values.std(), values.min(), values.max()
    size = float(np.sqrt(np.mean(np.square(values))))
    is_shifted = size > 1 and abs(mean) > 20 * deviation > 0
    if not (size > FAR_OFF or 0 < max(-low, high) < TINY or is_shifted):
        return
    advice = (
        "divide them by 255, or standardise them: subtract the mean and divide by the standard deviation"
        if low >= 0 and 200 <= high <= 255
        else "standardise them: subtract the mean of the training part and divide by its standard deviation"
    )
    dtype = f" of {inputs.dtype}" if is_integer(inputs) else ""
    yield (
        f"the inputs{dtype} go from {low:.4g} to {high:.4g}, with mean {mean:.3g} and standard deviation "
        f"{deviation:.3g}: the first layer expects numbers around -1 to 1; {advice}"
    )


def _reach_a_product(look: Look) -> bool:
    """Return whether the inputs come to a layer that multiplies them as they are, without a normalisation."""
    same = {id(array_of(look.x))}
    operations = look.operations[: look.model_operations]
    for one, follower in zip_longest(operations, operations[1:]):
        if not any(id(array) in same for array in one.arrays):
            continue
        if one.name not in REARRANGING:
            return one.name in PRODUCTS and (follower is None or follower.name not in NORMALISATIONS)
        same.add(id(one.out))
    return False


MOST_NUMBERS: Final = 4_000_000
"""The numbers that are looked through for NaN; of more, that takes too long."""


def not_finite_data(look: Look) -> Iterator[str]:
    """Find NaN and infinity in inputs and targets; not in inputs that the model makes finite outputs of."""
    for name, values in (("inputs", look.all_inputs), ("targets", look.all_targets)):
        array = array_of(values)
        if array is None or not is_float(array) or not array.ndim or array.size > MOST_NUMBERS:
            continue
        rows = not_finite_rows(array)
        if not len(rows) or (name == "inputs" and look.is_finite_for(array[rows[:ROWS_IN_EVALUATION]])):
            continue
        bad = array[rows[0]][~np.isfinite(array[rows[0]])]
        shown = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
        yield (
            f"the {name} hold {bad.flat[0]} in {len(rows):,} of {count_text(len(array), 'row')} (row "
            f"{shown}); leave such rows out, or replace the values"
        )
