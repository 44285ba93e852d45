"""Where in a model an error arose: its path, put before the message as it passes through the modules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass
class Blame:
    """What is known of an error so far: the module it left last, and the path from there to its origin."""

    message: str  # as it was raised
    note: str  # what was added to an error whose message cannot be changed
    kind: str  # the class of the module that raised it
    path: str  # from the module it left last
    module: int  # the identity of that module


def blame(error: Exception, module: object, children: Iterable[tuple[str, object]]) -> None:
    """Say in the message of an error that it left ``module``, under which name it came from a child.

    An error of the module ``2`` of a model becomes ``2 (Linear): input of shape ...``. The error stays the
    same object: type, traceback and cause are kept. Where the message is not the error's one argument, a
    note is added instead.

    Parameters
    ----------
    error : Exception
        The error on its way out.
    module : object
        The module that it leaves.
    children : iterable of (str, object)
        The modules in it, by path; read only when the error came from one of them.
    """
    known: Blame | None = getattr(error, "_blame", None)
    name = None
    if known is not None:
        name = next((name for name, child in children if id(child) == known.module), None)
    if known is None or name is None:
        known = Blame(str(error), "", type(module).__name__, "", id(module))
        error._blame = known  # type: ignore[attr-defined]
    else:
        known.path = f"{name}.{known.path}" if known.path else name
        known.module = id(module)
    _write(error, known)


def _write(error: Exception, known: Blame) -> None:
    where = f"{known.path} ({known.kind})" if known.path else known.kind
    if not known.note:
        before, text = error.args, f"{where}: {known.message}"
        error.args = (text,)
        if str(error) == text and len(before) == 1:
            return
        error.args = before
    if known.note:
        error.__notes__.remove(known.note)
    known.note = f"in {where}"
    error.add_note(known.note)
