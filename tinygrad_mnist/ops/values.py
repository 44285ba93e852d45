"""The arrays of Tensors among arguments: for what looks at values, of which recorders are told, or not."""

from __future__ import annotations

from typing import Any

from tinygrad_mnist.engine.observe import recorder


def values_of(argument: Any) -> Any:
    """Return an argument with the array of each Tensor in its place, for a function that looks at the values.

    A recorder is told that they are read: what is made of them is not on the tape.
    """
    if hasattr(argument, "__apply_op__"):
        watching = recorder.get()
        if watching is not None and watching.tracer is None:  # what traces has symbols, which are not read
            watching.read(argument)
        return argument.data
    if type(argument) in (list, tuple):
        return type(argument)(values_of(part) for part in argument)
    return argument


def arrays_of(argument: Any) -> Any:
    """Return an argument with the array of each Tensor in its place, for what tells recorders by itself.

    So does an operation that takes the array as it is. A dtype, a check and a result that is the same for all
    values need not be told.
    """
    if hasattr(argument, "__apply_op__"):
        return argument.data
    if type(argument) in (list, tuple):
        return type(argument)(arrays_of(part) for part in argument)
    return argument
