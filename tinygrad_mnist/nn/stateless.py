"""Calls of a module with other parameters and buffers than its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from tinygrad_mnist.engine.errors import as_array
from tinygrad_mnist.engine.structure import structure_changed
from tinygrad_mnist.engine.surroundings import surroundings
from tinygrad_mnist.engine.tape import recording
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn.module import BUFFER, PARAMETER, UNSAVED_BUFFER, Module

State = Mapping[str, Any]

Slot = tuple[Module, str]
"""Where a parameter or buffer lies: its module, and its name in it."""


def functional_call(
    module: Module,
    state: State | Sequence[State],
    *inputs: Any,
    tie_weights: bool = True,
    strict: bool = False,
    **options: Any,
) -> Any:
    """Call a module with the values of a state in the place of its own parameters and buffers.

    The call is a function of the state, which can be differentiated: through an update of the weights, too,
    as meta-learning does. The module itself has its own values again afterwards, also after an error.

    Parameters
    ----------
    module : Module
        The module.
    state : mapping, or sequence of mappings
        Tensors or arrays by the names of ``named_parameters`` and ``named_buffers``. What it does not name is
        the module's own. Buffers that the call writes, such as running statistics, are written in the state.
    *inputs, **options
        What the module is called with. As in PyTorch, they may also be given as one tuple, and a dict of
        options behind it.
    tie_weights : bool
        Whether a parameter that stands under several names takes the value of one of them under all.
    strict : bool
        Whether the state must name all parameters and buffers. A name that the module does not have is an
        error in any case.

    Returns
    -------
    object
        What the module returns.

    Raises
    ------
    TypeError
        If what is called is no module, or the state no mapping.
    ValueError
        If it does not fit; the one message lists every name that is unexpected, missing or given several
        values, and every wrong shape. The module has not been called.

    Notes
    -----
    While it runs, the module has the other values for everybody: another thread must not call it.

    References
    ----------
    Finn, Abbeel & Levine (2017), "Model-agnostic meta-learning for fast adaptation of deep networks",
    equation 1, is the example.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import functional_call, grad, nn
    >>> model, x, y = nn.Linear(2, 1, rng=0), np.ones((3, 2), np.float32), np.ones((3, 1), np.float32)
    >>> def loss(weights):
    ...     return nn.functional.mse_loss(functional_call(model, weights, x), y)
    >>> def loss_after_a_step(weights):
    ...     slopes = grad(loss)(weights)
    ...     return loss({name: weights[name] - 0.1 * slopes[name] for name in weights})
    >>> gradient = grad(loss_after_a_step)(dict(model.named_parameters()))
    >>> {name: slope.shape for name, slope in gradient.items()}
    {'weight': (1, 2), 'bias': (1,)}
    """
    if not isinstance(module, Module):
        raise TypeError(
            f"functional_call was given {module!r} to call; expected a Module: call a function of arrays "
            "itself, and differentiate it by `grad`"
        )
    values = _merged(state)
    slots = _slots(module)
    wanted, problems = _by_slot(values, slots, tie_weights)
    if strict:
        given = {slots[name] for name in values if name in slots}
        tied = {id(_value(slot)) for slot in given} if tie_weights else set()
        problems += [
            f"missing: {name} of shape {_value(slot).shape}"
            for name, slot in slots.items()
            if slot not in given and id(_value(slot)) not in tied
        ]
    if problems:
        raise ValueError("\n  - ".join([f"the state does not fit this {type(module).__name__}:", *problems]))
    inputs, options = _unpacked(inputs, options)
    with _replaced(wanted):
        out = module(*inputs, **options)
        _return_buffers(state, slots, wanted)
    return out


def _merged(state: State | Sequence[State]) -> dict[str, Any]:
    """Return the entries of one mapping, or of several."""
    states: Any = [state] if isinstance(state, Mapping) else state
    if not isinstance(states, Sequence) or not all(isinstance(each, Mapping) for each in states):
        raise TypeError(
            f"a state has Tensors or arrays by name, but a {type(state).__name__} was given; "
            "expected a dict such as dict(model.named_parameters()), or a tuple of dicts"
        )
    merged: dict[str, Any] = {}
    for each in states:
        if twice := [name for name in each if name in merged]:
            raise ValueError(f"{twice[0]!r} is in two of the given states; expected each name in one")
        merged.update(each)
    return merged


def _slots(module: Module) -> dict[str, Slot]:
    """Return where each parameter and buffer lies, by all its names."""
    return {
        f"{path}.{name}" if path else name: (owner, name)
        for path, owner in module._everywhere()
        for name, _ in owner._named(PARAMETER, BUFFER, UNSAVED_BUFFER)
    }


def _value(slot: Slot) -> Any:
    owner, name = slot
    return vars(owner)[name]


def _by_slot(
    values: dict[str, Any], slots: dict[str, Slot], tie_weights: bool
) -> tuple[dict[Slot, Any], list[str]]:
    """Return the new value of each slot, and what is wrong with the given ones."""
    problems = [f"unexpected: {name}" for name in values if name not in slots]
    tied: dict[int, list[Slot]] = {}
    for slot in dict.fromkeys(slots.values()):
        tied.setdefault(id(_value(slot)), []).append(slot)
    wanted: dict[Slot, Any] = {}
    names: dict[Slot, str] = {}
    for name, value in values.items():
        if name not in slots:
            continue
        own = slots[name]
        try:
            new = _as_value(own, value)
        except (TypeError, ValueError) as error:  # no numbers, or a ragged list
            problems.append(f"{name}: {error}")
            continue
        if new.shape != _value(own).shape:
            problems.append(f"{name}: shape {new.shape} was given; expected {_value(own).shape}")
        for slot in tied[id(_value(own))] if tie_weights else [own]:
            if slot in wanted and not _same(wanted[slot], new):
                problems.append(
                    f"{names[slot]} and {name} are one {own[0]._registered[own[1]]} of this model, and were "
                    "given two values; leave one of them out, as named_parameters() does, or untie them by "
                    "tie_weights=False"
                )
                break
            wanted[slot], names[slot] = new, name
    return wanted, problems


def _as_value(slot: Slot, value: Any) -> Any:
    """Return a given value as what is put into a slot: a Tensor for a parameter, an array for a buffer."""
    owner, name = slot
    if owner._registered[name] == PARAMETER:
        return value if isinstance(value, Tensor) else Tensor(value)
    if isinstance(value, Tensor) and value.requires_grad and recording.get():
        return value  # it is differentiated by a buffer
    return value.data if isinstance(value, Tensor) else as_array(value)


def _same(one: Any, other: Any) -> bool:
    """Return whether two values given for one parameter are one: the same object, or equal constants."""
    if one is other:
        return True
    if any(isinstance(value, Tensor) and value.requires_grad for value in (one, other)):
        return False  # a gradient by one of them would lack that by the other
    return one.shape == other.shape and bool(np.all(np.asarray(one) == np.asarray(other)))


def _unpacked(inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what a module is to be called with, if it was given as PyTorch has it: a tuple, and a dict."""
    match inputs:
        case (tuple(args),):
            return args, options
        case (tuple(args), dict(named)):
            return args, {**named, **options}
    return inputs, options


@contextmanager
def _replaced(wanted: dict[Slot, Any]) -> Iterator[None]:
    """Put values into slots, and afterwards what was there before, whatever happened."""
    before = {slot: _value(slot) for slot in wanted}
    token = surroundings.set((*surroundings.get(), partial(_replaced, wanted)))
    try:
        for (owner, name), value in wanted.items():
            vars(owner)[name] = value
        structure_changed()
        yield
    finally:
        surroundings.reset(token)
        for (owner, name), value in before.items():
            vars(owner)[name] = value
        structure_changed()


def _return_buffers(state: Any, slots: dict[str, Slot], wanted: dict[Slot, Any]) -> None:
    """Put into the given states the arrays that the call assigned to buffers; most are written in place."""
    for each in [state] if isinstance(state, Mapping) else state:
        if not isinstance(each, MutableMapping):
            continue
        for name, given in each.items():
            owner, own = slots[name]
            new = vars(owner).get(own)
            # A number cannot be written into: an array was made of it.
            is_new = new is not wanted[owner, own] or isinstance(given, (int, np.generic))
            if is_new and owner._registered.get(own) != PARAMETER:
                each[name] = new
