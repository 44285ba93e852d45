"""The cost of a step, operation by operation: seconds forward and backward, and the memory kept in between.

Times are taken in runs of their own, by a listener that does nothing but look at the clock; another run is
recorded with all its values, and the two are matched by the order of the operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from tinygrad_mnist.engine.observe import Recorder, also_observed_by, observed_by
from tinygrad_mnist.engine.op import REGISTRY
from tinygrad_mnist.engine.tape import Node as TapeNode
from tinygrad_mnist.engine.tensor import _lift
from tinygrad_mnist.engine.walk import walk
from tinygrad_mnist.graph.data import OPERATION, Graph, Node
from tinygrad_mnist.graph.record import Recording
from tinygrad_mnist.numbers import count_text


def profile(
    model: Callable[..., Any],
    x: Any,
    y: Any = None,
    *,
    loss: Callable[[Any, Any], Any] | None = None,
    repeats: int = 10,
    warmup: int = 2,
    names: Mapping[str, Any] | None = None,
) -> Graph:
    """Run a copy of a model several times, and return its graph with the time and memory of each operation.

    The time of an operation lasts from the end of the one before it until its own end. So it comprises
    what leads up to it: the Python of your modules, NumPy's dispatch, the tape; and the times of all
    operations add up to the time of the whole pass. That of its backward pass is, likewise, the time from
    the end of the one before, and comprises the sums where gradients meet. The recorder's own time is not in
    it. What a checkpointed function does inside is counted to the operation that stands for it.

    The module itself stays as it is: its running statistics, random numbers and gradients too.

    Parameters
    ----------
    model : Module or callable
        The function to call with ``x``. A module is copied; what a function refers to is not.
    x : array_like
        A batch of inputs.
    y : array_like, optional
        The second argument of the loss; without it, only the forward pass is run.
    loss : callable, optional
        ``loss(output, y)`` gives a scalar; by default the mean cross-entropy of logits and labels.
    repeats : int
        The number of timed runs; each operation gets the median.
    warmup : int
        The number of runs before those.
    names : mapping of str to Tensor or ndarray, optional
        Names of other arrays, as for `record`: ``{"images": x, "labels": y}``.

    Returns
    -------
    Graph
        With ``forward_seconds``, ``backward_seconds``, ``forward_bytes`` and ``backward_bytes`` in its
        operations (see `peak`), and ``forward_flops`` and ``backward_flops`` in products and convolutions.

    Raises
    ------
    TypeError
        If ``model`` cannot be called.
    ValueError
        If the loss is not a scalar, there is one without ``y``, or there is nothing to repeat.
    RuntimeError
        If the operations were not the same in each run.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import graph, nn
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> measured = graph.profile(model, np.ones((5, 4), np.float32), np.array([0, 1, 2, 0, 1]))
    >>> all(node.forward_seconds > 0 and node.backward_seconds > 0 for node in measured.operations)
    True
    """
    if not callable(model):
        raise TypeError(f"profile was given a {type(model).__name__}; expected a module or a function")
    if repeats < 1 or warmup < 0:
        raise ValueError(
            f"repeats={repeats} and warmup={warmup} were given; expected at least 1 run and 0 before it"
        )
    if loss is not None and y is None:
        raise ValueError("a loss was given without y; pass what it compares the output with")
    runs = []
    step = _Step(model, x, y, loss)
    for _ in range(warmup + repeats):
        watch = _Stopwatch()
        with observed_by(None):  # what other recorders do would be timed too; they hear of the last run
            step.run(watch, watch.start)
        runs.append(watch)
    step = _Step(model, x, y, loss)
    recorded = _Accounts(step.model if hasattr(step.model, "named_modules") else None, names)
    step.run(recorded, lambda: None)
    for watch in runs:
        _require_same(recorded.forward, watch.forward)
        _require_same(recorded.backward, watch.backward)
    return _with_costs(recorded, runs[warmup:])


@dataclass(frozen=True)
class Peak:
    """A moment at which most memory was kept.

    Attributes
    ----------
    node : str
        Id of the operation.
    backward : bool
        Whether it was in the backward pass.
    bytes : int
        The memory that was kept then: the values that the backward pass still needed, and gradients.
    """

    node: str
    backward: bool
    bytes: int


def peak(graph: Graph) -> Peak | None:
    """Return the moment at which most memory was kept; None of a graph that `profile` did not make.

    Parameters and inputs are there all the time and are not counted.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import Tensor, graph
    >>> peak(graph.profile(np.exp, Tensor(np.ones(1000), requires_grad=True)))
    Peak(node='exp#1', backward=False, bytes=8000)
    """
    forward = [Peak(node.id, False, node.forward_bytes) for node in graph.nodes if node.forward_bytes]
    backward = [Peak(node.id, True, node.backward_bytes) for node in graph.nodes if node.backward_bytes]
    return max(forward + backward, key=lambda moment: moment.bytes, default=None)


class _Step:
    """A copy of a model and its loss, ready to be run on a batch."""

    def __init__(self, model: Any, x: Any, y: Any, loss: Any) -> None:
        self.model, self._loss = deepcopy((model, loss))  # together: they may share parameters
        self._x, self._y = x, y

    def run(self, listener: Recorder, start: Callable[[], None]) -> None:
        """Run forward and, where there is a loss that requires a gradient, backward."""
        with also_observed_by(listener):
            start()
            output = self.model(self._x)
            if self._y is None:
                return
            loss = _cross_entropy(output, self._y) if self._loss is None else self._loss(output, self._y)
            if np.size(loss) != 1:
                raise ValueError(
                    f"the loss has shape {np.shape(loss)}; expected a scalar: reduce it, as with np.mean"
                )
            if type(getattr(loss, "origin", None)) is TapeNode:
                cotangent = np.ones_like(loss.data)
                start()
                walk([(loss.origin, cotangent)], _lift)  # leaves .grad alone, of x too


def _cross_entropy(output: Any, y: Any) -> Any:
    return np.mean(REGISTRY["cross_entropy"](output, y))


Event = tuple[str, int, float]
"""Name of an operation, its place in the forward pass, and the seconds it took."""


class _Stopwatch(Recorder):
    """A recorder that looks at the clock when an operation has run, and does nothing else."""

    enters_checkpoints = False

    def __init__(self) -> None:
        self.forward: list[Event] = []
        self.backward: list[Event] = []
        self._places: dict[int, int] = {}  # by the time of the tape's node, which keeps nothing alive
        self._last = 0.0

    def start(self) -> None:
        """Begin to count: the forward pass, or the backward pass, starts now."""
        self._last = perf_counter()

    def applied(self, op: Any, arrays: tuple[Any, ...], out: Any, node: Any, static: Any) -> None:
        seconds = perf_counter() - self._last
        place = len(self.forward)
        self.forward.append((op.name, place, seconds))
        if node is not None:
            self._places[node.time] = place
        self._last = perf_counter()

    def began(self) -> None:
        self.start()

    def walked(self, node: Any, g: Any, cotangents: dict[Any, Any], arrived: dict[Any, Any]) -> None:
        seconds = perf_counter() - self._last
        place = self._places.get(node.time)
        if place is not None:
            self.backward.append((node.op.name, place, seconds))
        self._last = perf_counter()


class _Accounts(Recording):
    """A recording that also counts the memory that is kept for the backward pass, after each operation."""

    def __init__(self, model: Any, names: Mapping[str, Any] | None) -> None:
        super().__init__(model, names)
        self.forward: list[Event] = []
        self.backward: list[Event] = []
        self.forward_bytes: list[int] = []
        self.flops: list[tuple[int, int] | tuple[None, None]] = []
        self.backward_bytes: dict[int, int] = {}
        self._places: dict[int, int] = {}
        self._kept = 0

    def add(self, op: Any, arrays: Any, out: Any, node: Any, static: Any, cluster: str, line: str) -> Node:
        own = super().add(op, arrays, out, node, static, cluster, line)
        place = len(self.forward)
        self.forward.append((op.name, place, 0.0))
        self._kept += own.saved_bytes
        self.forward_bytes.append(self._kept)
        self.flops.append(_flops(op, arrays, out, node))
        if node is not None:
            self._places[node.time] = place
        return own

    def walked(self, node: Any, g: Any, cotangents: dict[Any, Any], arrived: dict[Any, Any]) -> None:
        super().walked(node, g, cotangents, arrived)
        place = self._places.get(node.time)
        if place is not None:
            self.backward.append((node.op.name, place, 0.0))
            self.backward_bytes[place] = self._kept + _bytes([g, *cotangents.values(), *arrived.values()])
            self._kept -= self._nodes[self._by_node[node]].saved_bytes


def _flops(op: Any, arrays: Any, out: Any, node: Any) -> tuple[int, int] | tuple[None, None]:
    """Return the floating-point operations of a product, forward and backward."""
    if op.flops is None:
        return None, None
    forward = int(op.flops(out, *arrays))
    wanted = () if node is None else node.parents[:2]
    return forward, forward * sum(parent is not None for parent in wanted)


def _bytes(values: Sequence[Any]) -> int:
    """Count the memory of arrays, in lists or not; what several views show counts once."""
    found: dict[int, int] = {}
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        if isinstance(value, (list, tuple)):
            waiting.extend(value)
        elif isinstance(value, np.ndarray):
            owner = value if value.base is None else value.base
            found[id(owner)] = getattr(owner, "nbytes", value.nbytes)
    return sum(found.values())


def _require_same(one: Sequence[Event], other: Sequence[Event]) -> None:
    """Raise if two runs did different operations, so that their times cannot be matched."""
    names, others = ([event[:2] for event in events] for events in (one, other))
    if names != others:
        at = next((i for i, (a, b) in enumerate(zip(names, others, strict=False)) if a != b), None)
        what = (
            f"one had {count_text(len(names), 'operation')} and another {len(others)}"
            if at is None
            else f"number {at + 1} was '{names[at][0]}' in one and '{others[at][0]}' in another"
        )
        raise RuntimeError(
            f"two runs of the model did different operations ({what}), so that their times cannot be "
            "compared; profile a part that does the same each time"
        )


def _with_costs(recorded: _Accounts, runs: Sequence[_Stopwatch]) -> Graph:
    """Return the recorded graph with the median times of the runs."""
    forward = _medians([run.forward for run in runs])
    backward = _medians([run.backward for run in runs])
    graph = recorded.graph()
    places = iter(range(len(forward)))  # operations stand in the graph in the order in which they ran

    def measured(node: Node) -> Node:
        if node.kind != OPERATION:
            return node
        place = next(places)
        forward_flops, backward_flops = recorded.flops[place]
        return replace(
            node,
            forward_flops=forward_flops,
            backward_flops=backward_flops if backward.get(place) is not None else None,
            forward_seconds=forward[place],
            backward_seconds=backward.get(place),
            forward_bytes=recorded.forward_bytes[place],
            backward_bytes=recorded.backward_bytes.get(place),
        )

    return replace(graph, nodes=tuple(map(measured, graph.nodes)))


def _medians(runs: Sequence[Sequence[Event]]) -> dict[int, float]:
    """Return the median of the seconds of each operation, by its place in the forward pass."""
    return {events[0][1]: median(event[2] for event in events) for events in zip(*runs, strict=True)}
