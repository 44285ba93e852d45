"""The page of one run: what came of it, how it went, where it errs, what it looks at, how to repeat it.

A section is a function from a `TrainedRun` and its pictures to HTML; `SECTIONS` has them in their order. What is
not known is not drawn, and the section says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist._version import __version__
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.numbers import count_text, duration_text, number_text, percent_text, shape_text
from tinygrad_mnist.plots.intervals import wilson_interval
from tinygrad_mnist.training.data_picture import is_drawn_as_ink
from tinygrad_mnist.training.evaluation import by_class, confusion_matrix
from tinygrad_mnist.training.report.gradient_reading import layer_norms, read_gradients
from tinygrad_mnist.training.report.listing import changes_text, value_text
from tinygrad_mnist.training.report.markup import Content, Markup, document, element, image, join, table
from tinygrad_mnist.training.report.model_table import model_table
from tinygrad_mnist.training.report.pictures import Examples, Picture
from tinygrad_mnist.training.report.reproduction import FILE, reproduction
from tinygrad_mnist.training.report.trained_run import TrainedRun
from tinygrad_mnist.training.training_data import data_title

MOST_CLASSES: Final = 20
"""Classes up to which a confusion matrix is a table that one can read."""
MOST_MISTAKES: Final = 10
"""The most frequent mistakes, which are listed where there are more classes."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """A run, and what was drawn of it.

    Parameters
    ----------
    run : TrainedRun
        The run.
    pictures : mapping
        The pictures that could be drawn, by name.
    examples : Examples or None
        Images of the test part that are shown; None without data.
    graph : str or None
        The graph of a training step, as SVG.
    graph_page : str or None
        The name of the file beside the report that has the graph as a page.
    missing : list of str
        Sentences on what could not be drawn, and why.
    """

    run: TrainedRun
    pictures: Mapping[str, Picture]
    examples: Examples | None = None
    graph: str | None = None
    graph_page: str | None = None
    missing: list[str] = field(default_factory=list)


def report_page(drawn: Drawn) -> str:
    """Return the page."""
    run = drawn.run
    title = f"{run.checkpoint.recipe.name} on {_data(run)}"
    sections = [(name, heading, make(drawn)) for name, heading, make in SECTIONS]
    links = element(
        "nav",
        element(
            "ul",
            (element("li", element("a", heading, href=f"#{name}")) for name, heading, body in sections if body),
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
        element("header", element("h1", title), _result(run), links),
        element("main", body),
        element("footer", element("p", f"Written by tinygrad_mnist {__version__}.", class_="quiet")),
        kind="report",
    )


def style_sheet() -> str:
    """Return the style of the pages."""
    return files("tinygrad_mnist.training.report").joinpath("style.css").read_text("utf-8")


def figure(drawn: Drawn, name: str, *caption: Content) -> Markup | None:
    """Return a picture with its caption; None if it could not be drawn."""
    picture = drawn.pictures.get(name)
    if picture is None:
        return None
    below = element("figcaption", *caption) if caption else None
    # numbers as colours are seen best on white, and so are images of ink
    kind = "picture on-white" if name in ("weights", "saliency") else "picture"
    return element("figure", element("div", Markup(picture.svg), class_=kind), below)


def paragraphs(sentences: list[str]) -> list[Markup]:
    """Return a paragraph for each sentence."""
    return [element("p", sentence) for sentence in sentences]


# ---- the result -------------------------------------------------------------------------------------------


def _data(run: TrainedRun) -> str:
    """Return what a sentence calls the data of a run."""
    origin = run.checkpoint.origin
    return data_title(str(origin.get("dataset", origin.get("data"))), str(origin.get("data")))


def counted(run: TrainedRun) -> tuple[int, int] | None:
    """Return how many test images are recognised, of how many; None if nobody knows."""
    if run.right is not None:
        return int(run.right.sum()), len(run.right)
    accuracy, images = run.summary.get("test_accuracy"), run.summary.get("test_images")
    if isinstance(accuracy, float) and isinstance(images, int) and images > 0:
        return round(accuracy * images), images
    return None


def interval_text(right: int, total: int) -> str:
    """Return the 95 % interval of an accuracy.

    Examples
    --------
    >>> interval_text(9700, 10_000)
    '96.65 % to 97.32 %'
    """
    low, high = wilson_interval(right, total)
    return f"{percent_text(float(low))} to {percent_text(float(high))}"


def noun(run: TrainedRun) -> str:
    """Return the word for what the images show."""
    names = run.checkpoint.class_names
    return "digit" if all(name in tuple("0123456789") for name in names) else "picture"


def _result(run: TrainedRun) -> Markup:
    """Return the result in one sentence."""
    found = counted(run)
    if found is None:
        return element("p", "How well the model recognises unseen images is not known: see below.", class_="lead")
    right, total = found
    return element(
        "p",
        "The model recognises ",
        element("strong", percent_text(right / total)),
        f" of {total:,} {noun(run)}s that it has not seen: {right:,} right, {total - right:,} wrong "
        f"(95 % interval {interval_text(right, total)}).",
        class_="lead",
    )


def _key_numbers(drawn: Drawn) -> Content:
    run, summary, recipe = drawn.run, drawn.run.summary, drawn.run.checkpoint.recipe
    found = counted(run)
    numbers: list[tuple[str, str, str]] = []
    if found is not None:
        numbers.append(("Test accuracy", percent_text(found[0] / found[1]), f"{found[1]:,} images"))
    for name, part in (("Validation accuracy", "validation"), ("Training accuracy", "train")):
        if isinstance(summary.get(f"{part}_accuracy"), float):
            images = summary.get(f"{part}_images")
            numbers.append(
                (name, percent_text(summary[f"{part}_accuracy"]), f"{images:,} images" if images else "")
            )
    if isinstance(summary.get("test_loss"), float):
        numbers.append(("Test loss", f"{summary['test_loss']:.4f}", "nats"))
    parameters = sum(parameter.size for parameter in run.checkpoint.model.parameters())
    numbers.append(("Parameters", f"{parameters:,}", recipe.architecture))
    if "epochs" in summary:
        unit = "iteration" if recipe.full_batch else "epoch"
        numbers.append(("Trained for", count_text(summary["epochs"], unit), f"{summary['steps']:,} steps"))
        numbers.append(
            (
                "Training time",
                time_text(summary["train_seconds"]),
                f"{summary['images_per_second']:,.0f} images a second",
            )
        )
        numbers.append(
            ("Kept", f"step {summary['best_step']:,}", f"epoch {summary['best_epoch']:.4g}, the best on validation")
        )
    entries = (
        element("div", element("dt", name), element("dd", value, element("small", below) if below else None))
        for name, value, below in numbers
    )
    interrupted = (
        "The user ended this training early; the best state until then was kept." if summary.get("interrupted") else None
    )
    return join(element("dl", entries, class_="key"), element("p", interrupted) if interrupted else None)


def time_text(seconds: float) -> str:
    """Return a time of training."""
    return duration_text(seconds) if seconds >= 60 else f"{seconds:.2f} s"


# ---- the course of the training ---------------------------------------------------------------------------


def _course(drawn: Drawn) -> Content:
    history, recipe = drawn.run.history, drawn.run.checkpoint.recipe
    pictures = [
        figure(drawn, "curves", *_curves_caption(drawn)),
        figure(drawn, "learning_rate", "The learning rate of each step."),
        figure(drawn, "gradients", "The norm of each layer's gradient before clipping, on a logarithmic scale."),
    ]
    reading: list[str] = []
    if history.gradients:
        reading = read_gradients(
            layer_norms(history.gradients), history.clipped, recipe.clip_norm, len(history.losses)
        )
    elif history.losses:
        reading = ["No gradient norms were recorded."]
    found = [picture for picture in pictures if picture is not None]
    if not found and not reading:
        return None
    columns = [found[:1], found[1:]]  # the first is as high as the others together
    return join(
        element("div", (element("div", column) for column in columns if column), class_="pair"),
        element("h3", "What the gradients say") if reading else None,
        paragraphs(reading),
    )


def _curves_caption(drawn: Drawn) -> list[Content]:
    history = drawn.run.history
    if not history.records:
        return []
    last, best = history.records[-1], drawn.run.summary.get("best_step")
    caption = f"{count_text(len(history.records), 'evaluation')}, the last after {count_text(last.step, 'step')}."
    if isinstance(best, int):
        caption += f" The state after step {best:,} was kept: it was the best on the validation part."
    return [caption]


# ---- where it errs ----------------------------------------------------------------------------------------


def _mistakes(drawn: Drawn) -> Content:
    run = drawn.run
    if run.dataset is None or run.predicted is None:
        return None
    names = run.checkpoint.class_names
    counts = confusion_matrix(run.dataset.test_labels, run.predicted, len(names))
    if len(names) <= MOST_CLASSES:
        matrix: Content = element(
            "div",
            element("div", element("h3", "Counts"), _matrix(counts, names, shares=False)),
            element("div", element("h3", "Shares of each row, in percent"), _matrix(counts, names, shares=True)),
            class_="pair",
        )
    else:
        matrix = element("p", f"The confusion matrix of {len(names)} classes is in pictures/confusion.png.")
    return join(
        element(
            "p",
            "How often each class (a row) was taken for each class (a column). Right answers are on the diagonal; "
            "what is mistaken most often is framed.",
        ),
        matrix,
        _frequent(counts, names),
        element("h3", "Accuracy a class"),
        _class_table(counts, names),
    )


def _matrix(counts: NDArray[np.int64], names: tuple[str, ...], shares: bool) -> Markup:
    """Return the confusion matrix as a table, mistakes shaded by their share of the row."""
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    share = counts / totals
    mistakes = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    worst = int(mistakes.max())
    rows = []
    for i, name in enumerate(names):
        cells = [element("th", name, scope="row")]
        for j in range(len(names)):
            count = int(counts[i, j])
            text = "·" if not count else percent_text(share[i, j], 1)[:-2] if shares else f"{count:,}"
            kinds = [kind for kind, holds in (("right", i == j), ("strong", i != j and count == worst > 0)) if holds]
            # half of the colour at most, so that ink stays readable on it
            depth = 0 if i == j or not worst else 45 * mistakes[i, j] / worst
            cells.append(
                element(
                    "td",
                    text,
                    class_=" ".join(kinds) or None,
                    style=f"--share:{depth:.0f}%" if depth else None,
                    title=f"{count:,} of class {name} taken for {names[j]}" if count and i != j else None,
                )
            )
        rows.append(element("tr", cells))
    caption = f"Confusion matrix: {'shares of each row in percent' if shares else 'numbers of images'}"
    head = element("tr", element("th", "true", scope="col"), (element("th", n, scope="col") for n in names))
    made = element("table", element("caption", caption), element("thead", head), element("tbody", rows))
    return element("div", made, class_="wide matrix", tabindex=0, role="region", aria_label=caption)


def _frequent(counts: NDArray[np.int64], names: tuple[str, ...]) -> Markup:
    """Return the most frequent mistakes as a list."""
    mistakes = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:MOST_MISTAKES]
    found = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, counts.shape), strict=True) if mistakes[i, j]]
    if not found:
        return element("p", "There are no mistakes.")
    items = (f"{names[i]} for {names[j]} ({mistakes[i, j]:,} times)" for i, j in found[:5])
    return element("p", "Taken most often: ", "; ".join(items), ".")


def _class_table(counts: NDArray[np.int64], names: tuple[str, ...]) -> Markup:
    found = by_class(counts, names)
    wrong = [1 - one.correct / one.images if one.images else 0.0 for one in found]
    worst = max(wrong)
    rows = []
    for one, share in zip(found, wrong, strict=True):
        length = 100 * share / worst if worst else 0.0
        bar = element("span", element("i", style=f"width:{length:.1f}%"), class_="bar", aria_hidden="true")
        rows.append(
            (
                one.name,
                percent_text(1 - share) if one.images else "-",
                f"{one.images - one.correct:,} of {one.images:,}",
                bar,
                one.confused_with,
                interval_text(one.correct, one.images) if one.images else "-",
            )
        )
    heading = ("class", "accuracy", "wrong", "share of the wrong", "most often for", "95 % interval")
    return table(heading, rows, "Accuracy of each class on the test part", words=(3, 4))


# ---- images -----------------------------------------------------------------------------------------------


def _images(drawn: Drawn) -> Content:
    run, examples = drawn.run, drawn.examples
    if run.dataset is None or examples is None:
        return None
    return join(
        element("h3", f"Sample {noun(run)}s"),
        element("p", "Chosen at random from the test part. Wrong ones have a cross, a thick frame and the true class."),
        _digits(drawn, examples.samples),
        element("h3", "The most confident mistakes"),
        _digits(drawn, examples.mistakes) if len(examples.mistakes) else element("p", "There are no mistakes."),
    )


def _digits(drawn: Drawn, chosen: NDArray[np.intp]) -> Markup:
    """Return a list of test images with what was predicted, how surely, and what is true."""
    run = drawn.run
    assert run.dataset is not None
    assert run.predicted is not None
    items = []
    for k in chosen.tolist():
        pixels = shown(run, run.dataset.test_images[k])
        picture = image(pixels, f"test image {k}", scale=1)
        items.append(element("li", picture, *_verdict(run, k), class_=_verdict_class(run, k)))
    return element("ul", items, class_="digits")


def _verdict(run: TrainedRun, k: int) -> list[Markup]:
    """Return the lines below a test image."""
    assert run.dataset is not None
    assert run.predicted is not None
    assert run.probabilities is not None
    names, said, true = run.checkpoint.class_names, int(run.predicted[k]), int(run.dataset.test_labels[k])
    sure = confidence_text(float(run.probabilities[k, said]))
    if said == true:
        return [element("span", "✓ ", element("b", names[said]), f" · {sure}")]
    return [
        element("span", element("b", "✗ ", names[said]), f" · {sure}"),
        element("span", "wrong: is ", element("b", names[true])),
    ]


def _verdict_class(run: TrainedRun, k: int) -> str:
    assert run.right is not None
    return "right" if run.right[k] else "wrong"


def shown(run: TrainedRun, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image as it is drawn: light signs on dark as ink on paper."""
    assert run.dataset is not None
    return 255 - pixels if is_drawn_as_ink(run.dataset) else pixels


