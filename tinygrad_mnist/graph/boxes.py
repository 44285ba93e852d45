"""The words of boxes: titles, lines and details of operations, modules, folds, parameters and inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tinygrad_mnist.graph.data import INPUT, OPERATION, PARAMETER, Node
from tinygrad_mnist.graph.drawing import Box, Group
from tinygrad_mnist.graph.folding import Part, is_loop
from tinygrad_mnist.graph.numbers import bytes_text, count_text, seconds_text, shape_text, statistics_text
from tinygrad_mnist.graph.outline import Outline
from tinygrad_mnist.graph.scene import Place

Details = tuple[tuple[str, str], ...]


def box(outline: Outline, place: Place) -> Box:
    """A box with the words that are the same in all views."""
    nodes = tuple(node.id for node in place.nodes)
    if place.part is None:
        return replace(_array_box(place), nodes=nodes)
    if place.part.is_fold:
        made = _fold_box(outline, place, place.part)
    elif place.part.members[0] in outline.clusters:
        made = _module_box(outline, place, place.part)
    else:
        made = _operation_box(place)
    lines = list(made.lines)
    results = [node for node in place.nodes if node.id in outline.graph.outputs]
    if results:
        lines.append("→ " + ", ".join(dict.fromkeys(shape_text(node.value.shape) for node in results)))
    return replace(made, lines=tuple(lines), nodes=nodes, marks=("output",) if results else ())


def group(outline: Outline, cluster: str) -> Group:
    """The frame of a module that stands open."""
    own = outline.clusters[cluster]
    return Group(cluster, " ".join(part for part in (_name(outline, cluster), own.kind) if part), own.parent)


# ---- what is computed ----------------------------------------------------------------------------------


def _operation_box(place: Place) -> Box:
    (node,) = (node for node in place.nodes if node.kind == OPERATION)
    lines = [node.arguments] if node.arguments else []
    lines += [f"{array.label} {shape_text(array.value.shape)}" for array in place.arrays]
    return Box(place.id, "operation", node.label, tuple(lines), place.group, node_details(node))


def _module_box(outline: Outline, place: Place, part: Part) -> Box:
    cluster = outline.clusters[part.members[0]]
    operations = [node for node in place.nodes if node.kind == OPERATION]
    detail = f"({cluster.detail})" if cluster.detail else ""
    own = " ".join(text for text in (_name(outline, cluster.id), detail) if text)
    lines = [own] if own else []
    if not outline.is_leaf(cluster.id):
        lines += _contents(operations, place.arrays)
    else:
        if len(operations) > 1:
            lines.append(count_text(len(operations), "operation"))
        lines += [f"{array.label} {shape_text(array.value.shape)}" for array in place.arrays]
    details = (("module", cluster.id), ("class", cluster.kind or "not known"), ("made with", cluster.detail))
    known = tuple((name, value) for name, value in details if value)
    return Box(
        place.id,
        "module",
        cluster.kind or cluster.name,
        tuple(lines),
        place.group,
        known + _details_of_many(operations, place.arrays),
    )


def _fold_box(outline: Outline, place: Place, part: Part) -> Box:
    operations = [node for node in place.nodes if node.kind == OPERATION]
    lines = _contents(operations, place.arrays)
    modules = [member for member in part.members if member in outline.clusters]
    unit = ""
    if part.repeats:
        period = len(part.members) // part.repeats
        names = [member_name(outline, member) for member in part.members[:period]]
        whole = [name for name, m in zip(names, part.members, strict=False) if m in outline.clusters] or names
        unit = ", ".join(names)
        title = f"{', '.join(whole)} x{part.repeats:,}" + (" steps" if is_loop(outline, part) else "")
        if period > len(whole):
            lines.insert(0, f"each: {unit}")
    else:
        title = lines.pop(0)
        if modules:
            lines.insert(0, title)
            title = count_text(len(modules), "module")
    lines.append(f"{part.members[0]} … {part.members[-1]}")
    details = (("folded", f"{part.members[0]} to {part.members[-1]}"),) + ((("unit", unit),) if unit else ())
    return Box(
        place.id,
        "fold",
        title,
        tuple(lines),
        place.group,
        details + _details_of_many(operations, place.arrays),
    )


def member_name(outline: Outline, member: str) -> str:
    """The class of a module, or the name of an operation."""
    if member in outline.clusters:
        return outline.clusters[member].kind or outline.clusters[member].name
    return outline.graph.by_id[member].name


def _name(outline: Outline, cluster: str) -> str:
    own = outline.clusters[cluster]
    name = "" if own.name == own.kind else own.name
    return f"{name} (call {own.call})".strip() if own.call > 1 else name


def _contents(operations: Sequence[Node], arrays: Sequence[Node]) -> list[str]:
    lines = [count_text(len(operations), "operation")]
    parameters = parameter_count(arrays)
    if parameters:
        lines.append(count_text(parameters, "parameter"))
    return lines


def parameter_count(nodes: Sequence[Node]) -> int:
    """How many numbers there are to learn."""
    return sum(node.value.size for node in nodes if node.kind == PARAMETER)


# ---- what is given -------------------------------------------------------------------------------------


def _array_box(place: Place) -> Box:
    arrays = place.arrays
    first = arrays[0]
    shared = (f"shared with {place.shared_with}",) if place.shared_with else ()
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
        details = (*_details_of_many([], arrays), ("arrays", ", ".join(node.id for node in arrays)))
    return Box(place.id, first.kind, title, lines + shared, place.group, details)


# ---- what a reader can ask for -------------------------------------------------------------------------


def node_details(node: Node) -> Details:
    """All that is known of a node, as names and texts."""
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


def _details_of_many(operations: Sequence[Node], arrays: Sequence[Node]) -> Details:
    """What is known of a box that stands for several nodes: totals, and what comes out."""
    rows = [("operations", f"{len(operations):,}" if operations else "")]
    parameters = parameter_count(arrays)
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
    kept = sum(node.saved_bytes for node in nodes)
    return rows + ([("kept for backward", bytes_text(kept))] if kept else [])
