"""The runs in a directory, each in a row: what was trained, how well, when, and whether it ended."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from tinygrad_mnist.files import is_locked
from tinygrad_mnist.numbers import printable
from tinygrad_mnist.training.checkpoints.checkpoint import recipe_of_checkpoint
from tinygrad_mnist.training.errors import RunError, TrainingError
from tinygrad_mnist.training.recipe.recipes import OF_THE_LAYERS, Recipe
from tinygrad_mnist.training.report.processes import processes
from tinygrad_mnist.training.runs.directory import CHECKPOINT, LAST, LOCK, METRICS, SUMMARY

_LARGEST: Final = 1 << 26

FINISHED, INTERRUPTED, RUNNING, INCOMPLETE, BROKEN = (
    "finished",
    "interrupted",
    "running",
    "incomplete",
    "broken",
)
"""The states of a run.

``finished``: it came to its end. ``interrupted``: the user ended it, and it was evaluated. ``running``: a
process holds its lock. ``incomplete``: it has no summary and nobody works on it: it was killed, or diverged.
``broken``: its files cannot be read.
"""


@dataclass(frozen=True)
class RunRow:
    """A run directory in a row of a list; what is not known is None.

    Parameters
    ----------
    path : str
        The directory.
    state : str
        ``finished``, ``interrupted``, ``running``, ``incomplete`` or ``broken``.
    time : str
        The time of its last file, in ISO 8601.
    recipe : str or None
        The recipe's name.
    changes : dict
        The values that differ from the recipe of that name.
    data : str or None
        The name of the data set.
    seed : int or None
        The root of its randomness.
    test_accuracy, validation_accuracy : float or None
        Of the state that was kept, 0 to 1; until a run ends the validation accuracy is that of the last
        evaluation.
    epochs, seconds : float or None
        Passes that were done, and their time.
    note : str
        The fault of a broken one.
    processes : int or None
        How many processes trained together, of a run that has ended.
    """

    path: str
    state: str
    time: str
    recipe: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    data: str | None = None
    seed: int | None = None
    test_accuracy: float | None = None
    validation_accuracy: float | None = None
    epochs: float | None = None
    seconds: float | None = None
    note: str = ""
    processes: int | None = None

    @property
    def name(self) -> str:
        """The name of the directory."""
        return os.path.basename(self.path)

    @property
    def model(self) -> str | None:
        """The file and function that build the model, as in ``soft.py:softy``; None without one."""
        found = self.changes.get("model_file")
        if not isinstance(found, Mapping):
            return None
        return printable(f"{os.path.basename(str(found.get('path')))}:{found.get('function')}")

    @property
    def training_changes(self) -> dict[str, Any]:
        """The changes but for those that say that a file builds the model."""
        left_out = () if self.model is None else ("model", "model_file", *OF_THE_LAYERS)
        return {name: value for name, value in self.changes.items() if name not in left_out}

    def to_dict(self) -> dict[str, Any]:
        """Return the row as plain data."""
        return asdict(self)


ORDERS: Final[Mapping[str, Callable[[RunRow], Any]]] = {
    "time": lambda row: row.time,
    "accuracy": lambda row: -1.0 if row.test_accuracy is None else row.test_accuracy,
    "name": lambda row: row.name,
    "seconds": lambda row: -1.0 if row.seconds is None else row.seconds,
}
"""What a list can be sorted by, ascending: the latest, and the best, come last, where a terminal ends."""


def list_runs(parent: str | os.PathLike[str] = "runs", order: str = "time") -> list[RunRow]:
    """Return the run directories in a directory.

    A directory that has none of a run's files is none, and left out. What is broken is a row, never an error.

    Parameters
    ----------
    parent : path-like
        The directory that holds them; or one run.
    order : str
        A name in `ORDERS`.

    Returns
    -------
    list of RunRow

    Raises
    ------
    RunError
        If the directory itself cannot be read.
    ValueError
        If there is no such order.
    """
    if order not in ORDERS:
        raise ValueError(f"there is no order {order!r}; expected one of {', '.join(ORDERS)}")
    folder = Path(os.path.expanduser(parent))
    try:
        paths = [folder] if _is_run(folder) else [path for path in folder.iterdir() if _is_run(path)]
    except OSError as error:
        raise RunError(f"{folder} cannot be read ({error.strerror or error})") from error
    return sorted((_row(path) for path in sorted(paths)), key=ORDERS[order])


def _is_run(path: Path) -> bool:
    """Return whether a path is a directory with a file of a run."""
    return any((path / name).is_file() for name in (SUMMARY, METRICS, CHECKPOINT, LAST))


def _row(path: Path) -> RunRow:
    """Return the row of a run directory, whatever is in it."""
    time = _time(path)
    try:
        running = is_locked(path / LOCK)
        summary = None if running else _summary(path)
        if summary is not None:
            return _finished(path, time, summary)
        return _without_summary(path, time, RUNNING if running else INCOMPLETE)
    except (OSError, ValueError, RecursionError, TypeError, AttributeError) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return RunRow(str(path), BROKEN, time, note=printable(" ".join(text.split()))[:200])


def _time(path: Path) -> str:
    """Return when a run wrote its last file of its own, to the second, in the time of this place."""
    times = []
    for name in (SUMMARY, METRICS, CHECKPOINT, LAST):
        try:
            times.append((path / name).stat().st_mtime)
        except OSError:
            continue
    return datetime.fromtimestamp(max(times, default=0)).isoformat(timespec="seconds", sep=" ")


def _summary(path: Path) -> dict[str, Any] | None:
    """Return the summary; None if there is none.

    Raises
    ------
    ValueError
        If it is none of a run.
    """
    try:
        with (path / SUMMARY).open(encoding="utf-8") as file:
            found = json.loads(file.read(_LARGEST))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{SUMMARY} is no JSON") from error
    if not isinstance(found, dict) or not isinstance(found.get("recipe"), str):
        raise ValueError(f"{SUMMARY} is none of a run")
    return found


def _finished(path: Path, time: str, summary: Mapping[str, Any]) -> RunRow:
    changes = summary.get("changes")
    seed = summary.get("seed")
    return RunRow(
        path=str(path),
        state=INTERRUPTED if summary.get("interrupted") else FINISHED,
        time=time,
        recipe=printable(summary["recipe"]),
        changes=changes if isinstance(changes, dict) else {},
        data=_text(summary.get("data")),
        seed=seed if isinstance(seed, int) else None,
        test_accuracy=_number(summary.get("test_accuracy")),
        validation_accuracy=_number(summary.get("validation_accuracy")),
        epochs=_number(summary.get("epochs")),
        seconds=_number(summary.get("train_seconds")),
        processes=1 if (several := processes(summary)) is None else several.ranks,
    )


def _without_summary(path: Path, time: str, state: str) -> RunRow:
    """Return the row of a run that has not ended: from its checkpoint, and the last evaluation."""
    recipe: Recipe | None = None
    for name in (LAST, CHECKPOINT):
        if (path / name).is_file():
            try:
                recipe = recipe_of_checkpoint(path / name)
                break
            except TrainingError as error:
                if state != RUNNING and name == CHECKPOINT:
                    raise ValueError(str(error)) from error
    last = _last_record(path / METRICS)
    return RunRow(
        path=str(path),
        state=state,
        time=time,
        recipe=None if recipe is None else printable(recipe.name),
        changes={} if recipe is None else recipe.changes(),
        validation_accuracy=_number(last.get("validation_accuracy")),
        epochs=_number(last.get("epoch")),
        seconds=_number(last.get("seconds")),
    )


def _last_record(path: Path) -> Mapping[str, Any]:
    """Return the last evaluation; nothing where there is none."""
    try:
        with path.open(encoding="utf-8") as file:
            lines = file.read(_LARGEST).splitlines()
        found = json.loads(lines[-1]) if lines else {}
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return printable(value) if isinstance(value, str) else None


def changes_text(changes: Mapping[str, Any]) -> str:
    """Return changes to a recipe in a line; None is written as in files of recipes.

    Examples
    --------
    >>> changes_text({"lr": 0.1, "hidden": [64, 32], "clip_norm": None})
    'lr 0.1, hidden 64,32, clip_norm none'
    """
    return ", ".join(f"{name} {value_text(value)}" for name, value in changes.items())


def value_text(value: Any) -> str:
    """Return a value of a recipe in a line.

    Examples
    --------
    >>> value_text([256, 128]), value_text(None), value_text(True), value_text(())
    ('256,128', 'none', 'yes', 'none')
    """
    if value is None or (isinstance(value, Sequence) and not value):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        texts = any(isinstance(entry, str) for entry in value)
        return printable((", " if texts else ",").join(map(str, value)))
    if isinstance(value, Mapping):
        return printable(", ".join(f"{key} {entry}" for key, entry in value.items()))
    return f"{value:g}" if isinstance(value, float) else printable(str(value))
