"""The inputs of a model, from an example: their names, and batches of several sizes made of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.engine.other_libraries import is_foreign
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.engine.tree import flatten, unflatten
from tinygrad_mnist.exchange.onnx.errors import ExportError
from tinygrad_mnist.nn import Module

__all__ = ["Arguments", "named_outputs"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Arguments:
    """The arguments of a call, of which the arrays are inputs of the file and all else stays as it is.

    Parameters
    ----------
    leaves : list
        All leaves of ``(args, kwargs)``.
    structure : object
        What they were flattened from.
    places : tuple of int
        The leaves that are arrays.
    names : tuple of str
        The name of each array.
    batched : tuple of bool
        Whether the first axis of each array is the batch.
    """

    leaves: list[Any]
    structure: Any
    places: tuple[int, ...]
    names: tuple[str, ...]
    batched: tuple[bool, ...]

    @classmethod
    def of(
        cls,
        model: Callable[..., Any],
        example: Any,
        names: Sequence[str] | None,
        dynamic: bool | Iterable[str],
    ) -> Arguments:
        """Take an example apart.

        Raises
        ------
        ExportError
            If it holds no array, the names are not as many as the arrays, or the arrays have not one batch.
        """
        example = _arrays_in(example)
        args, kwargs = (example, {}) if type(example) is tuple else ((example,), {})
        if isinstance(example, dict):
            args, kwargs = (), example
        own = [*_argument_names(model, len(args)), *kwargs]
        found = [
            pair
            for name, tree in zip(own, (*args, *kwargs.values()), strict=True)
            for pair in _named_leaves(tree, name)
        ]
        leaves, structure = flatten((args, kwargs))
        places = tuple(i for i, leaf in enumerate(leaves) if isinstance(leaf, (Tensor, np.ndarray)))
        if not places:
            kinds = " and ".join(sorted({type(leaf).__name__ for leaf in leaves})) or "nothing"
            raise ExportError(
                f"the example holds no array, but {kinds}; give the arguments of the model as arrays of "
                "their shapes: one, a tuple of them, or a dict of keyword arguments"
            )
        leaves = [_array(leaf) if i in places else leaf for i, leaf in enumerate(leaves)]
        given = tuple(found[i][0] for i in places) if names is None else tuple(names)
        if len(given) != len(places) or len(set(given)) != len(given):
            raise ExportError(
                f"input_names={list(given)} was given for {len(places)} inputs; expected a name of its own "
                "for each"
            )
        arrays = [leaves[i] for i in places]
        return cls(leaves, structure, places, given, _batched(arrays, given, dynamic))

    @property
    def arrays(self) -> list[Array]:
        """The arrays of the example."""
        return [self.leaves[i] for i in self.places]

    @property
    def is_dynamic(self) -> bool:
        """True if any input has a batch."""
        return any(self.batched)

    @property
    def size(self) -> int:
        """The size of the batch of the example; 1 where there is none."""
        return self.length(self.arrays) or 1

    def length(self, arrays: Sequence[Array]) -> int | None:
        """Return the size of a batch; None where no input has one."""
        return next(
            (len(array) for array, is_batch in zip(arrays, self.batched, strict=True) if is_batch), None
        )

    def batch(self, size: int, other: bool = False) -> list[Array]:
        """Return arrays like those of the example, with a number of rows, and with other values if asked."""
        rng = np.random.default_rng(size)
        return [
            _like(array, size if batched else None, rng if other else None)
            for array, batched in zip(self.arrays, self.batched, strict=True)
        ]

    def opposite(self, arrays: list[Array]) -> list[Array]:
        """Return arrays with the signs of floats changed."""
        return [-array if array.dtype.kind == "f" else array for array in arrays]

    def shuffled(self, arrays: list[Array]) -> list[Array]:
        """Return arrays with their floats in the reverse order and smaller: other ones are chosen by rank.

        They are moved on by one, too, so that the middle one is elsewhere as well.
        """
        rng = np.random.default_rng(1)
        return [
            np.asarray(
                np.roll(array.reshape(-1)[::-1], 1).reshape(array.shape) * rng.uniform(0.3, 1.0, array.shape),
                array.dtype,
            )
            if array.dtype.kind == "f"
            else array
            for array in arrays
        ]

    def renumbered(self, arrays: list[Array]) -> list[list[Array]]:
        """Return arrays with other integers and truth values, in two ways, if there are any.

        They may be indices, each column into a table of its own: so rows change places, and then all become
        0, or 1 where they were 0. All truth values change.
        """
        if not any(array.dtype.kind in "iub" and array.size for array in arrays):
            return []
        return [[_renumbered(array, step) for array in arrays] for step in (1, 0)]

    def call(self, model: Callable[..., Any], arrays: Iterable[Any]) -> Any:
        """Call the model with other arrays in the place of those of the example."""
        leaves = list(self.leaves)
        for place, array in zip(self.places, arrays, strict=True):
            leaves[place] = array
        args, kwargs = unflatten(self.structure, leaves)
        return model(*args, **kwargs)


def _renumbered(array: Array, step: int) -> Array:
    """Return integers and truth values with their rows moved on by a step; of 0, others: most often 0."""
    if array.dtype.kind not in "iub" or not array.size:
        return array
    if step:
        return np.roll(array, step, axis=0 if array.ndim else None)
    if array.dtype.kind == "b":
        return ~array
    return np.zeros_like(array) if array.any() else np.ones_like(array)


def _taken(array: Any) -> Tensor:
    """Return an array of another library as a Tensor."""
    try:
        return Tensor(array)
    except Exception as error:  # each library has its own
        raise ExportError(f"the example holds a {type(array).__name__} that is not taken: {error}") from error


def _arrays_in(example: Any) -> Any:
    """Return an example with what a Tensor takes for an array as one.

    An array of another library is one wherever it stands. Numbers and lists of numbers are one if they are
    the whole example; among other arguments they are options, which stay as they are.
    """
    leaves, structure = flatten(example)
    leaves = [_taken(leaf) if is_foreign(leaf) else leaf for leaf in leaves]
    has_arguments = isinstance(example, dict) or type(example) is tuple
    if has_arguments or any(isinstance(leaf, (Tensor, np.ndarray)) for leaf in leaves):
        return unflatten(structure, leaves)
    try:
        return Tensor(example)
    except (TypeError, ValueError):
        return example


def named_outputs(returned: Any) -> list[tuple[str, Array]]:
    """Return the arrays that a model returned, each with a name.

    Raises
    ------
    ExportError
        If it returned none, or something else.

    Examples
    --------
    >>> [name for name, _ in named_outputs((np.ones(2), np.ones(3)))]
    ['output_0', 'output_1']
    """
    leaves = _named_leaves(returned, "")
    outputs = []
    for name, leaf in leaves:
        array = leaf._array if isinstance(leaf, Tensor) else np.asarray(leaf)
        if array.dtype.kind not in "fiub":
            raise ExportError(
                f"the model returns a {type(leaf).__name__}; expected Tensors, in tuples or dicts if several"
            )
        if not (isinstance(returned, dict) or hasattr(returned, "_asdict")):
            name = f"output_{name}" if name else "output"
        outputs.append((name, array))
    if not outputs:
        raise ExportError("the model returns nothing; expected a Tensor, or a tuple or dict of them")
    return outputs


def _named_leaves(tree: Any, name: str) -> list[tuple[str, Any]]:
    """Return the leaves of a tree in the order of `flatten`, each with a name: ``state.0``, ``mask``.

    Examples
    --------
    >>> _named_leaves({"a": 1.0, "b": (2.0, 3.0)}, "")
    [('a', 1.0), ('b.0', 2.0), ('b.1', 3.0)]
    """
    tree = tree._asdict() if hasattr(tree, "_asdict") else tree  # a named tuple
    if isinstance(tree, dict):
        parts = list(tree.items())
    elif isinstance(tree, (list, tuple)):
        parts = list(enumerate(tree))
    else:
        return [] if tree is None else [(name, tree)]
    return [
        pair for key, part in parts for pair in _named_leaves(part, f"{name}.{key}" if name else str(key))
    ]


def _argument_names(model: Callable[..., Any], count: int) -> list[str]:
    """Return the names of the positional arguments of a model, as its ``forward`` has them."""
    function = model.forward if isinstance(model, Module) else model
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        parameters = {}.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [each.name for each in parameters if each.kind in kinds][:count]
    return names + [f"input_{i}" for i in range(len(names), count)]


def _array(value: Tensor | Array) -> Array:
    array = value.detach().data if isinstance(value, Tensor) else value
    if type(array) is not np.ndarray or array.dtype.kind not in "fiub":
        raise ExportError(
            f"the example holds a {type(array).__name__} of dtype {array.dtype}; expected arrays of real "
            "numbers or booleans"
        )
    return array


def _batched(
    arrays: Sequence[Array], names: Sequence[str], dynamic: bool | Iterable[str]
) -> tuple[bool, ...]:
    """Return which inputs have the batch as their first axis."""
    if isinstance(dynamic, bool):
        chosen = tuple(dynamic and array.ndim > 0 for array in arrays)
    else:
        wanted = {dynamic} if isinstance(dynamic, str) else set(dynamic)
        if wanted - set(names):
            raise ExportError(f"dynamic={sorted(wanted)} was given; the inputs are {list(names)}")
        chosen = tuple(name in wanted for name in names)
    lengths = {name: array.shape[:1] for name, array, yes in zip(names, arrays, chosen, strict=True) if yes}
    if len(set(lengths.values())) > 1 or any(n in ((), (0,)) for n in lengths.values()):
        text = ", ".join(f"{name} {length[0] if length else 'none'}" for name, length in lengths.items())
        raise ExportError(
            f"the inputs of the example have these lengths along the first axis: {text}; expected one batch, "
            "of one example or more; name the inputs that have it (dynamic=[...]), or fix all shapes with "
            "dynamic=False"
        )
    return chosen


def _like(array: Array, size: int | None, rng: np.random.Generator | None) -> Array:
    """Return an array with ``size`` rows that are rows of another.

    With ``rng`` the values are others, as what a model takes for a constant has to differ. Integers may be
    indices, each column into a table of its own, so only the order of the rows changes. Floats become a
    little smaller, and stay in their range; if all are equal, they say nothing of it, and others are drawn.
    """
    rows = None if size is None else np.arange(size) % len(array)
    if rng is not None and rows is not None:
        rng.shuffle(rows)
    made = np.array(array if rows is None else array[rows], order="C")
    if rng is None or made.dtype.kind != "f" or not made.size:
        return made
    if np.all(made == made.flat[0]):
        return rng.random(made.shape).astype(made.dtype)
    return np.asarray(made * rng.uniform(0.8, 1.0, made.shape), made.dtype)
