"""The effects of a replay: the gradients and the notes of optimisers that a call leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter, call, itemgetter
from sys import getrefcount
from typing import Any, Final

from tinygrad_mnist.compiler.executable import Executable, Results
from tinygrad_mnist.compiler.inputs import NotNow
from tinygrad_mnist.compiler.traced import Result, Traced
from tinygrad_mnist.engine.tensor import _wrapped

_ORIGIN: Final = attrgetter("origin")


class Progress:
    """The notes of an optimiser for parameters that it has updated equally often."""

    def __init__(self, flat: Any, positions: Sequence[int], tree: Any) -> None:
        self.notes, self._positions = flat.progress, positions
        self.is_whole = list(positions) == list(range(len(flat.progress)))
        self.is_noted = tree is not None
        self.make = _maker(tree)

    def misfit(self) -> str | None:
        """Return why the parameters can no longer be updated together, or None."""
        noted = self.notes if self.is_whole else [self.notes[position] for position in self._positions]
        first = noted[0]
        if not self.is_noted or (first is not None and noted.count(first) == len(noted)):
            return None
        if None in noted:
            raise NotNow("an optimiser takes its first step for a parameter")
        return "parameters that an optimiser has updated equally often no longer are"

    def note(self, numbers: Sequence[float]) -> None:
        """Note the same for each parameter, with numbers that the program computed."""
        noted = self.make(numbers)
        if self.is_whole:
            self.notes[:] = [noted] * len(self.notes)
        else:
            for position in self._positions:
                self.notes[position] = noted


def _maker(tree: Any) -> Callable[[Sequence[float]], Any]:
    """Return what makes a note of the program's numbers."""
    if isinstance(tree, Result):
        kind, position = tree.object, tree.position
        return lambda numbers: kind(numbers[position])
    if not isinstance(tree, tuple):
        return lambda numbers: tree
    cls = type(tree)
    if len(tree) > 1 and all(
        isinstance(part, Result) for part in tree
    ):  # as Adam's, without a call of Python
        kinds = [part.object for part in tree]
        values = itemgetter(*(part.position for part in tree))
        return lambda numbers: tuple.__new__(cls, map(call, kinds, values(numbers)))
    makers = list(map(_maker, tree))
    return lambda numbers: tuple.__new__(cls, [make(numbers) for make in makers])


class Gradients:
    """The gradients that each call leaves, in memory that is used again once nobody else holds it.

    Two sets of arrays take turns: what a call leaves stays as it is while the next one may still fail.
    """

    def __init__(self, traced: Traced, executable: Executable) -> None:
        self._executable = executable
        self._removed = [place for place, position in traced.gradients if position is None]
        self._places = [place for place, position in traced.gradients if position is not None]
        self._positions = [position for _, position in traced.gradients if position is not None]
        self.of_arguments = any(isinstance(place, int) for place in (*self._removed, *self._places))
        self._sets: list[_Set | None] = [None, None]
        self._turn = 0

    def memory(self) -> Results | None:
        """Return arrays for the gradients that a call computes."""
        if not self._positions:
            return None
        free = self._sets[self._turn]
        if free is None or not free.is_free():
            free = self._sets[self._turn] = _Set(self._executable, self._positions)
        return free.results

    def put(self, leaves: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Leave the gradients of a call with their leaves."""
        places, removed = self._places, self._removed
        if self.of_arguments:
            places, removed = (
                [leaves[place].origin if isinstance(place, int) else place for place in some]
                for some in (places, removed)
            )
        for leaf in removed:
            leaf.grad = None
        if not places:
            return
        turn, first = self._turn, self._positions[0]
        made = self._sets[turn]
        if made is None or outputs[first] is not made.results.arrays[first]:  # it was done, and is done again
            turn = 1 - turn
            made = self._sets[turn]
            assert made
        for leaf, tensor in zip(places, made.tensors, strict=True):
            leaf.grad = tensor
        self._turn = 1 - turn


class _Set:
    """One set of gradients: arrays that a program fills, and the Tensors of these."""

    def __init__(self, executable: Executable, positions: Sequence[int]) -> None:
        arrays: list[Any] = [None] * len(executable.program.outputs)
        for position in positions:
            arrays[position] = executable.new(position)
        self.results = Results(arrays)
        self.tensors = [_wrapped(arrays[position]) for position in positions]
        del arrays
        # Of a view the base is held, too: a view that somebody makes of it holds that alone.
        made = [tensor._array for tensor in self.tensors]
        self.held = [*self.tensors, *made, *(array.base for array in made if array.base is not None)]
        del made
        self.counts = list(map(getrefcount, self.held))

    def is_free(self) -> bool:
        """Return whether nobody else holds one of the arrays, or has made a Tensor require a gradient."""
        # Of a set that nobody else holds, the counts of references are those that it began with.
        return list(map(getrefcount, self.held)) == self.counts and not any(map(_ORIGIN, self.tensors))
