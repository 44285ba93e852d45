"""The warning of modules and parameters that are in a plain list or dict, which registers nothing."""

from __future__ import annotations

import sys
import warnings
from collections import deque
from itertools import islice
from typing import Any, Final

PLAIN_CONTAINERS: Final = (list, tuple, dict, set, frozenset, deque)
"""The containers that register nothing of what is in them."""

SEARCHED: Final = 100
"""How many elements of a container are looked at: it may be a vocabulary, or a history that grows."""

Keys = tuple[Any, ...]
"""The keys that lead to an element of nested containers; of a set, its place in the iteration."""


def members_in(container: Any, kinds: tuple[type, ...]) -> list[tuple[Keys, Any]]:
    """Return what is of some kinds in nested plain containers, with its keys; nothing of anything else.

    Only the first `SEARCHED` elements of each container are looked at, and as many containers.
    """
    found: list[tuple[Keys, Any]] = []
    waiting: list[tuple[Keys, Any]] = [((), container)] if isinstance(container, PLAIN_CONTAINERS) else []
    for keys, holder in waiting:  # it grows meanwhile
        pairs = holder.items() if isinstance(holder, dict) else enumerate(holder)
        for key, value in islice(pairs, SEARCHED):
            if isinstance(value, kinds):
                found.append(((*keys, key), value))
            elif isinstance(value, PLAIN_CONTAINERS) and len(waiting) < SEARCHED:
                waiting.append(((*keys, key), value))
    return found


def warn_of_member(owner: str, name: str, container: Any, keys: Keys, member: Any, is_module: bool) -> None:
    """Warn of a module or parameter that is not registered, and say where it is and what registers it.

    Parameters
    ----------
    owner, name : str
        The class of the module and its attribute.
    container : object
        The attribute.
    keys : tuple
        Those that lead to the member.
    member : object
        The module or parameter.
    is_module : bool
        Whether it is a module.
    """
    what, lost = "parameters", ""
    if is_module:
        what, lost = "modules", ", and train() and eval() do not reach them"
    place, wanted = _place_and_remedy(container, keys, is_module)
    warnings.warn(
        f"{owner}.{name} is a plain {type(container).__name__}, and {name}{place} in it is a "
        f"{type(member).__name__}: {what} in it are not registered, so they are not among parameters() and "
        f"not trained, and not in the state dict{lost}. Write self.{name} = {wanted}(...); or, to keep them "
        f"out on purpose, object.__setattr__(self, {name!r}, ...)",
        stacklevel=_levels_to_caller(),
    )


def _place_and_remedy(container: Any, keys: Keys, is_module: bool) -> tuple[str, str]:
    """Return the indices that lead to a member, as ``["a"][0]``, and the containers that register it."""
    place, wanted = "", []
    for number, key in enumerate(keys, 1):
        is_dict = isinstance(container, dict)
        kind = "Module" if is_module or number < len(keys) else "Parameter"
        wanted.append(f"nn.{kind}{'Dict' if is_dict else 'List'}")
        if isinstance(container, (set, frozenset)):
            container = next(islice(container, key, None))
        else:
            place += f"[{key!r}]"
            container = container[key]
    return place, " of ".join(wanted)


def _levels_to_caller() -> int:
    """Return the ``stacklevel`` at which a warning points at the first line outside of this package."""
    package = __name__.partition(".")[0]
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        level, frame = level + 1, frame.f_back
    return level
