"""`Graph`: a computation as plain data, and the ways to see it."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, fields
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Final

from tinygrad_mnist.graph.data import PARAMETER, Cluster, Edge, Node, Statistics, Value
from tinygrad_mnist.graph.drawing import Drawing

FORMAT: Final = "tinygrad_mnist graph 1"


@dataclass(frozen=True)
class Graph:
    """A computation as plain data: no arrays, no tape, nothing that runs.

    Made by `trace`, `record`, ``Tensor.graph()`` and ``Module.graph(example_input)``.

    Attributes
    ----------
    nodes : tuple of Node
        Operations in the order of their creation, each array before its first use.
    edges : tuple of Edge
        One for each use of a result.
    clusters : tuple of Cluster
        Calls of modules, the ones around first.
    outputs : tuple of str
        Ids of the nodes that were asked for, or that nothing uses.

    Examples
    --------
    >>> from tinygrad_mnist import Tensor
    >>> x = Tensor(3.0, requires_grad=True)
    >>> graph = (x * x).graph()
    >>> len(graph.nodes), len(graph.edges)
    (2, 2)
    >>> Graph.from_json(graph.json()) == graph
    True
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    clusters: tuple[Cluster, ...]
    outputs: tuple[str, ...]

    @property
    def operations(self) -> tuple[Node, ...]:
        """The nodes that are operations."""
        return tuple(node for node in self.nodes if node.kind == "operation")

    @property
    def parameters(self) -> tuple[Node, ...]:
        """The nodes that are parameters."""
        return tuple(node for node in self.nodes if node.kind == PARAMETER)

    @property
    def has_gradients(self) -> bool:
        """Whether a backward pass was seen."""
        return any(value.gradient is not None for node in self.nodes for value in node.values)

    @cached_property
    def by_id(self) -> dict[str, Node]:
        """The nodes by their ids."""
        return {node.id: node for node in self.nodes}

    # ---- as pictures and text --------------------------------------------------------------------------

    def draw(
        self,
        view: str = "modules",
        *,
        depth: int | None = None,
        expand: Collection[str] = (),
        budget: int = 40,
    ) -> Drawing:
        """What a picture shows, before it is laid out.

        Parameters
        ----------
        view : str
            ``modules`` (a box a module call), ``operations`` (every operation, inside its modules),
            ``backward`` (the gradients, arrows reversed) or ``profile`` (times and memory).
        depth : int, optional
            How many levels of modules to open; by default as many as the budget allows.
        expand : collection of str
            Ids of modules to open all the same: ``model/3``.
        budget : int
            How many boxes may be seen before more is folded, where ``depth`` does not say.
        """
        from tinygrad_mnist.graph.views import draw

        _require_counts(depth, budget)
        return draw(self, view, depth=depth, expand=expand, budget=budget)

    def dot(self, view: str = "modules", *, theme: str = "light", **options: Any) -> str:
        """The picture in Graphviz's language; options as for `draw`."""
        from tinygrad_mnist.graph.formats.dot import to_dot

        return to_dot(self.draw(view, **options), theme)

    def svg(self, view: str = "modules", *, theme: str = "auto", **options: Any) -> str:
        """The picture as SVG; ``auto`` follows the reader's light or dark setting."""
        from tinygrad_mnist.graph.formats.layout import fitting, to_svg

        return to_svg(fitting(self, view, options), theme)

    def png(self, view: str = "modules", *, theme: str = "light", **options: Any) -> bytes:
        """The picture as PNG."""
        from tinygrad_mnist.graph.formats.dot import to_dot
        from tinygrad_mnist.graph.formats.layout import fitting, render

        return render(to_dot(fitting(self, view, options), theme), "png")

    def pdf(self, view: str = "modules", *, theme: str = "light", **options: Any) -> bytes:
        """The picture as PDF."""
        from tinygrad_mnist.graph.formats.dot import to_dot
        from tinygrad_mnist.graph.formats.layout import fitting, render

        return render(to_dot(fitting(self, view, options), theme), "pdf")

    def html(self, view: str = "modules", **options: Any) -> str:
        """One page that holds all levels, to be searched and walked through; works without a network."""
        from tinygrad_mnist.graph.formats.html import to_html

        return to_html(self, view, **options)

    def mermaid(self, view: str = "modules", **options: Any) -> str:
        """The picture in Mermaid's language, which Markdown on many sites draws."""
        from tinygrad_mnist.graph.formats.mermaid import to_mermaid

        return to_mermaid(self.draw(view, **options))

    def text(self, view: str = "modules", *, color: bool = False, **options: Any) -> str:
        """An aligned outline, of 120 columns at most; options as for `draw`, and ``width`` in columns."""
        from tinygrad_mnist.graph.formats.text import to_text

        _require_counts(options.get("depth"), options.get("budget", 1))
        return to_text(self, view, color=color, **options)

    def save(self, path: str | PathLike[str], view: str = "modules", **options: Any) -> Path:
        """Write a file in the format that its suffix names, all or nothing; return its path."""
        from tinygrad_mnist.graph.formats.files import save

        return save(self, path, view, **options)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from tinygrad_mnist.graph.formats.files import mimebundle

        return mimebundle(self)

    # ---- as text that can be read back -----------------------------------------------------------------

    def json(self) -> str:
        """The graph as JSON: a line a node, edge and cluster, so that two versions compare by lines."""
        parts = [f'"format": {json.dumps(FORMAT)}']
        for name in ("clusters", "nodes", "edges"):
            rows = ",\n".join("  " + _compact(row) for row in getattr(self, name))
            parts.append(f'"{name}": [\n{rows}\n]' if rows else f'"{name}": []')
        parts.append(f'"outputs": {json.dumps(self.outputs, ensure_ascii=False)}')
        return "{\n" + ",\n".join(parts) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> Graph:
        """Read what `json` wrote.

        Raises
        ------
        ValueError
            If it is something else.
        """
        try:
            data = json.loads(text)
            if data["format"] != FORMAT:
                raise ValueError(f"it says format {data['format']!r}; expected {FORMAT!r}")
            return cls(
                tuple(_node(row) for row in data["nodes"]),
                tuple(_with(Edge, row, gradient=_statistics(row.get("gradient"))) for row in data["edges"]),
                tuple(Cluster(**row) for row in data["clusters"]),
                tuple(data["outputs"]),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"this text is no graph in JSON: {error}") from error


