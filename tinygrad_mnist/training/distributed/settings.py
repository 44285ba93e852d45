"""The settings inside of the model, loss, optimiser and schedule, by name, so that processes compare them.

Settings are public attributes that are plain values. Weights and generators are none: all processes take
those of the first one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import is_dataclass
from enum import Enum
from typing import Any, Final, NamedTuple

import numpy as np

from tinygrad_mnist import nn
from tinygrad_mnist.optim import LRScheduler, Optimizer
from tinygrad_mnist.training.distributed.agreement import require_equal
from tinygrad_mnist.training.distributed.communicator import Communicator

_ADVICE: Final = (
    "give each of them the same; an attribute that may differ has a name that begins with an underscore"
)

_NO_SETTINGS: Final = {"training", "param_groups", "defaults"}
"""Attributes that are compared elsewhere, or taken from the first process."""

_LONGEST: Final = 50
"""Characters of a value that are shown whole."""


class Settings(NamedTuple):
    """Settings by name: those of attributes, and what `repr` shows besides.

    Parameters
    ----------
    attributes, texts : dict
        Texts by name.
    """

    attributes: dict[str, str]
    texts: dict[str, str]

    @classmethod
    def of(cls, model: nn.Module, loss: Any, optimizer: Optimizer, schedule: LRScheduler | None) -> Settings:
        """Return those of the objects of a training.

        Examples
        --------
        >>> from tinygrad_mnist import optim
        >>> model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.2))
        >>> settings = Settings.of(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1), None)
        >>> settings.attributes["p of layer 1 of the model"], settings.attributes["lr of parameter group 0"]
        ('0.2', '0.1')
        """
        attributes: dict[str, str] = {}
        texts: dict[str, str] = {}
        for place, owner in _owners(model, loss, optimizer, schedule):
            attributes[f"the class of {place}"] = type(owner).__qualname__
            attributes.update((f"{name} of {place}", text) for name, text in _attributes(owner))
            shown = owner.extra_repr() if isinstance(owner, nn.Module) else ""
            texts[f"what repr shows of {place}"] = _short(shown)
        if not isinstance(loss, nn.Module):  # a function, or a partial call of one
            texts["what repr shows of the loss"] = _short(repr(loss))
        return cls({**attributes, **groups_of(optimizer)}, texts)

    def require_same(self, communicator: Communicator) -> None:
        """Raise an error in all processes if one has other settings.

        Raises
        ------
        TrainingError
            The sentence names what differs, and the values with their ranks and hosts.
        """
        digest = hashlib.sha256(repr(self).encode()).hexdigest()
        if len(set(communicator.gather(digest))) > 1:  # all of them are long
            for facts in self:
                require_equal(communicator, facts, _ADVICE)


def groups_of(optimizer: Optimizer) -> dict[str, str]:
    """Return the options of the parameter groups of an optimiser, as texts by name."""
    return {
        f"{name} of parameter group {number}": text
        for number, group in enumerate(optimizer.param_groups)
        for name, value in group.items()
        if name != "params" and (text := _text(value)) is not None
    }


def _owners(
    model: nn.Module, loss: Any, optimizer: Optimizer, schedule: LRScheduler | None
) -> Iterator[tuple[str, Any]]:
    """Yield the objects that have settings, with their places."""
    for whole, owner in (("the model", model), ("the loss", loss)):
        if isinstance(owner, nn.Module):
            for path, module in owner.named_modules():
                yield f"layer {path} of {whole}" if path else whole, module
        else:
            yield whole, owner
    yield "the optimiser", optimizer
    if schedule is not None:
        yield from _schedules(schedule, "the schedule")


def _schedules(schedule: LRScheduler, place: str) -> Iterator[tuple[str, LRScheduler]]:
    """Yield a schedule, and those that it is made of."""
    yield place, schedule
    for values in vars(schedule).values():
        if isinstance(values, list) and all(isinstance(one, LRScheduler) for one in values):
            for number, part in enumerate(values):
                yield from _schedules(part, f"part {number} of {place}")


def _attributes(owner: Any) -> Iterator[tuple[str, str]]:
    """Yield the settings of an object by name."""
    for name, value in getattr(owner, "__dict__", {}).items():
        if not name.startswith("_") and name not in _NO_SETTINGS and (text := _text(value)) is not None:
            yield name, text


def _text(value: Any) -> str | None:
    """Return a value as a text by which it is compared, and shown; None of what is no plain value."""
    text = _plain(value)
    return None if text is None else _short(text)


def _plain(value: Any) -> str | None:
    """Return the text of a plain value; None of any other."""
    if isinstance(value, Enum):
        return str(value)
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, np.dtype):
        return str(value)
    if isinstance(value, type):
        return value.__qualname__
    if isinstance(value, Mapping):
        return _joined([(str(name), _plain(entry)) for name, entry in value.items()])
    if isinstance(value, AbstractSet):
        return _joined(sorted(("", _plain(entry) or "") for entry in value))
    if isinstance(value, list | tuple):
        return _joined([("", _plain(entry)) for entry in value])
    return repr(value) if is_dataclass(value) else None


def _joined(parts: Sequence[tuple[str, str | None]]) -> str | None:
    """Return the text of a container; None where it has something that is no plain value."""
    texts = [f"{name}={text}" if name else text for name, text in parts if text]
    return f"({', '.join(texts)})" if len(texts) == len(parts) else None


def _short(text: str) -> str:
    """Return a text without addresses in memory; of a long one the beginning, and a hash."""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", text)
    if len(text) <= _LONGEST:
        return text
    return f"{text[:30]}... (SHA-256 {hashlib.sha256(text.encode()).hexdigest()[:12]})"
