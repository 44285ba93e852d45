"""The base of all optimisers: parameter groups, checks of options, the step, the state dict.

A subclass adds the formula of its update and a table of its options. That is all that a new optimiser needs,
besides its name in `tinygrad_mnist.optim`.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Any, ClassVar, Self

import numpy as np

from tinygrad_mnist.engine.dtypes import is_float
from tinygrad_mnist.engine.observe import tracer
from tinygrad_mnist.engine.pytorch_names import OPTIMIZER_KEYWORDS, unexpected_keyword
from tinygrad_mnist.engine.structure import structure_changed
from tinygrad_mnist.engine.tape import recording
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.numbers import count_text
from tinygrad_mnist.optim.flat_parameters import Array, Block, FlatGroup, describe_parameter

__all__ = ["Optimizer", "ParameterGroups"]

ParameterGroups = Iterable[Tensor | Mapping[str, Any]]
"""The parameters of an optimiser; or groups of them, dicts with ``"params"`` and the options of the group."""

OptionChecks = Mapping[str, Callable[[str, Any], Any]]
"""A check for each option: it takes name and value, and returns the value in its type or raises."""

SCHEDULE_KEYS = frozenset({"initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum"})
"""The entries of a parameter group in which schedules keep their numbers."""

FREE_KEYS = SCHEDULE_KEYS | {"name"}
"""The entries that a parameter group may have besides its options."""

LATER_OPTIONS = {"maximize": False, "amsgrad": False}
"""Options that earlier versions did not have, and what a state that was saved without them did."""

PYTORCH_IRRELEVANT = frozenset(
    {"foreach", "fused", "capturable", "differentiable", "decoupled_weight_decay", "param_names"}
)
"""Options of PyTorch that change how it computes, but not the results; they are ignored."""


class Optimizer:
    """The base class of all optimisers, which update parameters in place from their gradients.

    The parameters of a group are laid side by side in one flat array (one for each dtype) and updated
    together. For that, ``p.data`` of each parameter becomes a view of that array when the optimiser is made;
    values and memory order stay the same. Another array may be assigned to ``p.data`` later: the next `step`
    copies its values. A parameter whose memory another one, or a buffer of a module, shares stays where it
    is, so that they stay together. Gradients are only read. The optimiser has to be made before the forward
    pass, as a tape that was recorded earlier counts as stale.

    A subclass states in `option_checks` which options there are and in `state_names` which arrays it keeps,
    and defines `_update`, the formula. It runs on whole blocks of parameters, as 1-D arrays.

    Parameters
    ----------
    params : iterable of Tensor, or iterable of dict
        The parameters, of any floating-point dtypes and shapes; or groups of them, each a dict with
        ``"params"`` and the options that differ from ``defaults``. A generator is fine.
    defaults : dict
        The options of a group that does not state its own.

    Attributes
    ----------
    param_groups : list of dict
        Each with ``"params"`` (a tuple) and its options, which may be changed between steps: ``group["lr"] =
        0.01``.
    defaults : dict
        The options of a group that does not state its own.

    Raises
    ------
    TypeError
        If something that is no floating-point Tensor is to be optimised, or an option is of a wrong type.
    ValueError
        If there is no parameter, one is given twice or is the result of an operation, or an option is unknown
        or out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import Tensor
    >>> class SignSGD(Optimizer):
    ...     option_checks = {"lr": require_nonnegative}
    ...
    ...     def __init__(self, params, lr=0.01):
    ...         super().__init__(params, {"lr": lr})
    ...
    ...     def _update(self, block, options, progress):
    ...         block.values -= options["lr"] * np.sign(block.gradient)
    ...         return (progress or 0) + 1  # the number of steps
    >>> weight = Tensor(np.array([1.0, -2.0]), requires_grad=True)
    >>> optimizer = SignSGD([weight], lr=0.5)
    >>> weight.grad = Tensor(2 * weight.data)
    >>> optimizer.step()
    >>> weight.data
    array([ 0.5, -1.5])
    """

    option_checks: ClassVar[OptionChecks] = {}
    """The options and their checks."""

    state_names: ClassVar[tuple[str, ...]] = ()
    """The state arrays that there may be, under PyTorch's names."""

    def __new__(cls, *inputs: Any, **options: Any) -> Self:
        """Return a new object; raise for an option that only PyTorch has, and say what to write."""
        for name in OPTIMIZER_KEYWORDS.keys() & options.keys():
            if name not in signature(cls.__init__).parameters:
                raise unexpected_keyword(cls.__name__, name, OPTIMIZER_KEYWORDS)
        return super().__new__(cls)

    def __init__(self, params: ParameterGroups, defaults: dict[str, Any]) -> None:
        self.defaults = self._check_options(defaults)
        self.param_groups: list[dict[str, Any]] = []
        self._flat_groups: list[FlatGroup] = []
        if isinstance(params, Tensor):
            raise TypeError("params is a single Tensor; give a list of them: [parameter]")
        entries: list[Any] = _in_order(params)
        if not entries:
            raise ValueError(
                "no parameters to optimise: params is empty (a generator that was already used up, or "
                "modules in a plain list instead of an nn.ModuleList?)"
            )
        if isinstance(entries[0], Mapping):
            for entry in entries:
                self.add_param_group(entry)
        else:
            self.add_param_group({"params": entries})

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters that are to be updated with options of their own.

        Parameters
        ----------
        group : mapping
            ``"params"``, a Tensor or an iterable of Tensors, and the options that differ from the defaults.

        Raises
        ------
        TypeError, ValueError
            As in the constructor.
        """
        where = f"parameter group {len(self.param_groups)}"
        parameters = _parameters_of(group, where)
        self._check_parameters(parameters, where)
        unknown = sorted(set(group) - set(self.defaults) - FREE_KEYS - {"params"})
        if unknown:
            raise ValueError(
                f"{where} has unknown option{'s' * (len(unknown) > 1)} {', '.join(map(repr, unknown))}; "
                f"{type(self).__name__} knows {', '.join(map(repr, self.defaults))}"
            )
        options = self._check_options({name: group.get(name, value) for name, value in self.defaults.items()})
        free = {name: group[name] for name in group if name in FREE_KEYS}
        self._flat_groups.append(FlatGroup(parameters))
        self.param_groups.append({"params": parameters, **options, **free})
        structure_changed()

    def _check_parameters(self, parameters: tuple[Any, ...], where: str) -> None:
        if not parameters:
            raise ValueError(f"{where} has no parameters (a generator that was already used up?)")
        seen = {id(p): number for number, group in enumerate(self.param_groups) for p in group["params"]}
        for index, parameter in enumerate(parameters):
            if not isinstance(parameter, Tensor):
                raise TypeError(f"parameter {index} of {where} is a {type(parameter).__name__}, not a Tensor")
            which = f"{describe_parameter(parameter, index)} of {where}"
            if not parameter.is_leaf:
                raise ValueError(
                    f"{which} is the result of an operation; only what a user made can be optimised"
                )
            if not is_float(parameter):
                raise TypeError(
                    f"{which} has dtype {parameter.dtype}; only floating-point tensors can be optimised"
                )
            if id(parameter) in seen:
                raise ValueError(f"{which} is given twice, first in parameter group {seen[id(parameter)]}")
            seen[id(parameter)] = len(self.param_groups)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Remove the gradient of every parameter; arrays that are held elsewhere do not change.

        Parameters
        ----------
        set_to_none : bool
            Whether it becomes None, so that `step` skips the parameter. Otherwise it becomes zeros, by which
            momentum and weight decay still move the parameter; where it is None, it stays None.
        """
        tracing = tracer()
        for group in self.param_groups:
            for parameter in group["params"]:
                leaf = parameter._leaf
                if leaf is None:
                    continue
                if tracing is not None:
                    tracing.capture_gradient(leaf, read=not set_to_none)
                if leaf.grad is None:
                    continue
                leaf.grad = None if set_to_none else Tensor(np.zeros_like(leaf.grad._array, order="C"))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        A parameter whose ``grad`` is None is skipped: neither its value nor its state changes.

        Parameters
        ----------
        closure : callable, optional
            Computes the gradients first, and returns the loss: ``zero_grad``, the model, ``backward``. It
            is recorded under `no_grad`, too.

        Returns
        -------
        object
            What the closure returned; None without one.

        Raises
        ------
        TypeError
            If ``closure`` cannot be called, such as a loss.
        ValueError
            If a gradient has another shape than its parameter; then nothing has been updated.
        RuntimeError
            If ``"params"`` of a group was replaced.

        Examples
        --------
        >>> import numpy as np
        >>> from tinygrad_mnist import Tensor, optim
        >>> weight = Tensor(np.array([1.0, -2.0]), requires_grad=True)
        >>> optimizer = optim.SGD([weight], lr=0.25)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = np.sum(weight**2)
        ...     loss.backward()
        ...     return loss
        >>> optimizer.step(closure).item()
        5.0
        >>> weight.data
        array([ 0.5, -1. ])
        """
        loss = None if closure is None else _call_closure(closure)
        if (tracing := tracer()) is not None:
            tracing.optimizer_step(self)
            return loss
        for group, flat_group in zip(self.param_groups, self._flat_groups, strict=True):
            if group["params"] is not flat_group.parameters:
                raise RuntimeError(
                    "the 'params' of a parameter group were replaced; use add_param_group instead"
                )
        # All gradients are looked at before the first update, so that an error in one leaves everything as it
        # was.
        work = [
            (group, flat, flat.gradients())
            for group, flat_group in zip(self.param_groups, self._flat_groups, strict=True)
            for flat in flat_group.adopt()
        ]
        for group, flat, gradients in work:
            for run in flat.runs(gradients):
                progress = run.progress
                for block in run.blocks():  # each gets the progress before the step: it is one step for all
                    progress = self._update(block, group, run.progress)
                    block.store()
                run.finish(progress)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to continue later, to the same bits, in PyTorch's layout.

        Returns
        -------
        dict
            ``"state"`` contains the state of each parameter that was ever updated, under its index in the
            order of the groups: ``"step"`` (int), and arrays of the shape and dtype of the parameter under
            PyTorch's names. ``"param_groups"`` contains the options of each group, and the indices of its
            parameters as ``"params"``. There are only dicts, lists, tuples, numbers, and arrays, which are
            copies.
        """
        state: dict[int, dict[str, Any]] = {}
        groups: list[dict[str, Any]] = []
        first = 0
        for group, flat_group in zip(self.param_groups, self._flat_groups, strict=True):
            indices = list(range(first, first + len(flat_group.parameters)))
            first += len(indices)
            groups.append({**group, "params": indices})
            for index, (progress, arrays) in zip(indices, flat_group.states(), strict=True):
                if progress is not None:
                    state[index] = self._export_state(progress, arrays)
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned, of this optimiser, another one of its class, or PyTorch's.

        Parameters
        ----------
        state_dict : mapping
            As `state_dict` returns it. Arrays, and tensors of PyTorch, are copied and converted to the dtype
            of their parameter.

        Raises
        ------
        ValueError
            If it does not fit. The one message lists every mismatch, and nothing was loaded.
        """
        problems: list[str] = []
        groups = self._read_groups(state_dict.get("param_groups"), problems)
        states: dict[int, tuple[Any, dict[str, Array]]] = {}
        if groups is not None:
            states = self._read_states(state_dict.get("state"), groups, problems)
        if groups is None or problems:
            raise ValueError(
                "\n  - ".join([f"the state does not fit this {type(self).__name__}:", *problems])
            )
        first = 0
        for group, flat_group, (_, options) in zip(self.param_groups, self._flat_groups, groups, strict=True):
            last = first + len(flat_group.parameters)
            flat_group.adopt()
            flat_group.restore([states.get(index, (None, {})) for index in range(first, last)])
            first = last
            params = group["params"]
            group.clear()
            group.update(params=params, **options)

    def _read_groups(self, saved: Any, problems: list[str]) -> list[tuple[list[int], dict[str, Any]]] | None:
        """Return the saved indices and options of each group; None if their number is not ours."""
        if not isinstance(saved, Sequence) or not all(
            isinstance(g, Mapping) and "params" in g for g in saved
        ):
            problems.append("'param_groups' is not a list of dicts with 'params'")
            return None
        if len(saved) != len(self.param_groups):
            problems.append(f"it has {len(saved)} parameter groups, the optimiser {len(self.param_groups)}")
            return None
        groups = []
        for number, (entry, group) in enumerate(zip(saved, self.param_groups, strict=True)):
            where = f"parameter group {number}"
            if len(entry["params"]) != len(group["params"]):
                theirs = count_text(len(entry["params"]), "parameter")
                problems.append(f"{where} has {theirs}, ours {len(group['params'])}")
            groups.append((list(entry["params"]), self._read_options(entry, where, problems)))
        return groups

    def _read_options(self, entry: Mapping[str, Any], where: str, problems: list[str]) -> dict[str, Any]:
        """Return the options of a saved group, and list in ``problems`` what is wrong with them."""
        entry = {**{name: value for name, value in LATER_OPTIONS.items() if name in self.defaults}, **entry}
        missing = [name for name in self.defaults if name not in entry]
        if missing:
            problems.append(f"{where} lacks {', '.join(map(repr, missing))}")
        options = {name: value for name, value in entry.items() if name in self.defaults}
        try:
            options = self._check_options({**self.defaults, **options})
        except (TypeError, ValueError) as error:
            problems.append(f"{where}: {error}")
        for name, value in entry.items():
            if name in FREE_KEYS:
                options[name] = value
            elif name not in {"params", *self.defaults, *PYTORCH_IRRELEVANT}:
                problems.append(f"{where} has the unknown option {name!r}")
        return options

    def _read_states(
        self, saved: Any, groups: list[tuple[list[int], dict[str, Any]]], problems: list[str]
    ) -> dict[int, tuple[Any, dict[str, Array]]]:
        """Return the progress and the state arrays of each saved parameter, by its index here."""
        states: dict[int, tuple[Any, dict[str, Array]]] = {}
        if not isinstance(saved, Mapping):
            problems.append("'state' is not a dict")
            return states
        # The saved indices are only names; nothing requires that they count up.
        place: dict[Any, tuple[int, Tensor, dict[str, Any]]] = {}
        first = 0
        for (indices, options), group in zip(groups, self.param_groups, strict=True):
            for offset, (index, parameter) in enumerate(zip(indices, group["params"], strict=False)):
                place[index] = (first + offset, parameter, options)
            first += len(group["params"])
        for index, entry in saved.items():
            if index not in place:
                problems.append(f"there is a state for parameter {index!r}, which no group has")
                continue
            own_index, parameter, options = place[index]
            allowed = {"step", *self.state_names}
            name = describe_parameter(parameter, own_index)
            found = _read_entry(entry, parameter, name, self._required_state(options), allowed, problems)
            if found is not None:
                states[own_index] = self._import_state(found)
        return states

    def __repr__(self) -> str:
        """Return a line for each group: the number of parameters and values, and the options."""
        lines = []
        for number, group in enumerate(self.param_groups):
            params = group["params"]
            dtypes = ", ".join(sorted({str(p.dtype) for p in params}))
            options = ", ".join(f"{name}={group[name]!r}" for name in self.defaults)
            lines.append(
                f"  group {group.get('name', number)}: {len(params)} parameter{'s' * (len(params) != 1)}, "
                f"{count_text(sum(p.size for p in params), 'value')} ({dtypes}): {options}\n"
            )
        return f"{type(self).__name__}(\n{''.join(lines)})"

    # ---- for subclasses: the first is to be defined, the others have defaults --------------------------

    def _update(self, block: Block, options: dict[str, Any], progress: Any) -> Any:
        """Update a block of parameters in place, and return its progress, such as the number of its steps.

        ``progress`` is what was returned in the last step of these parameters, None in the first. Parameters
        with equal progress share a block, so it must be a value that can be compared. If it is None, the
        state of the parameters is not saved.
        """
        raise NotImplementedError

    def _check_options(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the options of a group, each in its type; raise TypeError or ValueError if one is wrong."""
        return {name: self.option_checks[name](name, value) for name, value in options.items()}

    def _required_state(self, options: dict[str, Any]) -> tuple[str, ...]:
        """Return the entries that a saved state must have if these are the options."""
        return ("step", *self.state_names)

    def _export_state(self, progress: Any, arrays: dict[str, Array]) -> dict[str, Any]:
        """Return one parameter's entry in the state dict. The arrays are copies, which may be changed."""
        return {"step": progress, **arrays}

    def _import_state(self, entry: dict[str, Any]) -> tuple[Any, dict[str, Array]]:
        """Return the progress and the state arrays of an entry: the inverse of `_export_state`."""
        return entry["step"], {name: array for name, array in entry.items() if name != "step"}


