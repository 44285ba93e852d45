"""The results of a run, with its machine and versions: kept in results.json, and printed as tables."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.harness import CORES, UNITS, FileError, Table, Target, Timing
from tinygrad_mnist.files import write_json
from tinygrad_mnist.training.runs.run import versions

FILE = Path(__file__).with_name("results.json")
REPLACE_IT = f"run all subjects, or take it from git again: git checkout {FILE.parent.name}/{FILE.name}"
BUSY_SHARE = 0.95
"""Below this share of its core, the process was disturbed."""


def machine() -> dict[str, Any]:
    """Return the machine and the versions, by which results of another machine are told."""
    return {
        "processor": processor(),
        "cores": len(CORES) or os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {**versions(), **peers.versions()},
    }


def processor() -> str:
    """Its name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def load_average() -> float | None:
    """Return how many processes wanted to run in the last minute; None if the system does not say."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def busy(load: float | None) -> str | None:
    """Return a warning if others keep the machine busy before we begin."""
    if load is None or load <= 0.5 * (len(CORES) or os.cpu_count() or 1):
        return None
    return f"the machine is busy (load {load:.1f}): the times are too long, and the ratios uncertain"


def disturbed(table: Table) -> str | None:
    """Return a warning if the process did not have its core for itself."""
    if table.share is None or table.share >= BUSY_SHARE:
        return None
    return f"the machine was busy: this process got {table.share:.0%} of its core"


def verdict(table: Table, target: Target) -> str:
    """Return whether a target was met: ``met``, ``missed`` or ``not measured``."""
    ratio = table.ratio(target.ours, target.against)
    if ratio is None:
        return "not measured"
    return "met" if ratio <= target.at_most else "missed"


def shown(ratio: float, target: Target) -> str:
    """Return a ratio in two digits, or in three if it would look like the target that it misses."""
    short = f"{ratio:.2f}"
    return f"{ratio:.3f}" if ratio > target.at_most and short == f"{target.at_most:.2f}" else short


def work(table: Table, target: Target) -> str:
    """Return what a target is about: the table, and our variant if it has several."""
    return f"{table.title}: {target.ours}" if which(table, target) else table.title


def which(table: Table, target: Target) -> str:
    """Return our variant, if the table has several; nothing if it is the one that the table is about."""
    return "" if "tinygrad" in target.ours and target.ours == table.ours else target.ours


def amount(value: float, unit: str) -> str:
    """Three digits or more, in a unit of `UNITS`."""
    shown = value * UNITS[unit]
    return f"{shown:,.0f}" if shown >= 100 else f"{shown:.3g}"


def printed(table: Table) -> str:
    """Return a table for the terminal: medians, quartiles, ratios, and each target with its verdict."""
    width = max(map(len, table.timings))
    lines = [table.title, f"  {'':{width}}  {'median':>11}  {'quartiles':>17}   ours takes"]
    for name, timing in table.timings.items():
        spread = f"{amount(timing.low, table.unit)} to {amount(timing.high, table.unit)}"
        ratio = None if name == table.ours else table.ratio(table.ours, name)
        share = "" if ratio is None else f"{ratio:.2f} of it"
        median = f"{amount(timing.median, table.unit)} {table.unit}"
        lines.append(f"  {name:{width}}  {median:>11}  {spread:>17}   {share}".rstrip())
    for target in table.targets:
        ratio = table.ratio(target.ours, target.against)
        found = "" if ratio is None else f"{shown(ratio, target)}, "
        first = f"{variant} " if (variant := which(table, target)) else ""
        lines.append(
            f"  target: {first}at most {target.at_most:.2f} of {target.against}: "
            f"{found}{verdict(table, target).upper()}"
        )
    lines += [f"  {note}" for note in table.notes]
    if warning := disturbed(table):
        lines.append(f"  WARNING: {warning}")
    return "\n".join(lines)


def summary(tables: Iterable[Table]) -> str:
    """All targets of a run, a line each."""
    rows = [(table, target) for table in tables for target in table.targets]
    if not rows:
        return ""
    lines = ["targets"]
    for table, target in rows:
        ratio = table.ratio(target.ours, target.against)
        found = "   -" if ratio is None else shown(ratio, target)
        lines.append(
            f"  {found} of at most {target.at_most:.2f}  {verdict(table, target):12}  "
            f"{work(table, target)}, against {target.against}"
        )
    return "\n".join(lines)


def entry(tables: list[Table], load: float | None, rounds: int) -> dict[str, Any]:
    """Return a subject as results.json has it."""
    return {
        "rounds": rounds,
        "measured": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load": load,
        "tables": [plain(table) for table in tables],
    }


def plain(table: Table) -> dict[str, Any]:
    """Return a table as JSON has it, with its verdicts; seconds and bytes to four digits."""
    timings = {
        name: {key: float(f"{value:.4g}") for key, value in asdict(timing).items()}
        for name, timing in table.timings.items()
    }
    targets = [
        {
            **asdict(target),
            "ratio": None if (ratio := table.ratio(target.ours, target.against)) is None else round(ratio, 3),
            "verdict": verdict(table, target),
        }
        for target in table.targets
    ]
    share = None if table.share is None else round(table.share, 3)
    return {**asdict(table), "timings": timings, "targets": targets, "share": share}


def from_plain(values: Mapping[str, Any]) -> Table:
    """Return the table that `plain` was given, except for the digits."""
    return Table(
        **{
            **values,
            "timings": {name: Timing(**timing) for name, timing in values["timings"].items()},
            "targets": tuple(
                Target(target["ours"], target["against"], target["at_most"]) for target in values["targets"]
            ),
            "notes": tuple(values["notes"]),
        }
    )


def read() -> dict[str, Any]:
    """Return the content of results.json; nothing if there is no such file."""
    if not FILE.exists():
        return {}
    try:
        values: Any = json.loads(FILE.read_text("utf-8"))
    except ValueError as error:
        raise FileError(f"{FILE.name} is no JSON ({error}); {REPLACE_IT}") from None
    if not (isinstance(values, dict) and {"machine", "subjects"} <= values.keys()):
        raise FileError(f"{FILE.name} has no results, which are a machine and its subjects; {REPLACE_IT}")
    return values


def keep(subjects: Mapping[str, Any], *, all_of_them: bool) -> str | None:
    """Write results.json, whole or not at all.

    A run of some subjects replaces those in the file, if it was of this machine with these versions; one that
    was left out this time leaves there what was measured before.

    Returns
    -------
    str or None
        A sentence if nothing was written.
    """
    here = machine()
    if not all_of_them:
        before = read()
        if before and before["machine"] != here:
            return (
                f"{FILE.name} is of another machine or of other versions and was left as it is; "
                "run all subjects to replace it"
            )
        earlier = before.get("subjects", {})
        new = {
            name: entry for name, entry in subjects.items() if name not in earlier or "skipped" not in entry
        }
        subjects = {**earlier, **new}
    write_json(FILE, {"machine": here, "subjects": subjects})
    return None
