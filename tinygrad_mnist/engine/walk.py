"""The walk back over the tape, which makes gradients.

:func:`walk` visits nodes from the newest to the oldest by the time they were made: no recursion, however deep
the computation. Un-broadcasting, dtypes, 0-d results, stale and freed tapes and elements that were not chosen
are dealt with here, once, so that no gradient rule needs to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

import numpy as np

from tinygrad_mnist.engine import tape
from tinygrad_mnist.engine.dtypes import has_nan
from tinygrad_mnist.engine.errors import check_not_stale, describe, raise_freed
from tinygrad_mnist.engine.observe import Muted, Recorder, observed_by, recorder, run_hooks
from tinygrad_mnist.engine.op import Op
from tinygrad_mnist.engine.reach import (
    NOWHERE,
    Reach,
    argument_reach,
    broadcast_axes,
    broadcast_reach,
    cleaned,
    joined,
    kept,
    narrowed,
    reach_of_seed,
)
from tinygrad_mnist.engine.shards import agreed, made
from tinygrad_mnist.engine.shards import current as current_shard
from tinygrad_mnist.engine.tape import Leaf, Lift, Node, boundary, one_of, recording

_UNHEARD = nullcontext()


def walk(
    outputs: Sequence[tuple[Node, Any]],
    lift: Lift,
    *,
    targets: Sequence[Node | Leaf] | None = None,
    record: bool = False,
    retain: bool = False,
) -> dict[Any, Any]:
    """Walk the tape back from its outputs and return the cotangents that arrive.

    Take the newest node that a cotangent has come to: nothing that is still to be visited can add to it. If
    it is a target, stop there. Otherwise let its rules make a part of the cotangent for each argument, and
    deliver each part to where that argument came from, an older node or a leaf. Go on until none is left.

    The first pass multiplies as IEEE arithmetic does. Where the cotangent of an element that was not chosen,
    an exact 0, meets an infinite slope, the product is NaN. If NaN arrives, the tape is walked a second time,
    with care for what was not chosen (see `engine.reach`). A walk that is recorded, for derivatives of higher
    orders, is careful from the start.

    Parameters
    ----------
    outputs : sequence of (Node, cotangent)
        Where to start. Cotangents are arrays, or Tensors with ``record``. Exact zeros in them are left out of
        the derivative, as elements that were not chosen are.
    lift : callable
        Makes Tensors of what is on the tape.
    targets : sequence of Node or Leaf, optional
        Stop at these and return their cotangents; by default go on to every leaf and return theirs.
    record : bool
        Run the rules on Tensors, so that they are recorded (a gradient of a gradient). Keeps the tape.
    retain : bool
        Keep the tape, so that it can be walked again.

    Returns
    -------
    dict
        Cotangent by Leaf, or by target; those that nothing reaches are absent. An array that is returned
        for a leaf is held by nobody else.

    Raises
    ------
    RuntimeError
        If the tape was freed by an earlier walk, or a parameter was written to after it was recorded.
    """
    watching = recorder.get()
    if watching is not None and watching.tracer is not None:
        traced: dict[Any, Any] = watching.tracer.walk(
            outputs, lift, targets=targets, record=record, retain=retain
        )
        return traced
    hooks = _HookResults()
    told = watching is not None  # a recorder is told of the last pass only, so there has to be a second one
    careful, exchanges = record, made.count
    try:
        if not record:
            first = Pass(lift, record=False, careful=False, hooks=hooks)
            # What divides by 0 off the chosen path is no news, and what does on it shows in the result.
            quiet = np.errstate(divide="ignore", invalid="ignore")
            with quiet, _UNHEARD if watching is None else observed_by(None):
                arrived, _, visited = first.over(outputs, targets)
            careful = first.met_nan or any(
                has_nan(g) for place, g in arrived.items() if place in first.to_check
            )
    except _Doubt:
        careful = True
    if made.count != exchanges:
        careful, told = agreed(exchanges, careful, told)
    if careful or told:
        hooks.repeat()
        last = Pass(lift, record=record, careful=careful, hooks=hooks)
        with np.errstate(all="ignore") if careful else _UNHEARD:
            arrived, _, visited = last.over(outputs, targets)
    if not (retain or record):
        for node in visited:
            node.free()
    if targets is None:
        with _UNHEARD if watching is None else observed_by(Muted(watching)):
            _run_leaf_hooks(arrived)
    return arrived


class _Doubt(Exception):
    """Raised before a hook would see a NaN that may come from what was not chosen."""


def _any_process_has_nan(g: Any) -> bool:
    """Return whether NaN is in a cotangent, or in that of another process: all stop their first pass then."""
    shard = current_shard()
    return has_nan(g) if shard is None else shard.any(has_nan(g))


class _HookResults:
    """The results of hooks in a first pass: a second pass takes these, and runs none of them again.

    They are kept by node. A checkpoint makes new nodes each time it runs: there they are kept by the node of
    the checkpoint and their order.
    """

    def __init__(self) -> None:
        self.results: dict[Any, Any] = {}  # None where a hook left the gradient as it was
        self.repeating = False
        self.checkpoint: Any = None  # the key of the checkpoint whose tape is walked
        self.count = 0  # of the keys that were made on that tape

    def repeat(self) -> None:
        """Begin the second pass."""
        self.repeating = True

    def _key(self, node: Node) -> Any:
        """Return what a node has in common with the one in its place in the other pass."""
        if self.checkpoint is None:
            return node
        self.count += 1
        return self.checkpoint, self.count

    def run(self, node: Node, g: Any, in_doubt: bool) -> Any:
        """Return ``g`` after the hooks of a node; ``g`` itself if they left it as it was."""
        key = self._key(node)
        if self.repeating and key in self.results:
            result = self.results[key]
            return g if result is None else result
        if in_doubt and _any_process_has_nan(g):
            raise _Doubt
        result = run_hooks(node, g)
        if in_doubt:
            self.results[key] = None if result is g else result
        return result

    def inside(self, node: Node, walk_tape: Callable[[], Any]) -> Any:
        """Return what a walk over the tape of a checkpoint returns."""
        key = self._key(node)
        before = self.checkpoint, self.count
        self.checkpoint, self.count = key, 0
        try:
            return walk_tape()
        finally:
            self.checkpoint, self.count = before


@dataclass(slots=True)
class Pass:
    """One pass over a tape, and over the tapes of the checkpoints and fused formulae on it.

    Attributes
    ----------
    lift : callable
        Makes Tensors of what is on the tape.
    record : bool
        Whether the rules run on Tensors and are recorded.
    careful : bool
        Whether reach is carried beside cotangents, so that nothing comes from what was not chosen.
    hooks : _HookResults
        What hooks returned in an earlier pass.
    met_nan : bool
        Whether a fused operation said that its cotangents may hold NaN; only in a pass that is not careful.
    to_check : set of Node and Leaf
        Where something else arrived, which is still to be checked for NaN.
    """

    lift: Lift
    record: bool
    careful: bool
    hooks: _HookResults = field(default_factory=_HookResults)
    met_nan: bool = False
    to_check: set[Any] = field(default_factory=set)

    def over(
        self,
        outputs: Sequence[tuple[Node, Any]],
        targets: Sequence[Node | Leaf] | None,
        reaches: Sequence[Reach] | None = None,
    ) -> Arrived:
        """Walk back from ``outputs`` to ``targets``, as `walk` does.

        ``reaches`` are those of the cotangents of the outputs; when absent, a user gave these, and their
        zeros are no part of them.
        """
        watching = recorder.get()
        if watching is None:
            return self._over(outputs, targets, reaches, None)
        watching.began()
        with observed_by(Muted(watching)):  # a rule is known by what it returns, not by what it does inside
            return self._over(outputs, targets, reaches, watching)

    def _over(
        self,
        outputs: Sequence[tuple[Node, Any]],
        targets: Sequence[Node | Leaf] | None,
        reaches: Sequence[Reach] | None,
        watching: Recorder | None,
    ) -> Arrived:
        # This function is longer than others, as the steps that every node takes are written out: each call
        # here would cost a small operation some 4 % of its backward pass.
        careful, last_write = self.careful, tape.last_write()
        pending: dict[Any, Any] = {}  # cotangents of nodes that are still to be visited
        heap: list[tuple[int, Any]] = []  # these nodes, the newest first
        arrived: dict[Any, Any] = {}  # cotangents of targets, or of leaves
        reached: dict[Any, Reach] = {}  # by Node and Leaf, the reach of its cotangent; only in a careful pass
        visited: list[Node] = []
        hooked = self.hooks.results if self.hooks.repeating else ()  # also where hooks removed themselves
        for position, (node, g) in enumerate(outputs):
            _send(node, g, pending, heap)
            if careful:
                reach = reach_of_seed(g) if reaches is None else broadcast_reach(reaches[position], g.shape)
                _send_reach(node, reach, reached)
        stops = frozenset(targets or ())
        # A parent is older than its child, so a node older than every target leads to none of them.
        oldest = min([node.time for node in stops if type(node) is Node], default=0)

        while heap:
            node = heappop(heap)[1]
            g = pending.pop(node)
            if node.hooks or node in hooked:
                before = g
                g = self.hooks.run(node, g, not self.record)
                if careful and g is not before:  # a hook may fill what was out of reach
                    reached[node] = joined(reached[node], getattr(g, "_array", g) != 0)
            if node in stops:
                arrived[node] = g
                self.to_check.add(node)
                continue
            if node.time < oldest:
                continue
            if node.arrays is None:
                raise_freed(node.op.name)
            if node.time < last_write:  # seldom: only then is it worth asking which leaf was written to
                check_not_stale(node)
            visited.append(node)
            if node.op is one_of:
                _gather(node, g, pending, heap)
                if careful:
                    _gather_reach(node, reached)
                continue
            if type(node.out) is tuple:
                g = _with_zeros(g, node.out)
            for parent, part in self._careful_parts(node, g, reached) if careful else self._parts(node, g):
                if type(parent) is not Leaf:
                    if parent in pending:  # as `_send` does
                        pending[parent] = pending[parent] + part
                    else:
                        pending[parent] = part
                        heappush(heap, (-parent.time, parent))
                elif targets is None or parent in stops:
                    arrived[parent] = self._arriving(arrived.get(parent), part, g, node)
                    if node.op.may_hold_nan is None:
                        self.to_check.add(parent)
            if watching is not None:
                watching.walked(node, g, pending, arrived)
        return arrived, reached, visited

    def _parts(self, node: Node, g: Any) -> list[tuple[Any, Any]]:
        """Return the parents of a node that a gradient goes to, each with its part of the cotangent ``g``.

        The parts are arrays, and have the shapes and dtypes of the arguments.
        """
        op, out, static = node.op, node.out, node.static
        arrays: Any = node.arrays
        joint, parts = None, []
        try:
            if op.joint is not None:
                joint = _joint_parts(node, g)
                if op.may_hold_nan is not None and not self.met_nan:
                    self.met_nan = op.may_hold_nan(out, joint)
            elif op.nested is not None:
                joint = self._over_own_tape(node, g, None, out, arrays)[0]
            for position, parent in enumerate(node.parents):
                if parent is None:
                    continue
                if joint is not None:
                    part = joint[position]
                elif (rule := op.rules[position]) is None:
                    continue
                elif op.singular:
                    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                        part = rule(g, out, *arrays, **static)
                elif static:
                    part = rule(g, out, *arrays, **static)
                else:
                    part = rule(g, out, *arrays)  # an empty dict costs a tenth of a call
                if part is None:
                    continue
                array = arrays[position]
                if part.shape != array.shape or part.dtype is not array.dtype:
                    part = _fit(op, part, array)
                if type(part) is not np.ndarray:
                    part = np.asarray(part)  # NumPy makes scalars of 0-d results
                parts.append((parent, part))
        except Exception as error:
            error.add_note(f"in the gradient of '{op.name}' of {describe(arrays)}")
            raise
        return parts

    def _careful_parts(self, node: Node, g: Any, reached: dict[Any, Reach]) -> list[tuple[Any, Any]]:
        """Return what `_parts` does, with nothing in it from what was not chosen.

        The parts are arrays, or Tensors in a recorded pass. Their reach is added to that of the parents.
        """
        op, reach = node.op, reached[node]
        arrays: Any = node.arrays
        try:
            if op.joint is not None or op.nested is not None:
                parts, reaches = self._nested_parts(node, g, reach)
            else:
                parts, reaches = self._ruled_parts(node, g, reach)
            found = []
            for parent, part, part_reach, array in zip(node.parents, parts, reaches, arrays, strict=True):
                if parent is None or part is None:
                    continue
                if part.shape != array.shape or part.dtype is not array.dtype:
                    part = _fit(op, part, array)
                if not self.record and type(part) is not np.ndarray:
                    part = np.asarray(part)
                found.append((parent, part))
                _send_reach(parent, narrowed(part_reach, array.shape), reached)
        except Exception as error:
            error.add_note(f"in the gradient of '{op.name}' of {describe(arrays)}")
            raise
        return found

    def _ruled_parts(self, node: Node, g: Any, reach: Reach) -> tuple[list[Any], list[Reach]]:
        """Return the cotangents of all arguments by their rules, and how far they reach."""
        op, out, static = node.op, node.out, node.static
        arrays: Any = node.arrays
        arguments, result = lifted(node, self.lift) if self.record else (arrays, out)
        if op.kind == "multilinear":
            arguments = cleaned(op, reach, out, arguments, arrays, static)
        parts, reaches = [], []
        for position, parent in enumerate(node.parents):
            rule = None if parent is None else op.rules[position]
            part = None if rule is None else rule(g, result, *arguments, **static)
            part_reach = None if part is None else argument_reach(op, position, reach, out, arrays, static)
            # A linear operation multiplies by nothing: what was 0 out of reach still is.
            parts.append(part if op.kind == "linear" or part is None else kept(part, part_reach))
            reaches.append(part_reach)
        return parts, reaches

    def _over_own_tape(
        self, node: Node, g: Any, reach: Reach, out: Any, arguments: Sequence[Any]
    ) -> tuple[Sequence[Any], Sequence[Reach]]:
        """Return the cotangents of a checkpoint's arguments, and how far they reach."""
        nested = node.op.nested
        assert nested is not None
        found: tuple[Sequence[Any], Sequence[Reach]] = self.hooks.inside(
            node, lambda: nested(self.over, g, reach, out, *arguments, **node.static)
        )
        return found

    def _nested_parts(self, node: Node, g: Any, reach: Reach) -> tuple[Sequence[Any], Sequence[Reach]]:
        """Return the cotangents of all arguments by a walk over the operation's own tape, and their reach.

        For a fused operation this is the tape of its plain formula: the joint rule works on arrays alone, so
        it cannot be recorded, and it does not know what was chosen, before it or inside. If all of its result
        is reached, only the reach is asked of the formula; but not where processes would have to agree on it.
        """
        op, static = node.op, node.static
        arrays: Any = node.arrays
        if op.nested is not None:
            arguments, out = lifted(node, self.lift) if self.record else (arrays, node.out)
            return self._over_own_tape(node, g, reach, out, arguments)
        assert op.formula is not None
        boundaries = [
            None if parent is None else boundary(array, parent)
            for array, parent in zip(arrays, node.parents, strict=True)
        ]
        arguments = [
            array if under is None else self.lift(array, under)
            for array, under in zip(arrays, boundaries, strict=True)
        ]
        token = recording.set(True)
        try:
            out = op.formula(*arguments, **static)
        finally:
            recording.reset(token)
        if type(out.origin) is not Node:
            return [None] * len(arrays), [None] * len(arrays)
        targets = [under for under in boundaries if under is not None]
        arrived, reached, _ = self.over([(out.origin, g)], targets, [reach])
        parts, reaches = ([found.get(under) for under in boundaries] for found in (arrived, reached))
        if reach is None and not self.record and not op.exchanges:
            parts = [
                None if part is None else kept(part, broadcast_reach(part_reach, part.shape))
                for part, part_reach in zip(_joint_parts(node, g), reaches, strict=True)
            ]
        return parts, reaches

    def _arriving(self, before: Any, part: Any, g: Any, node: Node) -> Any:
        """Return the cotangent of a leaf after a part came from a node whose own cotangent was ``g``.

        A gradient that somebody keeps must stay what it is, so nobody else may hold the array that arrives.
        What a joint rule returns is its caller's alone. Any other rule may return ``g`` itself, which others
        hold too, or a view of it or of what the tape holds: of these a copy arrives.
        """
        if before is not None:
            return before + part
        if self.record:
            return self.lift(part.data.copy(), part.origin)
        if part is g or (part.base is not None and node.op.joint is None):
            return part.copy()
        return part


