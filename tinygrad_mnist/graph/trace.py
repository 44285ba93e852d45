"""Reading the tape that a result left behind, without running anything again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from tinygrad_mnist.engine.tape import Leaf, Node, one_of
from tinygrad_mnist.graph.data import Cluster, Graph
from tinygrad_mnist.graph.record import Recording, listed


def trace(outputs: Any, model: Any = None, names: Mapping[str, Any] | None = None) -> Graph:
    """Read the tape that led to a result, without running anything again.

    A plain tape knows modules only by the names of the parameters that an operation uses, no source lines,
    and of gradients those that ``backward(retain_graph=True)`` left in parameters. `record` and
    ``Module.graph`` know more.

    Parameters
    ----------
    outputs : Tensor, sequence of Tensor, or Recording
        The results to start from; a recording gives all that it holds.
    model : Module, optional
        Gives the classes of modules, and the names of parameters and buffers.
    names : mapping of str to Tensor or ndarray, optional
        Names of other arrays: ``{"x": x}``.

    Returns
    -------
    Graph

    Raises
    ------
    ValueError
        If an output was not computed from anything that requires a gradient.
    RuntimeError
        If ``backward()`` has freed the tape.

    Examples
    --------
    >>> from tinygrad_mnist import Tensor, graph
    >>> x = Tensor(3.0, requires_grad=True)
    >>> [node.id for node in graph.trace(x * x + 1, names={"x": x}).nodes]
    ['x', 'multiply#1', 'add#1']
    """
    if isinstance(outputs, Recording):
        return outputs.graph()
    tensors = listed(outputs)
    recording = Recording(model, names)
    modules = {} if model is None else dict(model.named_modules())
    for node in in_time_order(tensors):
        assert node.arrays is not None  # not freed: `in_time_order` has looked
        cluster = _cluster(node, modules, recording)
        recording.add(node.op, node.arrays, node.out, node, node.static, cluster, "")
    recording.read_gradients()
    return recording.graph(tensors)


def in_time_order(tensors: Sequence[Any]) -> list[Node]:
    """Return all nodes of the tape that led to some Tensors, the oldest first."""
    found: set[Node] = set()
    waiting = []
    for tensor in tensors:
        if type(tensor.origin) is not Node:
            raise ValueError(
                f"a Tensor of shape {tensor.shape} has no tape: it was not computed from anything that "
                "requires a gradient; use graph.record() to draw such a computation"
            )
        waiting.append(tensor.origin)
    while waiting:
        node = waiting.pop()
        if node in found:
            continue
        found.add(node)
        if node.arrays is None:
            raise RuntimeError(
                f"the tape was freed by backward() at '{node.op.name}'; draw before it, use "
                "backward(retain_graph=True), or wrap both in `with graph.record() as tape:`"
            )
        waiting.extend(parent for parent in node.parents if type(parent) is Node)
    return sorted((node for node in found if node.op is not one_of), key=lambda node: node.time)


def _cluster(node: Node, modules: Mapping[str, Any], recording: Recording) -> str:
    """Return the id of the module whose parameters an operation uses; empty if it uses none.

    Where it uses those of several modules, it belongs to the innermost one around all of them. The cluster
    and those around it are made where they are not there yet.
    """
    names = [recording.path_of(parent) for parent in node.parents if type(parent) is Leaf]
    paths = [name.split(".")[:-1] for name in names if name]
    if not paths:
        return ""
    parts = [steps[0] for steps in takewhile(lambda steps: len(set(steps)) == 1, zip(*paths, strict=False))]
    parent = ""
    for depth in range(len(parts) + 1):
        path = ".".join(parts[:depth])
        module = modules.get(path)
        name = parts[depth - 1] if depth else "model"
        cluster = Cluster(
            f"{parent}/{name}" if parent else name,
            name,
            "" if module is None else type(module).__name__,
            parent,
            detail="" if module is None else module.extra_repr(),
        )
        parent = recording.clusters.setdefault(cluster.id, cluster).id
    return parent
