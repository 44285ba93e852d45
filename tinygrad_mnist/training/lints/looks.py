"""A look at a model: one batch goes through a copy of it, and everything is as it was before.

A look sees the operations, and in which module each of them ran, the outputs, the loss and the gradients. The
copy has its own parameters, buffers and generators. Generators that the model or the loss reaches outside of
it get their states back, and so do the gradients of the model itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import dataclass, field
from functools import cached_property, partial
from inspect import isclass, isfunction
from types import MethodType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import nn
from tinygrad_mnist.compiler.generators import kept_generators
from tinygrad_mnist.engine.observe import Recorder, is_own, module, observed_by
from tinygrad_mnist.engine.random_state import Draws
from tinygrad_mnist.engine.tape import Node, recording
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.engine.tree import flatten, unflatten
from tinygrad_mnist.nn import init
from tinygrad_mnist.nn.module import evaluation_mode
from tinygrad_mnist.training.lints.surroundings import is_users, kept_surroundings

ROWS: Final = 32
"""The rows of a batch that a look is taken at."""

FURTHER_LOOKS: Final = 3
"""The looks that are taken again, where a parameter seems to get no gradient."""

ROWS_IN_EVALUATION: Final = 4
"""The rows that show what a model does in evaluation mode."""

Loss = Callable[[Any, Any], Any]


@dataclass(frozen=True, eq=False)
class Applied:
    """An operation that ran in a look."""

    name: str
    arrays: tuple[Any, ...]
    out: Any
    node: Node | None
    module: Any
    """The innermost module that ran; None outside of all."""
    drawn: bool
    """Whether a layer asked for a random generator since the operation before."""


RECTIFIERS: Final = frozenset({"relu", "maximum", "linear_batch_norm_relu"})


def is_rectifier(one: Applied) -> bool:
    """Return whether an operation is a ReLU."""
    is_zero = one.name != "maximum" or any(np.ndim(array) == 0 and array == 0 for array in one.arrays)
    return one.name in RECTIFIERS and is_zero


@dataclass
class _Watcher(Recorder):
    """The recorder of a look: it keeps what ran."""

    operations: list[Applied] = field(default_factory=list)
    has_drawn: bool = False
    enters_checkpoints = False

    def applied(self, op: Any, arrays: tuple[Any, ...], out: Any, node: Any, static: Any) -> None:
        self.operations.append(Applied(op.name, arrays, out, node, module.get(), self.has_drawn))
        self.has_drawn = False


class _NotedDraws(Draws):
    """Notes that a layer asks for a generator, and gives it the one that it asks for."""

    def __init__(self, watcher: _Watcher) -> None:
        super().__init__([], again=False)
        self.watcher = watcher

    def generator(self, make: Callable[[], np.random.Generator]) -> np.random.Generator:
        self.watcher.has_drawn = True
        return make()


@dataclass(eq=False)
class Look:
    """A look at a model and a loss, with one batch.

    Parameters
    ----------
    model : Module
        From inputs to outputs. It is not changed.
    loss : callable
        ``loss(outputs, targets)``, a scalar.
    inputs, targets : array_like
        A batch; or all the data, of which evenly spaced rows are looked at.
    optimizer : Optimizer, optional
        The optimiser of the parameters.
    all_inputs, all_targets : array_like, optional
        All data, where the batch is a part of it.

    Attributes
    ----------
    outputs : object
        What the model returned; None if it raised an error.
    loss_value : Tensor or None
        The loss; None if there was an error.
    operations : list of Applied
        What ran in training, the model's part first.
    model_operations : int
        How many of them are the model's.
    """

    model: nn.Module
    loss: Loss
    inputs: Any
    targets: Any
    optimizer: Any = None
    all_inputs: Any = None
    all_targets: Any = None
    outputs: Any = None
    loss_value: Any = None
    operations: list[Applied] = field(default_factory=list)
    model_operations: int = 0

    def __post_init__(self) -> None:
        self.few_inputs, self.few_targets = few_rows(self.inputs, self.targets)
        self.all_inputs = self.inputs if self.all_inputs is None else self.all_inputs
        self.all_targets = self.targets if self.all_targets is None else self.all_targets
        try:
            self._run(shared=True)
        except Exception:  # of a forward that writes into a parameter, perhaps
            self._run(shared=False)

    def _run(self, shared: bool) -> None:
        with unchanged(self.model, self.loss, self.optimizer):
            self.twin = copy_of(self.model, shared)
            self._own_loss = copy_of(self.loss) if isinstance(self.loss, nn.Module) else self.loss
            self._run_twin()

    def _run_twin(self) -> None:
        self.operations = []
        watcher = _Watcher(self.operations)
        self.x, self.y = as_tensors(self.few_inputs), as_tensors(self.few_targets)
        with _seen_by(watcher):
            self.outputs = self.twin(self.x)
            self.model_operations = len(self.operations)
            try:
                self.loss_value = self._own_loss(self.outputs, self.y)
            except Exception:  # of targets that do not fit, say: the checks look for what is wrong with them
                self.loss_value = None

    @cached_property
    def unreached(self) -> set[str]:
        """The parameters that require a gradient and that the loss does not depend on, by the tape."""
        return self._unreached(self.twin, self.loss_value)

    @cached_property
    def gradients(self) -> dict[str, float]:
        """The greatest absolute gradient of each parameter that gets one.

        To ask for them frees the tape: the checks of the graph come first.
        """
        return self._gradients(self.twin, self.loss_value)

    def further_looks(self) -> Iterator[tuple[set[str], dict[str, float]]]:
        """Yield unreached parameters and gradients, after small random changes of the copy's parameters."""
        rng, twin = np.random.default_rng(0), copy_of(self.model)
        for _ in range(FURTHER_LOOKS):
            for parameter in twin.parameters():
                noise = rng.standard_normal(parameter.shape, np.float32).astype(parameter.dtype)
                parameter.data = parameter.data + noise * (0.01 + 0.05 * np.abs(parameter.data))
            with unchanged(self.model, self.loss, self.optimizer), _seen_by(_Watcher()):
                loss = self._own_loss(twin(self.x), self.y)
            yield self._unreached(twin, loss), self._gradients(twin, loss)

    def _unreached(self, twin: nn.Module, loss: Any) -> set[str]:
        reached = _leaves(loss.origin) if isinstance(loss, Tensor) else set()
        own = dict(self.model.named_parameters())  # which a loss may use directly
        return {
            name
            for name, parameter in twin.named_parameters()
            if parameter.requires_grad and parameter.origin not in reached and own[name].origin not in reached
        }

    def _gradients(self, twin: nn.Module, loss: Any) -> dict[str, float]:
        if not isinstance(loss, Tensor) or not loss.requires_grad:
            return {}
        parameters = list(twin.named_parameters())
        for _, parameter in parameters:
            parameter.grad = None
        with unchanged(self.model, self.loss, self.optimizer), observed_by(None):
            (loss if loss.size == 1 else loss.sum()).backward()
        return {
            name: float(np.max(np.abs(parameter.grad.data), initial=0))
            for name, parameter in parameters
            if parameter.grad is not None
        }

    def losses_operations(self, outputs: Any, targets: Any) -> list[Applied]:
        """Return the operations of the loss of other outputs or targets; none if it raises an error."""
        watcher = _Watcher()
        with unchanged(self.model, self.loss, self.optimizer), _seen_by(watcher):
            try:
                self._own_loss(outputs, as_tensors(targets))
            except Exception:
                return []
        return watcher.operations

    @property
    def is_own(self) -> bool:
        """True if all forwards are this package's."""
        return not any(_forwards(self.model))

    @cached_property
    def in_evaluation(self) -> Evaluated:
        """The pass of a few rows in evaluation mode."""
        rows = few_rows(self.few_inputs, self.few_targets, ROWS_IN_EVALUATION)[0]
        return evaluated(self.model, rows, self.twin)

    def is_finite_for(self, inputs: Any) -> bool:
        """Return whether the outputs for some inputs are finite."""
        out = array_of(evaluated(self.model, inputs, self.twin).outputs)
        return out is not None and bool(np.all(np.isfinite(out)))

    def name_of(self, this: Any) -> str:
        """Return a module as a sentence names it: ``layer '3' (Softmax)``, or ``the model (Net)``."""
        return name_of(this, self.twin)


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A pass of some inputs through a copy of a model in evaluation mode.

    Parameters
    ----------
    operations : list of Applied
        What ran.
    changed : tuple of str
        The buffers of floats that it changed.
    twin : Module
        The copy.
    outputs : object
        What it returned.
    """

    operations: list[Applied]
    changed: tuple[str, ...]
    twin: nn.Module
    outputs: Any

    def name_of(self, this: Any) -> str:
        """Return a module as a sentence names it."""
        return name_of(this, self.twin)


def evaluated(model: nn.Module, inputs: Any, twin: nn.Module | None = None) -> Evaluated:
    """Let inputs go through a copy of a model in evaluation mode; the copy may be given."""
    try:
        return _evaluated(model, inputs, copy_of(model, shared=True) if twin is None else twin)
    except Exception:  # of a forward that writes into a parameter, perhaps
        return _evaluated(model, inputs, copy_of(model))


def _evaluated(model: nn.Module, inputs: Any, twin: nn.Module) -> Evaluated:
    watcher = _Watcher()
    before = {name: buffer.copy() for name, buffer in twin.named_buffers()}
    with unchanged(model), _seen_by(watcher), evaluation_mode():
        outputs = twin(as_tensors(inputs))
    changed = tuple(
        name
        for name, buffer in twin.named_buffers()
        if buffer.dtype.kind == "f" and name in before and not np.array_equal(before[name], buffer)
    )
    return Evaluated(watcher.operations, changed, twin, outputs)


def name_of(this: Any, model: nn.Module) -> str:
    """Return a module as a sentence names it: ``layer '3' (Softmax)``, or ``the model (Net)``."""
    kind = type(this).__name__
    if this is None:
        return "the function of the loss"
    if this is model:
        return f"the model ({kind})"
    path = next((path for path, one in model.named_modules() if one is this), "")
    return f"layer {path!r} ({kind})" if path else f"the loss ({kind})"


def copy_of(this: nn.Module, shared: bool = False) -> nn.Module:
    """Return a deep copy of a module, without gradients, that warns of nothing again.

    With ``shared``, its parameters are views of those of the module, which cannot be written to: the copy
    takes half the time, and a forward that writes into a parameter raises an error.
    """
    memo: dict[int, Any] = {}
    for parameter in this.parameters() if shared else ():
        memo[id(parameter)] = twin_parameter = copy(parameter)
        twin_parameter._array = parameter._array.view()
        twin_parameter._array.flags.writeable = False
    twin = deepcopy(this, memo)
    for parameter in twin.parameters():
        if parameter.grad is not None:
            parameter.grad = None
    for one in twin.modules():
        vars(one)["_float64_settled"] = True
    return twin


@contextmanager
def _seen_by(watcher: _Watcher) -> Iterator[None]:
    """Tell a watcher what runs inside, and nobody else; NumPy warns of nothing."""
    token = recording.set(True)
    try:
        with observed_by(watcher), _NotedDraws(watcher).noted(), np.errstate(all="ignore"):
            yield
    finally:
        recording.reset(token)


@contextmanager
def unchanged(model: nn.Module, loss: Any = None, optimizer: Any = None) -> Iterator[None]:
    """Give gradients, buffers and generators that a copy of the model may still reach what they had before.

    A loss may use the model itself, as weight decay by hand does, and so may a forward that is a closure, or
    a generator of its file.
    """
    parameters = list(model.parameters())
    for group in getattr(optimizer, "param_groups", ()):
        parameters += group["params"]
    leaves = [leaf for parameter in parameters if (leaf := parameter._leaf) is not None]
    gradients = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None  # else the gradient of a look would be added to the arrays themselves
    buffers = [(buffer, buffer.copy()) for buffer in model.buffers()]
    root = init.root_seed()
    init.set_root_seed(deepcopy(root))  # it counts its children
    try:
        with kept_generators(loss), kept_surroundings([*_code_of(loss), *_code_of(model)]):
            yield
    finally:
        init.set_root_seed(root)
        for buffer, values in buffers:
            if not np.array_equal(buffer, values, equal_nan=True):
                buffer[...] = values
        for leaf, gradient in zip(leaves, gradients, strict=True):
            leaf.grad = gradient


def _forwards(model: nn.Module) -> Iterator[Callable[..., Any]]:
    """Yield the functions of a model that are not this package's: its forwards, and those that it holds."""
    for one in model.modules():
        forward = type(one).forward
        if not is_own(forward):
            yield forward
            yield from filter(isfunction, vars(one).values())
        elif "forward" in vars(one):
            yield vars(one)["forward"]