Arrived = tuple[dict[Any, Any], dict[Any, Reach], list[Node]]
"""The cotangents that arrived, the reach of each in a careful pass, and the nodes that were visited."""


def _run_leaf_hooks(arrived: dict[Any, Any]) -> None:
    """Replace the cotangents of leaves by what their hooks return; only now is each cotangent complete."""
    for leaf, g in arrived.items():
        if leaf.hooks:
            arrived[leaf] = run_hooks(leaf, g)  # in place, as recorders were given this dict


def _send(node: Node, g: Any, pending: dict[Any, Any], heap: list[tuple[int, Any]]) -> None:
    """Add to the cotangent that is under way to a node."""
    if node in pending:
        pending[node] = pending[node] + g  # not in place: others may hold either array
    else:
        pending[node] = g
        heappush(heap, (-node.time, node))


def _send_reach(place: Node | Leaf, reach: Reach, reached: dict[Any, Reach]) -> None:
    """Add to the reach of the cotangent that is under way to a node or leaf."""
    reached[place] = joined(reached[place], reach) if place in reached else reach


def _gather(node: Node, g: Any, pending: dict[Any, Any], heap: list[tuple[int, Any]]) -> None:
    """Put the cotangent of one of several results into the list of the operation that returned them."""
    whole: Any = node.parents[0]
    index = node.static["index"]
    if whole not in pending:
        # Its results are counted here, as an earlier walk may have freed them there: the visit says so.
        _send(whole, [None] * len((node.arrays or ((),))[0]), pending, heap)
    before = pending[whole][index]
    pending[whole][index] = g if before is None else before + g


