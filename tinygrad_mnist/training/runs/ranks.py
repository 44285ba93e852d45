"""A run by several processes: the first one writes, and all of them know where, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tinygrad_mnist.training.distributed.agreement import from_writer, require_equal
from tinygrad_mnist.training.distributed.communicator import Communicator
from tinygrad_mnist.training.loop.result import Fit
from tinygrad_mnist.training.recipe.recipes import Recipe
from tinygrad_mnist.training.runs.directory import LAST, RunDirectory


@contextmanager
def directory_of_all(
    communicator: Communicator | None, claim: Callable[[], RunDirectory]
) -> Iterator[RunDirectory]:
    """Let the process that writes claim a run directory, which is released at the end; the others name it.

    Raises
    ------
    RunError
        In all processes, if it cannot be claimed.
    """
    claimed: list[RunDirectory] = []

    def claim_it() -> tuple[Path, bool]:
        claimed.append(stack.enter_context(claim()))
        return claimed[0].path, claimed[0].replaces

    with ExitStack() as stack:
        path, replaces = from_writer(communicator, claim_it)
        if communicator is not None:
            communicator.checkpoint = path / LAST
        yield claimed[0] if claimed else stack.enter_context(RunDirectory.of_another(path, replaces))


def require_same_run(
    communicator: Communicator | None, recipe: Recipe, seed: int, jit: str, hashes: Mapping[str, str]
) -> None:
    """Raise an error in all processes if one of them is about to train something else.

    Parameters
    ----------
    communicator : Communicator or None
        The processes.
    recipe, seed, jit
        As `train` takes them.
    hashes : mapping
        The SHA-256 of each part of the data.

    Raises
    ------
    TrainingError
        If so; it names what differs, and where.
    """
    if communicator is None:
        return
    values = recipe.to_dict()
    del values["description"]
    if recipe.model_file is not None:  # which may lie in another place
        values["model_file"] = f"{recipe.model_file.function}, SHA-256 {recipe.model_file.sha256[:12]}"
    data = {f"the SHA-256 of the {part} part of the data": digest[:12] for part, digest in hashes.items()}
    facts = {**data, "seed": seed, "jit": jit, **values}
    require_equal(communicator, facts, "give all of them the same data and options")


def processes_of(result: Fit) -> dict[str, Any] | None:
    """Return what a summary says of the processes that trained; None of one. All of them call it."""
    communicator = result.communicator
    if communicator is None:
        return None
    found: list[tuple[str, float]] = communicator.gather((communicator.host, result.waiting_share))
    return {
        "ranks": communicator.size,
        "hosts": dict(Counter(host for host, _ in found)),
        "waiting_share": sum(share for _, share in found) / len(found),
        "lost": list(communicator.lost),
    }
