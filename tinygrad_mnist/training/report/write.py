"""Reports as files: of a run into its directory, of several into one page."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tinygrad_mnist import plots
from tinygrad_mnist.data import Dataset
from tinygrad_mnist.files import write
from tinygrad_mnist.numbers import bytes_text, printable
from tinygrad_mnist.training.errors import RunError, writing
from tinygrad_mnist.training.recipe.model_file import ModelFile
from tinygrad_mnist.training.report.comparison import comparison_page, curve_rows, is_comparison, named
from tinygrad_mnist.training.report.drawn import Drawn
from tinygrad_mnist.training.report.page import report_page
from tinygrad_mnist.training.report.pictures import WIDTH, Picture, choose_examples, draw
from tinygrad_mnist.training.report.trained_run import TrainedRun, read_run
from tinygrad_mnist.training.runs.directory import GRAPH_PAGE, GRAPH_PICTURE, PICTURE_FOLDER, REPORT

LARGEST_GRAPH: Final = 1 << 20
"""Bytes of the largest graph that is put into the page; a larger one is left to ``graph.html``."""

SQUEEZED: Final = 4
"""How many times as long the longest of several trainings is as the shortest, before epochs are no time."""


def write_report(run: TrainedRun) -> Path:
    """Write ``report.html`` and the pictures of a run into its directory.

    The page is written whole or not at all. What is not known, or cannot be drawn, is left out with a
    sentence.

    Parameters
    ----------
    run : TrainedRun
        As `read_run` returns it.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    RunError
        If it cannot be written.
    """
    examples = choose_examples(run)
    pictures, missing = draw(run, examples, run.path / PICTURE_FOLDER)
    graph, reason = _graph(run.path)
    page = report_page(
        Drawn(
            run=run,
            pictures={picture.name: picture for picture in pictures},
            examples=examples,
            graph=graph,
            graph_page=GRAPH_PAGE if (run.path / GRAPH_PAGE).is_file() else None,
            missing=[*missing, *([] if reason is None else [reason])],
        )
    )
    path = run.path / REPORT
    with writing(path):
        write(path, page)
    return path


def _graph(directory: Path) -> tuple[str | None, str | None]:
    """Return the graph that was drawn of a step, or a sentence on why there is none."""
    path = directory / GRAPH_PICTURE
    try:
        size = path.stat().st_size
        if size > LARGEST_GRAPH:
            return (
                None,
                f"{GRAPH_PICTURE} is left out, as it has {bytes_text(size)}; open it beside this page.",
            )
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return None, f"There is no {GRAPH_PICTURE}; 'tinygrad-mnist graph {directory} -o {path}' draws it."
    except (OSError, ValueError) as error:
        return None, f"{GRAPH_PICTURE} cannot be read ({printable(str(error))})."
    start = text.find("<svg")
    if start < 0 or "<script" in text or not text.rstrip().endswith("</svg>"):
        return None, f"{GRAPH_PICTURE} is no picture that this package drew."
    return text[start:], None


# ---- several runs -----------------------------------------------------------------------------------------


def write_comparison(
    directories: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str] = "comparison.html",
    *,
    model: ModelFile | None = None,
    notify: Callable[[str], None] | None = None,
) -> Path:
    """Write a page that compares runs.

    Parameters
    ----------
    directories : sequence of path-like
        Two run directories or more.
    out : path-like
        The page. An older comparison there is replaced, any other file stays.
    model, notify
        As `read_run` takes them.

    Returns
    -------
    Path

    Raises
    ------
    TrainingError
        If a run has no checkpoint that can be read, or the page cannot be written.
    """
    require_comparison_path(out)
    datasets: dict[str, Dataset] = {}
    runs = named([read_run(path, model=model, notify=notify, datasets=datasets) for path in directories])
    pictures, missing = _curves(runs)
    page = comparison_page(runs, pictures, missing)
    with writing(out):
        return write(out, page)


def require_comparison_path(out: str | os.PathLike[str]) -> None:
    """Raise an error if a file is there that is no comparison."""
    if os.path.exists(out) and not is_comparison(out):
        raise RunError(f"{os.fspath(out)} is there, and no comparison of runs; name another file by --out")


def _curves(runs: Mapping[str, TrainedRun]) -> tuple[list[Picture], list[str]]:
    rows = {name: curve_rows(run) for name, run in runs.items()}
    known = {name: found for name, found in rows.items() if found}
    missing = [f"{name} has no evaluations to draw." for name in rows if name not in known]
    if not known:
        return [], missing
    time = _squeezed(known)
    pictures: list[Picture] = []
    for quantity in ("loss", "accuracy"):
        columns = {"step", "epoch", f"train_{quantity}", f"validation_{quantity}"}
        some = {
            name: [{key: row[key] for key in columns & row.keys()} for row in found]
            for name, found in known.items()
        }
        try:
            figure = plots.plot_comparison(some, title=quantity.capitalize(), time=time, width=WIDTH)
        except (ImportError, ValueError) as error:
            return pictures, [*missing, f"No curves were drawn: {printable(str(error))}"]
        pictures.append(Picture(quantity, plots.svg(figure)))
    return pictures, missing


def _squeezed(rows: Mapping[str, list[dict[str, Any]]]) -> str | None:
    """Give rows the share of their training as time, where the shortest would be lost in a corner.

    Returns what the axis of time is then called; None where it stays.
    """
    lasts = {name: found[-1].get("epoch") or 0.0 for name, found in rows.items()}
    if min(lasts.values()) <= 0 or max(lasts.values()) < SQUEEZED * min(lasts.values()):
        return None
    for name, found in rows.items():
        for row in found:
            row["epoch"] = 100 * row["epoch"] / lasts[name]
    return "percent of the training"