def _call_closure(closure: Callable[[], Any]) -> Any:
    if not callable(closure):
        raise TypeError(
            f"step was given a {type(closure).__name__}; expected nothing, or a function without arguments "
            "that computes the gradients and returns the loss. After loss.backward(), call step()"
        )
    token = recording.set(True)
    try:
        return closure()
    finally:
        recording.reset(token)


def direction(options: Mapping[str, Any]) -> float:
    """Return -1 if the options say ``maximize``, for the gradient is then followed upwards, else 1."""
    return -1.0 if options["maximize"] else 1.0


def _parameters_of(group: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(group, Mapping):
        raise TypeError(f"{where} must be a dict like the first one, not a {type(group).__name__}")
    if "params" not in group:
        raise ValueError(f"{where} has no entry 'params'")
    parameters = group["params"]
    return (parameters,) if isinstance(parameters, Tensor) else tuple(_in_order(parameters))


def _in_order(params: Iterable[Any]) -> list[Any]:
    if isinstance(params, set | frozenset):
        raise TypeError(
            "params is a set, which has no order, so that a saved state could not be loaded; give a list"
        )
    if hasattr(params, "parameters"):  # a module; a container of modules can even be iterated
        raise TypeError(f"params is a {type(params).__name__}; give its parameters: model.parameters()")
    return list(params)


def _read_entry(
    entry: Any, parameter: Tensor, name: str, required: Iterable[str], allowed: set[str], problems: list[str]
) -> dict[str, Any] | None:
    """Return the saved state of one parameter as an int and arrays.

    If it is wrong, return None, and add what is wrong to ``problems``.
    """
    if not isinstance(entry, Mapping):
        problems.append(f"the state of {name} is not a dict")
        return None
    faults = [f"{key!r} of {name} is missing" for key in required if entry.get(key) is None]
    found: dict[str, Any] = {}
    for key, value in entry.items():
        array = np.asarray(value)
        if key not in allowed:
            faults.append(f"{key!r} of {name} is unexpected")
        elif value is None:
            continue
        elif array.dtype.kind not in "fiu":
            faults.append(f"{key!r} of {name} is not numeric")
        elif key == "step":
            if array.size == 1 and array >= 0 and array == np.floor(array):
                found[key] = int(array.item())
            else:
                faults.append(f"'step' of {name} must be a whole number of at least 0, not {value!r}")
        elif array.shape != parameter.shape:
            faults.append(f"{key!r} of {name} has shape {array.shape}, the parameter {parameter.shape}")
        else:
            found[key] = array
    problems += faults
    return None if faults else found


# ---- checks of options -----------------------------------------------------------------------------------


def require_number(
    name: str, value: Any, low: float = -math.inf, high: float = math.inf, *, below: bool = False
) -> float:
    """Return ``value`` as a float, if it is finite and in the interval from ``low`` to ``high``.

    With ``below``, it has to be less than ``high``.

    Raises
    ------
    TypeError
        If it is no real number.
    ValueError
        If it is not finite or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, not {value!r}")
    number = float(value)
    if math.isfinite(number) and low <= number and (number < high if below else number <= high):
        return number
    if high < math.inf:
        wanted = f"at least {low:g} and {'less than' if below else 'at most'} {high:g}"
    else:
        wanted = f"finite and at least {low:g}" if low > -math.inf else "finite"
    raise ValueError(f"{name} must be {wanted}, not {value!r}")


require_nonnegative = partial(require_number, low=0)
"""The check of a number of at least 0."""

require_rate = partial(require_number, low=0, high=1, below=True)
"""The check of a decay rate of a running average: at least 0 and less than 1."""


def require_integer(name: str, value: Any, low: int) -> int:
    """Return ``value`` as an int, if it is a whole number of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, not {value!r}")
    return int(value)


def require_flag(name: str, value: Any) -> bool:
    """Return ``value``, if it is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return value


def require_rates(name: str, value: Any, count: int) -> tuple[float, ...]:
    """Return ``value`` as ``count`` floats, each a decay rate: at least 0 and less than 1."""
    if not isinstance(value, tuple | list) or len(value) != count:
        raise TypeError(f"{name} must be {count} numbers, not {value!r}")
    return tuple(require_rate(f"{name}[{i}]", rate) for i, rate in enumerate(value))
