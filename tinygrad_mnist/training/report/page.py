"""The page of one run: what came of it, how it went, where it errs, what it looks at, how to repeat it.

A section is a function of what was drawn of a run that returns HTML; `SECTIONS` has them in their order. What
is not known is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, Final

import numpy as np

from tinygrad_mnist._version import __version__
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.numbers import count_text, percent_text, shape_text
from tinygrad_mnist.plots import calibration
from tinygrad_mnist.training.report.course import course
from tinygrad_mnist.training.report.drawn import Drawn, figure
from tinygrad_mnist.training.report.examples import examples
from tinygrad_mnist.training.report.listing import changes_text, value_text
from tinygrad_mnist.training.report.markup import Content, Markup, document, element, join, table
from tinygrad_mnist.training.report.mistakes import mistakes
from tinygrad_mnist.training.report.model_table import model_table
from tinygrad_mnist.training.report.pictures import WEIGHTS, first_layer
from tinygrad_mnist.training.report.processes import processes
from tinygrad_mnist.training.report.reproduction import FILE, extensions, reproduction
from tinygrad_mnist.training.report.results import data_name, key_numbers, number, result
from tinygrad_mnist.training.report.trained_run import TrainedRun


def report_page(drawn: Drawn) -> str:
    """Return the page."""
    run = drawn.run
    title = f"{run.checkpoint.recipe.model_name} on {data_name(run)}"
    sections = [(name, heading, make(drawn)) for name, heading, make in SECTIONS]
    links = element(
        "nav",
        element(
            "ul",
            (
                element("li", element("a", heading, href=f"#{name}"))
                for name, heading, body in sections
                if body
            ),
        ),
        aria_label="Sections",
    )
    body = (
        element("section", element("h2", heading), body, id=name, class_="section")
        for name, heading, body in sections
        if body
    )
    return document(
        f"{title}: report of a training",
        style_sheet(),
        element("header", element("h1", title), result(run), links),
        element("main", body),
        element("footer", element("p", f"Written by tinygrad_mnist {__version__}.", class_="quiet")),
        kind="report",
    )


def style_sheet() -> str:
    """Return the style of the pages."""
    return files("tinygrad_mnist.training.report").joinpath("style.css").read_text("utf-8")


# ---- what it looks at, and how sure it is ----------------------------------------------------------------


def _looks(drawn: Drawn) -> Content:
    found = [
        figure(
            drawn,
            "weights",
            f"The weights of the first layer{_chosen(drawn.run)}, all on one scale that is symmetric about "
            "0.",
        ),
        figure(
            drawn,
            "saliency",
            "The gradient of the predicted class's output by each pixel. Where it is large, a small change "
            "of the pixel changes the answer most.",
        ),
    ]
    pictures = [picture for picture in found if picture is not None]
    return element("div", pictures, class_="pair") if pictures else None


def _chosen(run: TrainedRun) -> str:
    """Return which weights are drawn, where not all are."""
    first = first_layer(run)
    return "" if first is None or len(first.weight) <= WEIGHTS else ", those with the largest norm"


def _calibration(drawn: Drawn) -> Content:
    run = drawn.run
    if run.probabilities is None or run.dataset is None:
        return None
    found = calibration(run.probabilities, run.dataset.test_labels)
    n = int(found.counts.sum())
    filled = found.counts > 0
    sure = float(found.counts[filled] @ found.confidence[filled]) / n
    right = float(found.counts[filled] @ found.accuracy[filled]) / n
    way = (
        "too sure of itself"
        if sure > right
        else "right more often than it is sure"
        if sure < right
        else "as sure as it is right"
    )
    drawing = figure(
        drawn,
        "calibration",
        "Points on the diagonal are as sure as they are right; below it the model is too sure.",
    )
    text = element(
        "p",
        f"On average the model is {percent_text(sure)} sure, and {percent_text(right)} of its answers "
        f"are right: it is {way}. The expected calibration error is {percent_text(found.error)}: the "
        f"mean distance between confidence and accuracy, over {len(found.counts)} bins.",
    )
    return text if drawing is None else element("div", drawing, text, class_="pair")


# ---- the model --------------------------------------------------------------------------------------------


def _model(drawn: Drawn) -> Content:
    checkpoint = drawn.run.checkpoint
    blank = np.zeros((1, *checkpoint.image_shape), np.uint8)
    layers = model_table(checkpoint.model, Tensor(checkpoint.standardizer(blank)))
    rows = [
        (row.path, row.text, "-" if row.shape is None else shape_text(row.shape), f"{row.parameters:,}")
        for row in layers
    ]
    total = sum(row.parameters for row in layers)
    rows.append(("all", "", "", f"{total:,}"))
    parts: list[Content] = [
        element("p", f"{count_text(len(layers), 'layer')}, {count_text(total, 'parameter')}."),
        table(
            ("name", "layer", "output", "parameters"),
            rows,
            "Layers of the model, and the shape that each puts out",
            words=(1,),
        ),
    ]
    if drawn.graph is not None:
        link = (
            element(
                "p",
                "To search and zoom it, open ",
                element("a", drawn.graph_page, href=drawn.graph_page),
                " in the directory of the run; it is a file of its own, which this page does not hold.",
            )
            if drawn.graph_page
            else None
        )
        parts += [
            element("h3", "The graph of a training step"),
            link,
            element(
                "div",
                Markup(drawn.graph),
                class_="wide",
                tabindex=0,
                role="region",
                aria_label="graph of a training step",
            ),
        ]
    return join(*parts)


# ---- how to repeat it -------------------------------------------------------------------------------------


def _repeat(drawn: Drawn) -> Content:
    run, recipe = drawn.run, drawn.run.checkpoint.recipe
    known = dict(run.checkpoint.origin)
    threads, jit = number(run.summary, "threads"), run.summary.get("jit")
    if threads is not None:
        known["threads"] = int(threads)
    if isinstance(jit, str):
        known["jit"] = jit
    if (several := processes(run.summary)) is not None:
        known["processes"] = several.ranks
    command, file, further = reproduction(recipe, known)
    parts: list[Content] = [_command(command)]
    for extension, more in zip(extensions(known), further, strict=True):
        then = f"It was made longer then, after {count_text(extension.steps, 'step')}"
        if not extension.ended:
            then += ", where it had been interrupted; the command above does not stop there"
        parts += [element("p", f"{then}:"), _command(more)]
    if file is not None:
        parts += [
            element(
                "p",
                "No option says all that was changed in this recipe. Save this text as ",
                element("code", FILE),
                ":",
            ),
            element("details", element("summary", FILE), element("pre", element("code", file))),
        ]
    if recipe.model_file is not None:
        parts.append(
            element(
                "p",
                f"The model is built by {recipe.model_file}, whose SHA-256 is ",
                element("code", recipe.model_file.sha256),
                ".",
            )
        )
    if run.summary.get("interrupted"):
        parts.append(element("p", "The command trains to the end; this run was ended by its user before."))
    parts.append(
        element(
            "p",
            "Equal seeds give equal results on the same machine, with the same versions and threads"
            f"{'' if several is None else ', and the same number of processes'}.",
        )
    )
    parts.append(table(("what", "value"), _facts(run), "What the run depended on", words=(1,)))
    changed = changes_text(recipe.changes()) if recipe.model_file is None else ""
    parts.append(element("p", f"Changed from the recipe {recipe.name}: {changed}.") if changed else None)
    values = [
        (name, value_text(value))
        for name, value in recipe.to_dict().items()
        if name not in ("description", "model_file")
    ]
    parts.append(
        element(
            "details",
            element("summary", "All values of the recipe"),
            table(("value", "is"), values, "Values of the recipe", words=(1,)),
        )
    )
    return join(*parts)


def _command(command: str) -> Content:
    words = command.replace(" --", "\n--").split("\n")  # an option is not broken between lines
    return element("pre", element("code", [[element("span", word, class_="word"), " "] for word in words]))


def _facts(run: TrainedRun) -> list[tuple[Content, Content]]:
    summary, origin = run.summary, run.checkpoint.origin
    threads = number(summary, "threads")  # None where the package threadpoolctl was not there to tell
    facts: list[tuple[Content, Content]] = [
        ("directory", element("code", str(run.path.resolve()))),
        ("seed", str(origin.get("seed", "not known"))),
        (
            "threads",
            "not known (the package threadpoolctl tells it)" if threads is None else f"{threads:.0f}",
        ),
        *_processes(summary),
        ("compiled", _compiled(summary, origin)),
        ("data", element("code", str(origin.get("data")))),
    ]
    facts += [
        (
            f"SHA-256 of the {part}ing part" if part == "train" else f"SHA-256 of the {part} part",
            element("code", digest),
        )
        for part, digest in run.hashes.items()
    ]
    versions = summary.get("versions")
    if isinstance(versions, Mapping):
        facts += [(str(name), str(version)) for name, version in versions.items()]
    return facts


def _processes(summary: Mapping[str, Any]) -> list[tuple[Content, Content]]:
    several = processes(summary)
    if several is None:
        return []
    lost = f"lost on the way: {', '.join(several.lost)}" if several.lost else ""
    return [("processes", "; ".join(filter(None, [str(several), several.waiting, lost])))]


def _compiled(summary: Mapping[str, Any], origin: Mapping[str, Any]) -> str:
    compiled = summary.get("compiled", origin.get("compiled"))
    if compiled is None:
        return "no"
    reason = summary.get("compiled_reason")
    return f"{'yes' if compiled else 'no'}{f' ({reason})' if reason else ''}"


def _said(drawn: Drawn) -> Content:
    """Return what was said during training, and what is missing here."""
    notices = drawn.run.summary.get("notices")
    said = [str(notice) for notice in notices] if isinstance(notices, list) else []
    missing = [*drawn.run.missing, *drawn.missing]
    if not said and not missing:
        return None
    return join(
        [element("h3", "Said during training"), element("ul", (element("li", notice) for notice in said))]
        if said
        else None,
        [
            element("h3", "Not in this report"),
            element("ul", (element("li", sentence) for sentence in missing)),
        ]
        if missing
        else None,
    )


Section = tuple[str, str, Callable[[Drawn], Content]]

SECTIONS: Final[tuple[Section, ...]] = (
    ("result", "Key numbers", key_numbers),
    ("course", "How training went", course),
    ("mistakes", "Where it errs", mistakes),
    ("images", "What it sees", examples),
    ("looks", "What it looks at", _looks),
    ("calibration", "How sure it is", _calibration),
    ("model", "The model", _model),
    ("repeat", "How to repeat it", _repeat),
    ("notices", "Notices", _said),
)
"""The sections: an id, a heading, and a function that returns what is in it; None where nothing is known."""