def _code_of(this: Any) -> Iterator[Any]:
    """Yield what holds the variables around a model or a loss: the user's functions and classes.

    What a module itself holds is left out, as a look works on a copy of it; but functions are not copied.
    """
    if this is None or is_own(this):
        return
    if not isinstance(this, nn.Module):
        yield this
        return
    for one in this.modules():
        yield from filter(is_users, type(one).__mro__)
        for held in vars(one).values():
            if isfunction(held) or isclass(held) or isinstance(held, (MethodType, partial)):
                yield held


def _leaves(origin: Any) -> set[Any]:
    """Return the leaves that a tape ends at."""
    found: set[Any] = set()
    waiting = [origin]
    while waiting:
        one = waiting.pop()
        if one is not None and one not in found:
            found.add(one)
            waiting.extend(getattr(one, "parents", ()))
    return found


# ---- batches -----------------------------------------------------------------------------------------------


def as_tensors(values: Any) -> Any:
    """Return arrays, alone or in dicts, lists and tuples, as Tensors that need no gradient."""
    leaves, structure = flatten(values)
    return unflatten(structure, [Tensor(one) if isinstance(one, np.ndarray) else one for one in leaves])


def array_of(value: Any) -> NDArray[Any] | None:
    """Return the array of a Tensor or an array; None for anything else."""
    if isinstance(value, Tensor):
        return value.data
    return value if isinstance(value, np.ndarray) else None


def few_rows(inputs: Any, targets: Any, most: int = ROWS) -> tuple[Any, Any]:
    """Return evenly spaced rows of a batch; all of it where it is not clear what its rows are."""
    x, y = array_of(inputs), array_of(targets)
    if x is None or y is None or not x.ndim or not y.ndim or len(x) != len(y):
        return inputs, targets
    step = max(1, len(x) // most)
    return x[::step][:most], y[::step][:most]


def not_finite_rows(array: NDArray[Any]) -> NDArray[np.intp]:
    """Return the numbers of the rows of an array that hold NaN or infinity."""
    with np.errstate(all="ignore"):
        if np.isfinite(np.sum(array, dtype=np.float64)):  # the usual case
            return np.empty(0, np.intp)
    return np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))


def names_text(names: Iterable[str], most: int = 4) -> str:
    """Return names as a sentence lists them: ``'a', 'b' and 3 more``."""
    listed = [repr(name) for name in names]
    if len(listed) > most:
        return f"{', '.join(listed[: most - 1])} and {len(listed) - most + 1} more"
    return " and ".join(filter(None, [", ".join(listed[:-1]), listed[-1]])) if listed else ""
