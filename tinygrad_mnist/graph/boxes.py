"""The words of boxes: titles, lines, details and costs of operations, modules, folds and arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tinygrad_mnist.graph.data import INPUT, OPERATION, PARAMETER, Graph, Node, parameter_count
from tinygrad_mnist.graph.descriptions import statistics_text
from tinygrad_mnist.graph.drawing import Box, Group
from tinygrad_mnist.graph.folding import is_loop
from tinygrad_mnist.graph.profile import peak
from tinygrad_mnist.numbers import bytes_text, count_text, flops_text, seconds_text, shape_text


def with_words(graph: Graph, box: Box) -> Box:
    """Return a box with the words that it has in all views."""
    write = {"operation": _operation, "module": _module, "fold": _fold}.get(box.kind, _array)
    made = write(graph, box)
    results = [graph.by_id[node] for node in box.nodes if node in graph.outputs and box.members]
    if not results:
        return made
    shapes = dict.fromkeys(shape_text(node.value.shape) for node in results)
    return replace(made, lines=(*made.lines, "→ " + ", ".join(shapes)), marks=("output",))


def group_with_title(graph: Graph, group: Group) -> Group:
    """Return the frame of a module that stands open, with its title."""
    cluster = graph.clusters_by_id[group.id]
    return replace(group, title=" ".join(filter(None, (_own_name(graph, group.id), cluster.kind))))


def member_name(graph: Graph, member: str) -> str:
    """Return the class of a module, or the name of an operation."""
    cluster = graph.clusters_by_id.get(member)
    return graph.by_id[member].name if cluster is None else cluster.kind or cluster.name


def nodes_of(graph: Graph, box: Box) -> list[Node]:
    """Return the nodes that a box stands for, or the arrays that it shows once more."""
    return [graph.by_id[node] for node in box.nodes or box.arrays]


# ---- what is computed ----------------------------------------------------------------------------------


def _operation(graph: Graph, box: Box) -> Box:
    node = graph.by_id[box.members[0]]
    lines = [node.arguments] if node.arguments else []
    lines += _array_lines(graph, box)
    return replace(box, title=node.label, lines=tuple(lines), details=node_details(node))


def _module(graph: Graph, box: Box) -> Box:
    cluster = graph.clusters_by_id[box.members[0]]
    operations = _operations(graph, box)
    detail = f"({cluster.detail})" if cluster.detail else ""
    own = " ".join(filter(None, (_own_name(graph, cluster.id), detail)))
    lines = [own] if own else []
    if not graph.is_leaf(cluster.id):
        lines += _contents(graph, box)
    else:
        if len(operations) > 1:
            lines.append(count_text(len(operations), "operation"))
        lines += _array_lines(graph, box)
    details = (("module", cluster.id), ("class", cluster.kind or "not known"), ("made with", cluster.detail))
    known = tuple((name, value) for name, value in details if value)
    return replace(
        box,
        title=cluster.kind or cluster.name,
        lines=tuple(lines),
        details=known + _details_of_many(graph, box),
    )


def _fold(graph: Graph, box: Box) -> Box:
    lines = _contents(graph, box)
    details = [("folded", f"{box.members[0]} to {box.members[-1]}")]
    modules = [member for member in box.members if member in graph.clusters_by_id]
    if box.repeats:
        unit = box.members[: box.period]
        names = [member_name(graph, member) for member in unit]
        # The title tells only the modules of a unit, if it has any; the operations between follow below.
        whole = [member_name(graph, member) for member in unit if member in graph.clusters_by_id] or names
        title = f"{', '.join(whole)} x{box.repeats:,}" + (" steps" if is_loop(graph, box) else "")
        if len(names) > len(whole):
            lines.insert(0, f"each: {', '.join(names)}")
        details.append(("unit", ", ".join(names)))
    elif modules:
        title = count_text(len(modules), "module")
    else:
        title = lines.pop(0)  # the number of operations
    lines.append(f"{box.members[0]} … {box.members[-1]}")
    return replace(box, title=title, lines=tuple(lines), details=(*details, *_details_of_many(graph, box)))


def _own_name(graph: Graph, cluster: str) -> str:
    """Return the name of a module with the number of a later call; empty where the name is its class."""
    own = graph.clusters_by_id[cluster]
    name = "" if own.name == own.kind else own.name
    return f"{name} (call {own.call})".strip() if own.call > 1 else name


def _operations(graph: Graph, box: Box) -> list[Node]:
    return [node for node in map(graph.by_id.__getitem__, box.nodes) if node.kind == OPERATION]


def _arrays(graph: Graph, box: Box) -> list[Node]:
    return [graph.by_id[array] for array in box.arrays]


def _contents(graph: Graph, box: Box) -> list[str]:
    lines = [count_text(len(_operations(graph, box)), "operation")]
    parameters = parameter_count(_arrays(graph, box))
    return lines + ([count_text(parameters, "parameter")] if parameters else [])


def _array_lines(graph: Graph, box: Box) -> list[str]:
    return [f"{array.label} {shape_text(array.value.shape)}" for array in _arrays(graph, box)]


# ---- what is given -------------------------------------------------------------------------------------


def _array(graph: Graph, box: Box) -> Box:
    arrays = _arrays(graph, box)
    first = arrays[0]
    shared = (f"shared with {box.shared_with}",) if box.shared_with else ()
    if len(arrays) == 1:
        title = first.label
        lines: tuple[str, ...] = (shape_text(first.value.shape),)
        if first.kind == INPUT:
            lines = (f"{lines[0]} {first.value.dtype}",)
        elif len(first.value.shape) > 1 and not shared:
            lines += (f"{first.value.size:,}",)
        details = node_details(first)
    else:
        title = count_text(len(arrays), "array" if first.kind == PARAMETER else first.kind)
        shapes = list(dict.fromkeys(shape_text(node.value.shape) for node in arrays))
        lines = (", ".join(shapes[:3]) + (", …" if len(shapes) > 3 else ""),)
        details = (*_details_of_many(graph, box), ("arrays", ", ".join(box.arrays)))
    return replace(box, title=title, lines=lines + shared, details=details)


# ---- what a reader can ask for -------------------------------------------------------------------------


def node_details(node: Node) -> tuple[tuple[str, str], ...]:
    """Return all that is known of a node, as names and texts."""
    rows = [("operation" if node.kind == OPERATION else node.kind, node.name or node.id)]
    rows += [("id", node.id), ("arguments", node.arguments)]
    for i, value in enumerate(node.values, 1):
        which = f" {i}" if len(node.values) > 1 else ""
        rows += [("shape" + which, shape_text(value.shape)), ("dtype" + which, value.dtype)]
        rows += [("bytes" + which, bytes_text(value.bytes))]
        rows += [("values" + which, statistics_text(value.statistics))]
        rows += [("gradient" + which, statistics_text(value.gradient))]
    rows += [*_costs([node]), ("line", node.line)]
    return tuple((name, text) for name, text in rows if text)


def _details_of_many(graph: Graph, box: Box) -> tuple[tuple[str, str], ...]:
    """Return what is known of a box that stands for several nodes: totals, and what comes out."""
    operations = _operations(graph, box)
    parameters = parameter_count(_arrays(graph, box))
    rows = [("operations", f"{len(operations):,}" if operations else "")]
    rows.append(("parameters", f"{parameters:,}" if parameters else ""))
    if operations:
        last = operations[-1]
        rows += [("shape", shape_text(last.value.shape)), ("dtype", last.value.dtype)]
        rows += [("bytes", bytes_text(last.value.bytes))]
        rows += [("values", statistics_text(last.value.statistics))]
        rows += [("gradient", statistics_text(last.value.gradient))]
        rows += [*_costs(operations), ("line", last.line)]
    return tuple((name, text) for name, text in rows if text)


def _costs(nodes: Sequence[Node]) -> list[tuple[str, str]]:
    rows = []
    for name, times in (
        ("forward", [node.forward_seconds for node in nodes]),
        ("backward", [node.backward_seconds for node in nodes]),
    ):
        known = [time for time in times if time is not None]
        if known:
            rows.append((name, seconds_text(sum(known))))
    for name, count in (("forward products", flops(nodes)[0]), ("backward products", flops(nodes)[1])):
        if count:
            rows.append((name, flops_text(count)))
    kept = kept_bytes(nodes)
    return rows + ([("kept for backward", bytes_text(kept))] if kept else [])


# ---- costs ---------------------------------------------------------------------------------------------


def seconds(nodes: Sequence[Node]) -> float:
    """Return the time of some nodes, forward and backward together."""
    return sum((node.forward_seconds or 0.0) + (node.backward_seconds or 0.0) for node in nodes)


def flops(nodes: Sequence[Node]) -> tuple[int, int]:
    """Return the floating-point operations of the products in some nodes, forward and backward."""
    return sum(node.forward_flops or 0 for node in nodes), sum(node.backward_flops or 0 for node in nodes)


def kept_bytes(nodes: Sequence[Node]) -> int:
    """Return the memory that some nodes keep for the backward pass."""
    return sum(node.saved_bytes for node in nodes)


def with_costs(graph: Graph, boxes: Sequence[Box]) -> list[Box]:
    """Return the boxes with time, share and memory, and marks at the slowest and at the peak of memory."""
    total, memory = seconds(graph.nodes), kept_bytes(graph.nodes)
    held = [[graph.by_id[node] for node in box.nodes] for box in boxes]
    slowest = max(map(seconds, held))
    most = peak(graph)
    done = []
    for nodes, box in zip(held, boxes, strict=True):
        if not box.members:  # arrays cost nothing
            done.append(box)
            continue
        time, size = seconds(nodes), kept_bytes(nodes)
        share = time / total if total else 0.0
        lines = [f"{seconds_text(time)}, {share:.0%}"]
        if size:
            lines.append(f"keeps {bytes_text(size)}, {size / memory:.0%}")
        peaks = ["peak: most time"] * (time == slowest > 0)
        if most is not None and most.node in box.nodes:
            when = "back" if most.backward else "forward"
            peaks.append(f"peak of memory: {bytes_text(most.bytes)}, going {when}")
        marks = (*box.marks, "peak") if peaks else box.marks
        done.append(replace(box, lines=(*box.lines, *lines, *peaks), marks=marks, share=round(share, 4)))
    return done
