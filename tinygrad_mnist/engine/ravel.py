"""A tree of arrays as one flat array, and back: for solvers and formulas that know vectors only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_mnist.engine.dtypes import is_float
from tinygrad_mnist.engine.errors import as_array, check_dtype
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.engine.tree import flatten, unflatten


def ravel_pytree(tree: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Return all arrays of a tree in one flat array, and a function that makes a tree of such an array.

    Both directions can be differentiated, in every mode.

    Parameters
    ----------
    tree : array_like, or a tree of them
        Arrays, Tensors and numbers in nested dicts, lists and (named) tuples.

    Returns
    -------
    flat : ndarray or Tensor, shape (n,)
        The elements in C order, one leaf after the other; a Tensor if a leaf is one. Leaves of several dtypes
        are promoted as NumPy does, where Python's numbers are weak.
    unravel : callable
        It takes an array or a Tensor of shape (n,) and returns a tree of the same structure and shapes, of
        arrays or Tensors. If the leaves had one dtype, those of the result have the dtype of what is given.
        If they had several, it takes only the dtype of ``flat``, and each leaf gets back its own.

    Raises
    ------
    TypeError
        If a leaf holds no real numbers; from ``unravel``, if several dtypes were promoted and another one
        comes back.
    ValueError
        From ``unravel``, if the shape is not (n,), or a number for a leaf of integers is not whole.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import grad
    >>> flat, unravel = ravel_pytree({"weight": np.ones((2, 2)), "bias": np.zeros(2)})
    >>> flat
    array([1., 1., 1., 1., 0., 0.])
    >>> unravel(np.arange(6.0))["bias"]
    array([4., 5.])
    >>> grad(lambda vector: np.sum(unravel(vector)["weight"] ** 2))(flat)
    array([2., 2., 2., 2., 0., 0.])
    """
    leaves, structure = flatten(tree)
    arrays = [
        leaf if isinstance(leaf, Tensor) else check_dtype(as_array(leaf), "ravel_pytree") for leaf in leaves
    ]
    # Python's numbers are weak: a float32 array beside 2.0 stays float32.
    weak = [isinstance(leaf, (bool, int, float)) for leaf in leaves]
    votes = [
        leaf if is_weak else array.dtype for leaf, array, is_weak in zip(leaves, arrays, weak, strict=True)
    ]
    dtype = np.result_type(*votes) if votes else np.dtype(float)
    dtypes = [dtype if is_weak else array.dtype for array, is_weak in zip(arrays, weak, strict=True)]
    shapes = [array.shape for array in arrays]
    ends = np.cumsum([0, *(array.size for array in arrays)]).tolist()
    is_mixed = any(own != dtype for own in dtypes)

    parts = [_of_dtype(array, dtype).reshape(-1) for array in arrays]
    flat = np.concatenate(parts) if parts else np.zeros(0, dtype)
    flat_shape = flat.shape  # `unravel` shall not keep the array itself

    def unravel(vector: Any) -> Any:
        """Return the tree whose leaves have these elements."""
        vector = vector if isinstance(vector, Tensor) else as_array(vector)
        if vector.shape != flat_shape:
            raise ValueError(f"unravel was given shape {vector.shape}; expected {flat_shape}")
        if is_mixed and vector.dtype != dtype:
            names = ", ".join(dict.fromkeys(map(str, dtypes)))
            raise TypeError(
                f"unravel was given dtype {vector.dtype}; expected {dtype}, to which the leaves of {names} "
                "were promoted"
            )
        sections = zip(ends[:-1], ends[1:], shapes, dtypes, strict=True)
        return unflatten(
            structure,
            [
                _of_dtype(vector[first:last].reshape(shape), own if is_mixed else vector.dtype, copy=True)
                for first, last, shape, own in sections
            ],
        )

    return flat, unravel


def _of_dtype(array: Any, dtype: Any, copy: bool = False) -> Any:
    """Return a Tensor or an array in a dtype; an array as a copy, if asked for.

    Raises
    ------
    ValueError
        If numbers that are not whole are to become integers.
    """
    if is_float(array) and dtype.kind != "f":
        values = array.data if isinstance(array, Tensor) else array
        if not np.array_equal(values.astype(dtype), values):
            raise ValueError(f"unravel was given {values} for a leaf of dtype {dtype}, which cannot hold it")
    if isinstance(array, Tensor):
        return array if array.dtype == dtype else array.astype(dtype)
    return array.astype(dtype, copy=copy)