def confidence_text(share: float) -> str:
    """Return a probability in percent; one that would round up to 100 % is given as "> 99.9 %".

    Examples
    --------
    >>> confidence_text(0.512), confidence_text(0.99999)
    ('51.2 %', '> 99.9 %')
    """
    return "> 99.9 %" if 0.9995 <= share < 1 else percent_text(share, 1)


# ---- what it looks at, and how sure it is -------------------------------------------------------------------


def _looks(drawn: Drawn) -> Content:
    found = [
        figure(
            drawn,
            "weights",
            "The weights of the first layer, those with the largest norm, all on one scale that is symmetric "
            "about 0.",
        ),
        figure(
            drawn,
            "saliency",
            "The gradient of the predicted class's output by each pixel. Where it is large, a small change of the pixel changes "
            "the answer most.",
        ),
    ]
    pictures = [picture for picture in found if picture is not None]
    return element("div", pictures, class_="pair") if pictures else None


def _calibration(drawn: Drawn) -> Content:
    run = drawn.run
    if run.probabilities is None or run.dataset is None:
        return None
    from tinygrad_mnist.plots.calibration import calibration

    found = calibration(run.probabilities, run.dataset.test_labels)
    n = int(found.counts.sum())
    filled = found.counts > 0
    sure = float(found.counts[filled] @ found.confidence[filled]) / n
    right = float(found.counts[filled] @ found.accuracy[filled]) / n
    way = "too sure of itself" if sure > right else "right more often than it is sure" if sure < right else "as sure as it is right"
    return join(
        element(
            "p",
            f"On average the model is {percent_text(sure)} sure, and {percent_text(right)} of its answers are right: it is {way}. "
            f"The expected calibration error is {percent_text(found.error)}: the mean distance between confidence and "
            "accuracy, over 15 bins.",
        ),
        figure(drawn, "calibration", "Points on the diagonal are as sure as they are right; below it the model is too sure."),
    )