def _gather_reach(node: Node, reached: dict[Any, Reach]) -> None:
    """Put the reach of one of several results into the list of the operation that returned them."""
    whole: Any = node.parents[0]
    index = node.static["index"]
    if whole not in reached:
        reached[whole] = [NOWHERE] * len((node.arrays or ((),))[0])
    before = reached[whole][index]
    reached[whole][index] = reached[node] if before is NOWHERE else joined(before, reached[node])


def _with_zeros(parts: Sequence[Any], outs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the cotangents of several results, with zeros for a result that nothing depends on."""
    return tuple(np.zeros_like(out) if part is None else part for part, out in zip(parts, outs, strict=True))


def _joint_parts(node: Node, g: Any) -> Sequence[Any]:
    """Return the cotangents of a fused operation's arguments by its joint rule."""
    assert node.op.joint is not None
    needed = [parent is not None for parent in node.parents]
    parts: Sequence[Any] = node.op.joint(g, needed, node.out, node.saved, *(node.arrays or ()), **node.static)
    return parts


def lifted(node: Node, lift: Lift) -> tuple[tuple[Any, ...], Any]:
    """Return the arguments and the result of a node as Tensors again."""
    arguments = tuple(
        array if parent is None else lift(array, parent)
        for array, parent in zip(node.arrays or (), node.parents, strict=True)
    )
    if type(node.out) is tuple:
        return arguments, tuple(
            lift(one, output) for one, output in zip(node.out, node.outputs(), strict=True)
        )
    return arguments, lift(node.out, node)


def _fit(op: Op, part: Any, array: Any) -> Any:
    """Return a cotangent in the shape and dtype of its argument."""
    if part.shape != array.shape:
        if not op.broadcasts:
            raise ValueError(
                f"the gradient rule of '{op.name}' returned shape {part.shape} for an argument of shape "
                f"{array.shape}; a rule returns the shape of its argument"
            )
        part = unbroadcast(part, array.shape)
    return part if part.dtype == array.dtype else part.astype(array.dtype)


def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum ``g`` down to ``shape``: the transpose of NumPy's broadcasting."""
    if g.dtype == np.float16:  # in which a sum of ones stands still at 2048
        g = g.astype(np.float32)
    return np.reshape(np.sum(g, axis=broadcast_axes(g.shape, shape)), shape)
