"""Write what results.json says: parts of docs/explanation/performance.md, the picture, the README's table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

from benchmarks import results
from benchmarks.harness import FileError, Table, Timing
from tinygrad_mnist.files import replacing

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "explanation" / "performance.md"
README = DOCS.parent / "README.md"
BEGIN = "<!-- begin: made by `python -m benchmarks`, from benchmarks/results.json -->"
END = "<!-- end -->"
WIDTH = 118
PARTS_PICTURE = "images/step_parts.svg"

METHOD = (
    "All rivals of a table ran in one process, on one thread, pinned to one core (which holds JAX to one "
    "thread too: it reads none of the variables for BLAS), and took turns: each round measures each of "
    "them once, every other round in the opposite order. The figures are medians over the rounds and, in "
    "brackets, quartiles; the ratios are ratios of medians. *tinygrad_mnist* and *PyTorch* alone are "
    "eager. *tinygrad_mnist, jit* and JAX compile the step as a whole; *torch.compile* compiles its "
    "forward and backward pass, and the optimiser is one kernel as it is.",
    "Everybody starts from the same weights and sees the same batches, and keeps running statistics. "
    "Before a time is believed, the losses of fifty steps must agree with ours to 1e-4 (absolute below 1, "
    "relative above). In the recipe they must for the first five steps, and to 1e-2 for fifty: real "
    "digits have pixels that are always blank, the gradient of which is rounding, and Adam makes whole "
    "steps of it. MyGrad and autograd bring no Adam with L2 and got that of the hand-written step; they are "
    "left out where that is another. "
    "scikit-learn's MLPClassifier has no batch norm; so it has a table of its own, of a network without.",
    "*NumPy by hand* is `benchmarks/hand_written.py`: no framework, gradients worked out on paper. *Its "
    "matrix products alone* are those of a step and nothing else, the least that it can take.",
    "Threads, memory and imports are measured in processes of their own, in turn as well. The time of an "
    "import is that of the statement, of sources that are compiled already, without the start of the "
    "interpreter; memory is the most that the whole process held. What compiling takes is the processor's "
    "time of the first calls of three steps, less that of the same calls without compiling. Services run "
    "in processes of their own on one core, and are asked in turn by one client on another; every answer is "
    "compared with the model's.",
    "`make bench` measures all of it again, and writes `benchmarks/results.json`, this section and the "
    "next, the picture, and the table in the README; `python -m benchmarks SUBJECT` measures one subject. "
    "PyTorch is the one peer that it does not install, as it would bring gigabytes for graphics cards: "
    "install it into `.venv` before, as pytorch.org says. The recipe and the memory need MNIST, in the "
    "directory that `TINYGRAD_MNIST_DATA` names. Who or what is missing is named and left out.",
)


def sections(found: Mapping[str, Any]) -> str:
    """Return the two sections: how it was measured, and the results."""
    return "\n\n".join(
        [
            "## How it was measured",
            *(fill(paragraph, WIDTH, break_on_hyphens=False) for paragraph in METHOD),
            *fill_all(circumstances(found)),
            "## Results",
            "![Our time as a share of each rival's, with the targets](../images/benchmarks.svg)",
            targets(found),
            *subjects(found),
        ]
    )


def fill_all(paragraphs: Iterator[str]) -> list[str]:
    """Wrap each."""
    return [fill(paragraph, WIDTH, break_on_hyphens=False) for paragraph in paragraphs]


def circumstances(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield paragraphs about the machine, the versions, and whether the machine was busy."""
    here = found["machine"]
    days = sorted(entry["measured"] for entry in found["subjects"].values() if "measured" in entry)
    versions = ", ".join(f"{name} {version}" for name, version in here["versions"].items())
    yield (
        f"Measured from {days[0]} to {days[-1]}, on {here['processor']}, {here['cores']} cores, "
        f"{here['system']}, with {versions}."
    )
    rounds = [f"{name} {entry['rounds']}" for name, entry in found["subjects"].items() if "rounds" in entry]
    if rounds:
        yield f"Rounds: {', '.join(rounds)}."
    shares = [table.share for table in tables_of(found) if table.share is not None]
    if shares and min(shares) < results.BUSY_SHARE:
        yield (
            f"**The machine was busy**: of its core, the process got between {min(shares):.0%} and "
            f"{max(shares):.0%}. The times are too long, and the ratios less certain than they look."
        )


def tables_of(found: Mapping[str, Any]) -> list[Table]:
    """Return all tables, in the order of the subjects."""
    entries = found["subjects"].values()
    return [results.from_plain(table) for entry in entries for table in entry.get("tables", ())]


