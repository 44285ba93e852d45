"""The usual call: one that is like the last, in one function.

Python takes a third of a microsecond to call a function, and a call that goes through `Keys`, `Replay.misfit`
and `Replay.run` calls some forty. A small step computes for less than two microseconds. So after a replay the
next call is tried by one function that does what they do, for the case that nothing is other than it was. If
something is, it has changed nothing, and the call goes the long way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np

from tinygrad_mnist.compiler.addresses import address_of
from tinygrad_mnist.compiler.guards import Guards, Watch
from tinygrad_mnist.compiler.inputs import VALUES, NotNow
from tinygrad_mnist.compiler.keys import are_apart, errors_in_numpy, rows_of
from tinygrad_mnist.compiler.replay import Replay
from tinygrad_mnist.engine.shards import _current as _current_shard
from tinygrad_mnist.engine.structure import arrays_version
from tinygrad_mnist.engine.tape import mark_written, recording
from tinygrad_mnist.engine.tensor import Tensor, _lift
from tinygrad_mnist.nn.module import _evaluating

MISS: Final = object()
"""What is returned for a call that has to go the long way."""

_NUMBERS: Final = frozenset({int, float})

_C_ALIGNED: Final = 0x101
_OWNS_ITS_MEMORY: Final = 0x4
"""Bits of ``array.flags.num``."""

Look = tuple[Any, tuple[int, ...] | None, Any]
"""The type, shape and dtype of an argument; of a number None, and its value."""


def looks_of(args: Sequence[Any]) -> list[Look] | None:
    """Return what arguments look like: numbers, or arrays in C order and apart in memory, or Tensors of such.

    None if one of them is something else, requires a gradient, or is 0, which has two signs.
    """
    given, args = args, [arg for arg in args if type(arg) not in _NUMBERS or arg == 0]
    arrays = [arg._array if type(arg) is Tensor and arg.origin is None else arg for arg in args]
    if not all(type(array) is np.ndarray and array.flags.num & _C_ALIGNED == _C_ALIGNED for array in arrays):
        return None
    if not are_apart(arrays):
        return None
    left = iter(arrays)
    return [
        (kind, None, arg)
        if (kind := type(arg)) in _NUMBERS
        else (kind, (array := next(left)).shape, array.dtype)
        for arg in given
    ]


def usual_call(
    args: Sequence[Any], guards: Guards | None, replay: Replay
) -> Callable[[tuple[Any, ...]], Any] | None:
    """Return a function for calls that are like one that was replayed; None if there is none for such.

    Parameters
    ----------
    args : sequence
        The arguments of the call, none of which was given by name.
    guards : Guards
        What its key says of what the function reads.
    replay : Replay
        What ran.

    Returns
    -------
    callable
        It is given the arguments as a tuple, and returns what the call returns, or `MISS`. It raises `NotNow`
        where the replay would.
    """
    looks = looks_of(args)
    if looks is None or guards is None or guards.watch is None or errors_in_numpy is None:
        return None
    if not replay.is_simple:
        return None
    fit, run = _fitting(looks, guards.watch, replay), _running(replay)

    def call(args: tuple[Any, ...]) -> Any:
        arrays = fit(args)
        return MISS if arrays is None else run(args, arrays)

    return call


def _fitting(
    looks: list[Look], watch: Watch, replay: Replay
) -> Callable[[tuple[Any, ...]], list[Any] | None]:
    """Return what looks whether a call is like the last. It returns the arrays of the arguments, or None."""
    # The names of a closure are found quicker than attributes.
    arrays_of, captured, presence = _looking(looks, replay), replay.captured, replay.traced.presence
    assert errors_in_numpy is not None
    get_errstate = errors_in_numpy.get
    is_recording, is_evaluating, errstate = recording.get(), _evaluating.get(), get_errstate(None)
    get_shard, shard = _current_shard.get, _current_shard.get()
    rows = rows_of(shard)
    scalars, groups, progress = replay.scalars, replay.scalars.groups, replay.progress
    are_compared = all(any(group.group is known for known in groups) for group in watch.groups)
    is_unchanged = watch.holds_the_same if are_compared else watch.is_unchanged

    def fit(args: tuple[Any, ...]) -> list[Any] | None:
        if recording.get() is not is_recording or _evaluating.get() is not is_evaluating:
            return None
        if (now := get_shard()) is not shard and rows_of(now) != rows:
            return None
        if get_errstate(None) is not errstate or captured.version != arrays_version() or not is_unchanged():
            return None
        # Options that are equal to those of the last call are of the same kinds; others are looked at.
        if list(chain.from_iterable(map(VALUES, groups))) != scalars.options and not watch.is_unchanged():
            return None
        if scalars.misfit() is not None or not captured.is_writeable():
            return None
        for leaf, present in presence:
            if (leaf.grad is not None) is not present:
                return None
        for each in progress:
            if each.notes.count(first := each.notes[0]) != len(each.notes) or first is None:
                return None
        return arrays_of(args)

    return fit


def _looking(looks: list[Look], replay: Replay) -> Callable[[tuple[Any, ...]], list[Any] | None]:
    """Return what returns the arrays of arguments, or None if these look otherwise."""
    count, identities = len(looks), replay.captured.identities
    numbers = sum(kind in _NUMBERS for kind, _, _ in looks)

    def arrays_of(args: tuple[Any, ...]) -> list[Any] | None:
        if len(args) != count:
            return None
        arrays: list[Any] = []
        own = _OWNS_ITS_MEMORY
        for arg, (kind, shape, dtype) in zip(args, looks, strict=True):
            if type(arg) is not kind:
                return None
            if shape is None:  # a number, and its value
                if arg != dtype:
                    return None
                arrays.append(None)
                continue
            if kind is Tensor:
                if arg.origin is not None or id(arg) in identities:
                    return None
                arg = arg._array
            flags = arg.flags.num
            if arg.shape != shape or arg.dtype is not dtype or flags & _C_ALIGNED != _C_ALIGNED:
                return None
            own &= flags
            arrays.append(arg)
        if numbers:
            real = [array for array in arrays if array is not None]
            return arrays if len(set(map(id, real))) == len(real) and (own or are_apart(real)) else None
        # Two arrays that own their memory have none in common, unless they are the same.
        if count > 1 and (len(set(map(id, arrays))) < count if own else not are_apart(arrays)):
            return None
        return arrays

    return arrays_of


def _running(replay: Replay) -> Callable[[tuple[Any, ...], list[Any]], Any]:
    """Return what runs the program of a replay, as `Replay.run` does, on arrays that fit."""
    executable, gradients, scalars = replay.executable, replay.gradients, replay.scalars
    table, inputs, overlaps, run = executable.table, executable.arrays, executable.overlaps, executable.run
    plain = [(number, executable.entries[number], position) for number, position in replay.plain]
    others, generators, passing = replay.others, replay.generators, replay.passing
    progress, written, result_of = replay.progress, replay.traced.written, replay.result_of
    single = replay.results[0][1] if replay.is_single else None

    def run_on(args: tuple[Any, ...], arrays: list[Any]) -> Any:
        before = [generator.bit_generator.state for generator in generators] if generators else ()
        table[-1] = 0
        try:
            for number, entry, position in plain:
                inputs[number] = array = arrays[position]
                table[entry] = address = address_of(array)
                if address <= overlaps.last and address + array.nbytes > overlaps.first:
                    overlaps.place(number, address)
            for number, slot in others:
                executable.take(number, slot.fetch(args))
            outcome = run(scalars.values(), gradients.memory())
            if outcome is None:
                raise NotNow("a condition does not hold, or a gradient has NaN")
            outputs, numbers = outcome
            mark_written(written)
            gradients.put(args, outputs)
            for each in progress:
                each.notes[:] = [each.make(numbers)] * len(each.notes)
            return result_of(outputs, numbers) if single is None else _lift(outputs[single], None)
        except BaseException as error:
            replay.recover(args, before, error)
            raise
        finally:
            executable.release(passing)

    return run_on
