"""The layer that looks up rows of a table: Embedding."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn import functional as F
from tinygrad_mnist.nn import init
from tinygrad_mnist.nn.functional import padding_row
from tinygrad_mnist.nn.inputs import TensorLike, as_input, require_integers, values_of
from tinygrad_mnist.nn.module import Module, Parameter


class Embedding(Module):
    """A table with a trained row for each index; the gradients of an index that occurs twice add up.

    Parameters
    ----------
    num_embeddings : int
        The number of rows.
    embedding_dim : int
        The length of a row.
    padding_idx : int, optional
        The index of a row that is at first 0 and gets no gradient; a negative one counts from the end.
    dtype : dtype
        The dtype of the table.
    rng : Generator or int, optional
        The source of the initial values.

    Attributes
    ----------
    weight : Parameter
        The table, shape (num_embeddings, embedding_dim), drawn from the normal distribution N(0, 1).

    Raises
    ------
    ValueError
        If a length is not positive.
    IndexError
        If ``padding_idx`` is no row; when called, if an index is none.
    TypeError
        When called, if the indices are not integers.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Embedding(10, 3, padding_idx=0, rng=0)
    >>> layer(np.array([[1, 2], [4, 0]])).shape
    (2, 2, 3)
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        dtype: DTypeLike = np.float32,
        rng: init.RNG = None,
    ) -> None:
        super().__init__()
        require_integers(f"Embedding({num_embeddings!r}, {embedding_dim!r})", num_embeddings, embedding_dim)
        if num_embeddings < 1 or embedding_dim < 1:
            raise ValueError(
                f"Embedding({num_embeddings}, {embedding_dim}) was asked for; expected positive lengths"
            )
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = None if padding_idx is None else padding_row(padding_idx, num_embeddings)
        self.weight = Parameter(np.empty((num_embeddings, embedding_dim), dtype))
        self.reset_parameters(rng)

    @classmethod
    def from_pretrained(
        cls, embeddings: ArrayLike | Tensor, freeze: bool = True, padding_idx: int | None = None
    ) -> Self:
        """Return a layer with a copy of a given table, shape (num_embeddings, embedding_dim).

        Parameters
        ----------
        embeddings : array_like
            The table.
        freeze : bool
            Whether it is not to be trained.
        padding_idx : int, optional
            The index of a row that gets no gradient; its values stay as they are.

        Raises
        ------
        ValueError
            If the table has not two axes.

        Examples
        --------
        >>> import numpy as np
        >>> Embedding.from_pretrained([[0.0, 1.0], [2.0, 3.0]])(np.array([1]))
        Tensor([[2., 3.]])
        """
        table = values_of(as_input(embeddings))
        if table.ndim != 2:
            raise ValueError(f"a table of shape {table.shape} was given; expected two axes")
        rows, length = table.shape
        layer = cls(rows, length, padding_idx, dtype=table.dtype)
        layer.weight.data[...] = table
        layer.weight.requires_grad_(not freeze)
        return layer

    def reset_parameters(self, rng: init.RNG = None) -> None:
        """Draw a new table, and set the row of the padding to 0."""
        init.normal_(self.weight, rng=init.generator(rng))
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    def forward(self, input: TensorLike) -> Tensor:
        """Return the rows for integer indices of any shape; a last axis of ``embedding_dim`` is added."""
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """Return the arguments, as ``repr`` shows them."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