def targets(found: Mapping[str, Any]) -> str:
    """Return a table of each target beside what was measured."""
    rows = ["| work | against | at most | measured | |", "|---|---|---|---|---|"]
    for table in tables_of(found):
        for target in table.targets:
            ratio = table.ratio(target.ours, target.against)
            measured = "" if ratio is None else results.shown(ratio, target)
            rows.append(
                f"| {results.work(table, target)} | {target.against} | {target.at_most:.2f} | {measured} | "
                f"{results.verdict(table, target)} |"
            )
    return "\n".join(rows)


def subjects(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of each subject, or the reason why there is none."""
    for name, entry in found["subjects"].items():
        if "skipped" in entry:
            yield f"*{name}* was left out: {entry['skipped']}."
        if name == "parts" and "tables" in entry:
            yield f"![Parts of a training step, ours and by hand](../{PARTS_PICTURE})"
        for table in map(results.from_plain, entry.get("tables", ())):
            yield f"### {table.title[0].upper()}{table.title[1:]}"
            yield rivals(table)
            yield from fill_all(f"{note}." for note in table.notes)
            if warning := results.disturbed(table):
                yield f"*{warning[0].upper()}{warning[1:]}.*"


def rivals(table: Table) -> str:
    """Return a table of what each rival took."""
    if not table.ours:
        rows = [f"| | {table.unit} |", "|---|---|"]
        for name, timing in table.timings.items():
            rows.append(f"| {name} | {spread(table, timing)} |")
        return "\n".join(rows)
    rows = [f"| | {table.unit} | ours takes |", "|---|---|---|"]
    for name, timing in table.timings.items():
        ratio = "" if name == table.ours else f"{table.ratio(table.ours, name):.2f} of it"
        rows.append(f"| {name} | {spread(table, timing)} | {ratio} |")
    return "\n".join(rows)


def spread(table: Table, timing: Timing) -> str:
    """Return the median and the quartiles as text."""
    low, median, high = (
        results.amount(value, table.unit) for value in (timing.low, timing.median, timing.high)
    )
    return f"{median} ({low} to {high})"


def in_short(found: Mapping[str, Any]) -> str:
    """Return the ratios of the training steps and of LeNet, for the README."""
    made = []
    for subject in ("training_step", "lenet"):
        entry = found["subjects"].get(subject, {})
        if tables := [results.from_plain(table) for table in entry.get("tables", ())]:
            made.append(ratios(tables))
    return "\n\n".join(made) or "Not measured here."


def ratios(tables: list[Table]) -> str:
    """Return a table of our times as shares of those of all rivals that there are targets for."""
    against = list(dict.fromkeys(target.against for table in tables for target in table.targets))
    rows = [
        f"| our time, as a share of that of | {' | '.join(against)} |",
        f"|---{'|---' * len(against)}|",
    ]
    for table in tables:
        for ours in (name for name in table.timings if name.startswith("tinygrad")):
            found = [table.ratio(ours, rival) for rival in against]
            shown = ["not measured" if ratio is None else f"{ratio:.2f}" for ratio in found]
            rows.append(f"| {table.title}: {ours} | {' | '.join(shown)} |")
    return "\n".join(rows)


def with_sections(page: Path, made: str) -> str:
    """Return a page with the part between the two markers replaced."""
    before, begin, rest = page.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise FileError(f"{page.name} needs the lines {BEGIN} and {END}, between which the results go")
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


def write() -> str | None:
    """Write the page, the README's table and the picture; return a sentence if that is not possible."""
    found = results.read()
    if not found:
        return f"there is no {results.FILE.name}; run all subjects first: make bench"
    try:
        texts = {PAGE: sections(found), README: in_short(found)}
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise FileError(
            f"{results.FILE.name} lacks what the page needs ({type(error).__name__}: {error}); "
            f"{results.REPLACE_IT}"
        ) from error
    for page, made in texts.items():
        text = with_sections(page, made)
        with replacing(page) as temporary:
            temporary.write_text(text, "utf-8")
    try:
        from benchmarks import chart, parts
    except ModuleNotFoundError as error:
        return f"the picture was not drawn, as {error.name} is not installed"
    tables = tables_of(found)
    chart.draw(tables, DOCS / "images" / "benchmarks.svg")
    chart.draw_parts([table for table in tables if table.title.startswith(parts.TITLE)], DOCS / PARTS_PICTURE)
    return None