def _require_counts(depth: Any, budget: Any) -> None:
    """Refuse a depth or a budget that does not count."""
    for name, given in (("depth", depth), ("budget", budget)):
        if not hasattr(given, "__index__") and not (name == "depth" and given is None):
            raise TypeError(f"{name} is a {type(given).__name__}, {given!r}; expected a whole number")


def _compact(row: Any) -> str:
    """A row without what is at its default."""
    return json.dumps(_pruned(row), ensure_ascii=False)


def _pruned(row: Any) -> dict[str, Any]:
    kept = {}
    for field in fields(row):
        value = getattr(row, field.name)
        if value == field.default:
            continue
        if field.name == "values":
            value = [_pruned(one) for one in value]
        elif isinstance(value, Statistics):
            value = _pruned(value)
        kept[field.name] = value
    return kept


def _node(row: dict[str, Any]) -> Node:
    values = tuple(
        _with(
            Value,
            one,
            shape=tuple(one["shape"]),
            statistics=_statistics(one.get("statistics")),
            gradient=_statistics(one.get("gradient")),
        )
        for one in row["values"]
    )
    return Node(**{**row, "values": values})


def _with(kind: Any, row: dict[str, Any], **changed: Any) -> Any:
    return kind(**{**row, **changed})


def _statistics(row: dict[str, Any] | None) -> Statistics | None:
    return None if row is None else Statistics(**row)