# ---- the model --------------------------------------------------------------------------------------------


def _model(drawn: Drawn) -> Content:
    checkpoint = drawn.run.checkpoint
    blank = np.zeros((1, *checkpoint.image_shape), np.uint8)
    layers = model_table(checkpoint.model, Tensor(checkpoint.standardizer(blank)))
    rows = [
        (row.path, row.text, "-" if row.shape is None else shape_text(row.shape), f"{row.parameters:,}") for row in layers
    ]
    total = sum(row.parameters for row in layers)
    rows.append(("all", "", "", f"{total:,}"))
    parts: list[Content] = [
        element("p", f"{count_text(len(layers), 'layer')}, {count_text(total, 'parameter')}."),
        table(("name", "layer", "output", "parameters"), rows, "Layers of the model, and the shape that each puts out", words=(1,)),
    ]
    if drawn.graph is not None:
        link = (
            element("p", "To search and zoom it, open ", element("a", drawn.graph_page, href=drawn.graph_page), ".")
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
    known = {**run.checkpoint.origin, **{name: run.summary[name] for name in ("threads", "jit") if name in run.summary}}
    command, file = reproduction(recipe, known)
    words = command.replace(" --", "\n--").split("\n")  # an option is not broken between lines
    line = [[element("span", word, class_="word"), " "] for word in words]
    parts: list[Content] = [element("pre", element("code", line))]
    if file is not None:
        parts += [
            element("p", "No option says all that was changed in this recipe. Save this text as ", element("code", FILE), ":"),
            element("details", element("summary", FILE), element("pre", element("code", file))),
        ]
    if recipe.model_file is not None:
        parts.append(
            element("p", f"The model is built by {recipe.model_file}, whose SHA-256 is ", element("code", recipe.model_file.sha256), ".")
        )
    if run.summary.get("interrupted"):
        parts.append(element("p", "The command trains to the end; this run was ended by its user before."))
    parts.append(
        element("p", "Equal seeds give equal results on the same machine, with the same versions and number of threads.")
    )
    parts.append(table(("what", "value"), _facts(run), "What the run depended on", words=(1,)))
    changed = changes_text(recipe.changes()) if recipe.model_file is None else ""
    parts.append(element("p", f"Changed from the recipe {recipe.name}: {changed}.") if changed else None)
    values = [(name, value_text(value)) for name, value in recipe.to_dict().items() if name not in ("description", "model_file")]
    parts.append(
        element(
            "details",
            element("summary", "All values of the recipe"),
            table(("value", "is"), values, "Values of the recipe", words=(1,)),
        )
    )
    return join(*parts)


def _facts(run: TrainedRun) -> list[tuple[Content, Content]]:
    summary, origin = run.summary, run.checkpoint.origin
    facts: list[tuple[Content, Content]] = [
        ("directory", element("code", str(run.path.resolve()))),
        ("seed", str(origin.get("seed", "not known"))),
        ("threads", value_text(summary.get("threads")) if "threads" in summary else "not known"),
        ("compiled", _compiled(summary, origin)),
        ("data", element("code", str(origin.get("data")))),
    ]
    facts += [(f"SHA-256 of the {part}ing part" if part == "train" else f"SHA-256 of the {part} part", element("code", digest)) for part, digest in run.hashes.items()]
    versions = summary.get("versions")
    if isinstance(versions, Mapping):
        facts += [(str(name), str(version)) for name, version in versions.items()]
    return facts


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
        [element("h3", "Said during training"), element("ul", (element("li", notice) for notice in said))] if said else None,
        [element("h3", "Not in this report"), element("ul", (element("li", sentence) for sentence in missing))]
        if missing
        else None,
    )


Section = tuple[str, str, Callable[[Drawn], Content]]

SECTIONS: Final[tuple[Section, ...]] = (
    ("result", "Key numbers", _key_numbers),
    ("course", "How training went", _course),
    ("mistakes", "Where it errs", _mistakes),
    ("images", "What it sees", _images),
    ("looks", "What it looks at", _looks),
    ("calibration", "How sure it is", _calibration),
    ("model", "The model", _model),
    ("repeat", "How to repeat it", _repeat),
    ("notices", "Notices", _said),
)
"""The sections: an id, a heading, and a function that returns what is in it, nothing where nothing is known."""
