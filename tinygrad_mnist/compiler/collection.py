"""The collection of what a function reads besides its arguments: its globals, closure, defaults and modules.

They are found by the names that the code of the function reads, and of the user's functions that it calls.
What is installed, the standard library, NumPy and the framework's own folders are not looked into. Of a
user's object only the attributes count whose names the code reads, of whatever object: where an object comes
from is not followed.
"""

from __future__ import annotations

import builtins
import dis
import functools
import os
import sys
import sysconfig
import types
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from operator import attrgetter, itemgetter
from typing import Any, Final

import numpy as np

from tinygrad_mnist.compiler.facts import Facts, Same, Words, fact_of, is_plain, layout_of
from tinygrad_mnist.compiler.rates import is_rate
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn.module import BUFFER, UNSAVED_BUFFER, Module
from tinygrad_mnist.optim.optimizer import Optimizer
from tinygrad_mnist.optim.schedules import LRScheduler

SEARCHED: Final = 1000
"""The number of elements of a container that are compared; a call that reads a larger one runs as it is."""

MOST_FACTS: Final = 20_000
"""The number of facts from which on containers count as too large."""

SELF: Final = "self"
"""The name of the object whose method is called."""

DEEPEST: Final = 50
"""The number of objects, each a part of the one before, that are looked into; deeper, they are too large."""

_BOOKKEEPING: Final = frozenset({"_registered", "_path", "_containers", "_float64_settled"})
"""Attributes of modules that change nothing of what they compute."""

_NUMBERS: Final = frozenset({"last_epoch", "_last_lr"})
"""Attributes of schedules that each call of a program reads anew; see `rates`."""

_CALLED_BY_SYNTAX: Final = frozenset(
    {"__call__", "__enter__", "__exit__", "__getitem__", "__iter__", "__len__", "forward"}
)
"""Methods that are called without their names being written."""

_CONTAINERS: Final = (list, tuple, dict, set, frozenset, deque)


class TooLarge(Words):
    """The fact that not all of an object is looked at: what it holds may change, and nobody would see it."""

    __slots__ = ()


def too_large(facts: Facts) -> str | None:
    """Return in words what a function reads that is too large to be compared at each call, or None."""
    found = (f"{name} is {fact}" for name, fact in facts.items() if isinstance(fact, TooLarge))
    return next(found, None)


Reader = tuple[Callable[[Any], tuple[Any, ...]], Any]
"""A function that reads some things, and what it reads them from."""


class Collection:
    """The facts about what a function reads, and the places where that was found.

    Parameters
    ----------
    attributes : set of str
        The attributes that code reads; more are added.

    Attributes
    ----------
    facts : dict
        What was found, by name.
    cells, readers, sequences, mappings, large, absent, groups : list
        The places that may hold other objects later: cells of closures; namespaces, with what reads the names
        in question; containers, and those of which only the length counts; namespaces, with names that must
        stay absent; the options of optimisers.
    objects, schedules : list
        All objects that were met; and the schedules among them.
    """

    def __init__(self, attributes: set[str]) -> None:
        self.attributes = attributes
        self.facts: dict[str, Hashable] = {}
        self.cells: list[types.CellType] = []
        self.readers: list[Reader] = []
        self.sequences: list[Any] = []
        self.mappings: list[Mapping[Any, Any]] = []
        self.large: list[Any] = []
        self.absent: list[tuple[Mapping[str, Any], frozenset[str]]] = []
        self.groups: list[GroupOptions] = []
        self.objects: list[Any] = []
        self._seen: dict[int, str] = {}
        self._read: set[tuple[int, str]] = set()  # names, and the identities of what has them
        self._globals: dict[str, Any] | None = None  # of the first function
        self._optimizers: list[tuple[str, Optimizer]] = []
        self._depth = 0
        self.schedules: list[LRScheduler] = []

    def add_root(self, name: str, value: Any) -> None:
        """Add an object that a call begins with; without a name, the function that is called.

        That an argument is this object, its signature says already.
        """
        is_function = isinstance(value, types.FunctionType)
        self.add(name or "the function", name or ("" if is_function else type(value).__name__), value)
        if name and name != SELF:
            self.facts.pop(name, None)

    def finish(self) -> None:
        """Look into the optimisers, after all else: a parameter is called what it is in its model."""
        for path, optimizer in self._optimizers:
            self._add_optimizer(path, optimizer)

    def name_of(self, value: Any) -> str:
        """Return what an object that was met is called."""
        return self._seen[id(value)]

    def add(self, label: str, path: str, value: Any) -> None:
        """Add what is in one place.

        Parameters
        ----------
        label : str
            What the place is called: ``global 'model'``.
        path : str
            What the names of its parts begin with: ``model``.
        value : object
            What is there.
        """
        if is_plain(value):
            self._note(label, fact_of(value))
            return
        if isinstance(value, types.MethodType):  # a new object at each access
            self.add(f"the object of {label}", f"{path}.__self__", value.__self__)
            self.add(label, path, value.__func__)
            return
        is_container = isinstance(value, _CONTAINERS)  # which one it is does not count, but what is in it
        if (first := self._seen.get(id(value))) is not None:
            self._note(label, Words(f"the same as {first}") if is_container else Same(value))
            return
        self._seen[id(value)] = path
        self.objects.append(value)  # so that no other object gets its identity
        self._note(label, Words(f"a {type(value).__name__} of {len(value)}") if is_container else Same(value))
        if self._depth < DEEPEST:
            self._depth += 1
            look = next((look for kind, look in _LOOKS if isinstance(value, kind)), Collection._add_object)
            look(self, path, value)
            self._depth -= 1
        else:
            self._note(path, TooLarge(f"more than {DEEPEST} objects deep"))

    def _note(self, label: str, fact: Hashable) -> None:
        name, number = label, 1
        while name in self.facts:
            number += 1
            name = f"{label} ({number})"
        self.facts[name] = fact

    def _watch_names(self, owner: Any, namespace: Mapping[str, Any], names: Iterable[str]) -> list[str]:
        """Watch some names of an owner's namespace, and return those that were not watched before."""
        new = [name for name in names if (id(owner), name) not in self._read]
        self._read.update((id(owner), name) for name in new)
        if new:
            self.readers.append((itemgetter(*new, new[0]), namespace))  # of one name alone, it gives no tuple
        return new

    # ---- arrays, modules, optimisers -------------------------------------------------------------------

    def _add_array(self, path: str, array: np.ndarray[Any, Any]) -> None:
        self.facts[f"{path}.shape"] = array.shape
        self.facts[f"{path}.dtype"] = fact_of(array.dtype)
        self.facts[f"{path}: memory layout"] = layout_of(array)

    def _add_tensor(self, path: str, tensor: Tensor) -> None:
        self._add_array(path, tensor._array)
        self.facts[f"{path}.requires_grad"] = tensor.origin is not None
        if tensor.origin is not None and tensor.origin.hooks:
            self.facts[f"{path}: hooks"] = tuple(tensor.origin.hooks)

    def _add_module(self, path: str, module: Module) -> None:
        self.facts[f"{path}: order"] = Words(", ".join(module._registered) or "none")
        # The code of the framework's layers is not looked into: each of their attributes may be read. Of a
        # user's module those count whose names are read, and not a counter that its trainer keeps there.
        is_users = all(cls is Module or not is_library_class(cls) for cls in type(module).__mro__[:-1])
        for name, value in tuple(vars(module).items()):
            is_read = name in module._registered or name in ("training", "forward") or name in self.attributes
            if is_users and not is_read:
                continue
            if isinstance(value, np.ndarray) and module._registered.get(name) in (BUFFER, UNSAVED_BUFFER):
                self._note(f"{path}.{name}", Words("a buffer"))  # which a program asks for by its name
                self._add_array(f"{path}.{name}", value)
            elif name not in _BOOKKEEPING:
                self.add(f"{path}.{name}", f"{path}.{name}", value)
        self._add_class(type(module))

    def _add_schedule(self, path: str, schedule: LRScheduler) -> None:
        self.schedules.append(schedule)
        self._add_object(path, schedule)

    def _note_optimizer(self, path: str, optimizer: Optimizer) -> None:
        self._optimizers.append((path, optimizer))

    def _add_optimizer(self, path: str, optimizer: Optimizer) -> None:
        groups = optimizer.param_groups
        self.sequences.append(groups)
        self.facts[f"{path}.param_groups"] = Words(f"a list of {len(groups)}")
        for number, group in enumerate(groups):
            where = f"{path}.param_groups[{number}]"
            self.add(f"{where}['params']", f"{where}['params']", group["params"])
            options = GroupOptions(group, tuple(optimizer.defaults), "param_groups" in self.attributes)
            self.groups.append(options)
            self.facts.update(
                (f"{where}[{name!r}]", kind)
                for name, kind in zip(options.names, options.pattern, strict=True)
            )
        # A method that is put into the object hides that of its class.
        methods = {name for name in self.attributes if callable(getattr(type(optimizer), name, None))}
        self._add_attributes(path, vars(optimizer), methods & vars(optimizer).keys())
        self.absent.append((vars(optimizer), frozenset(methods - vars(optimizer).keys())))
        if not is_library_class(type(optimizer)):
            own = {name for name in vars(optimizer) if not name.startswith("_")}
            self._add_attributes(path, vars(optimizer), own - {"param_groups", "defaults"})
            self._add_class(type(optimizer), every_method=True)

    # ---- containers ------------------------------------------------------------------------------------

    def _add_container(self, path: str, value: Any) -> None:
        if len(value) > SEARCHED or len(self.facts) > MOST_FACTS:
            if not isinstance(value, (tuple, frozenset)):
                self.large.append(value)
            self._note(path, TooLarge(f"a {type(value).__name__} of {len(value)} elements"))
            return
        if isinstance(value, dict):
            self.mappings.append(value)
            for key, part in tuple(value.items()):
                self.add(f"{path}[{key!r}]", f"{path}[{key!r}]", part)
        elif isinstance(value, (set, frozenset)):
            self.sequences.append(value)
            self.facts[f"{path}: elements"] = frozenset(map(fact_of, value))
        else:
            if not isinstance(value, tuple):
                self.sequences.append(value)
            for number, part in enumerate(tuple(value)):
                self.add(f"{path}[{number}]", f"{path}[{number}]", part)

    # ---- code ------------------------------------------------------------------------------------------

    def _add_function(self, path: str, function: types.FunctionType) -> None:
        of = f" of {path}" if path else ""
        code = function.__code__
        is_own = is_library_file(code.co_filename)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            self.cells.append(cell)
            try:
                value = cell.cell_contents
            except ValueError:
                self._note(f"the closure's {name!r}{of}", Words("nothing yet"))
            else:
                # Data that the package's own function holds, as `grad(f)` does, are its options.
                is_option = is_own and isinstance(value, (np.ndarray, dict, list, tuple))
                if not is_option:
                    self.add(f"the closure's {name!r}{of}", name, value)
        if is_library_file(code.co_filename):
            if (wrapped := vars(function).get("__wrapped__")) is not None:
                self.add(f"the function inside{of}", path, wrapped)
            return
        if self._globals is None:
            self._globals = function.__globals__
        global_names, attributes, imported = _names_in(code)
        self.attributes |= attributes
        for name in sorted(imported & sys.modules.keys()):
            self.add(f"the module {name!r}", name, sys.modules[name])
        self._note(f"the code{of}", Same(code))
        self._add_globals(function, sorted(global_names))
        self.readers.append((attrgetter("__code__", "__defaults__", "__kwdefaults__"), function))
        names = code.co_varnames[: code.co_argcount]
        given = function.__defaults__ or ()
        defaults = [*zip(names[len(names) - len(given) :], given, strict=True)]
        for name, value in [*defaults, *(function.__kwdefaults__ or {}).items()]:
            self.add(f"the default of {name!r}{of}", name, value)

    def _add_globals(self, function: types.FunctionType, names: list[str]) -> None:
        namespace = function.__globals__
        of = "" if namespace is self._globals else f" of {function.__module__}"
        for name in self._watch_names(namespace, namespace, [n for n in names if n in namespace]):
            self.add(f"global {name!r}{of}", name, namespace[name])
        absent = frozenset(name for name in names if name not in namespace and hasattr(builtins, name))
        if absent:
            self.absent.append((namespace, absent))

    def _add_partial(self, path: str, function: functools.partial[Any]) -> None:
        self.add(f"the function of {path}", path, function.func)
        self.add(f"the arguments of {path}", f"{path}.args", function.args)
        self.add(f"the named arguments of {path}", f"{path}.keywords", function.keywords)

    def _add_class(
        self, cls: type, by_syntax: frozenset[str] = _CALLED_BY_SYNTAX, every_method: bool = False
    ) -> None:
        """Add what a user's class and its bases define under names that are read."""
        for base in cls.__mro__:
            if is_library_class(base):
                continue
            own = vars(base)
            # a name that a class gets would hide that of a base
            hidden = frozenset(n for n in self.attributes | by_syntax if n not in own and hasattr(base, n))
            if hidden:
                self.absent.append((own, hidden))
            names = [
                name
                for name, value in own.items()
                if name in self.attributes
                or name in by_syntax
                or (every_method and isinstance(value, types.FunctionType))
            ]
            for name in self._watch_names(base, own, names):
                value = own[name]
                where = f"{base.__name__}.{name}"
                if isinstance(value, (staticmethod, classmethod)):
                    value = value.__func__
                parts = [value.fget] if isinstance(value, property) else [value]
                for part in parts:
                    self.add(where, where, part)

    # ---- other objects ---------------------------------------------------------------------------------

    def _add_python_module(self, path: str, module: types.ModuleType) -> None:
        if not is_library_module(module.__name__):
            self._add_attributes(path, vars(module), self.attributes & vars(module).keys())

    def _add_object(self, path: str, value: Any) -> None:
        """Add those attributes of an object whose names are read."""
        cls = type(value)
        own = getattr(value, "__dict__", None)
        if isinstance(own, dict):
            if (wrapped := own.get("__wrapped__")) is not None:
                self.add(f"the function inside {path}", path, wrapped)
            names = self.attributes & own.keys()
            self._add_attributes(path, own, names - _NUMBERS if isinstance(value, LRScheduler) else names)
        if is_library_class(cls):
            return
        slots = sorted(
            name
            for name in self.attributes
            if isinstance(getattr(cls, name, None), types.MemberDescriptorType) and hasattr(value, name)
        )
        if slots:
            self.readers.append((attrgetter(*slots, slots[0]), value))
            for name in slots:
                self.add(f"{path}.{name}", f"{path}.{name}", getattr(value, name))
        if isinstance(own, dict):  # an attribute of the object would hide that of the class
            hidden = frozenset(n for n in self.attributes if n not in own and hasattr(cls, n))
            if hidden:
                self.absent.append((own, hidden))
        # A method seldom calls its own object. A trainer that is called runs the whole loop: the counters
        # there are none of a step.
        self._add_class(cls, frozenset() if path == SELF else _CALLED_BY_SYNTAX)

    def _add_attributes(self, path: str, namespace: Mapping[str, Any], names: Iterable[str]) -> None:
        for name in self._watch_names(namespace, namespace, sorted(names)):
            self.add(f"{path}.{name}", f"{path}.{name}", namespace[name])


_LOOKS: Final[tuple[tuple[type | tuple[type, ...], Callable[[Collection, str, Any], None]], ...]] = (
    (_CONTAINERS, Collection._add_container),
    (np.ndarray, Collection._add_array),
    (Tensor, Collection._add_tensor),
    (Module, Collection._add_module),
    (Optimizer, Collection._note_optimizer),
    (LRScheduler, Collection._add_schedule),
    (types.FunctionType, Collection._add_function),
    (functools.partial, Collection._add_partial),
    (types.ModuleType, Collection._add_python_module),
    (type, lambda collection, path, cls: collection._add_class(cls)),
)
"""The look at an object, by its class."""


# ---- options of optimisers -------------------------------------------------------------------------------


class GroupOptions:
    """The options of a parameter group, of which a program has built in only what kind of value they are.

    A learning rate may change at each step: each call reads it anew, see `rates`. But that another option is
    0 may select another formula. Where the code reads options by itself, their values count.

    Attributes
    ----------
    names : tuple of str
        The options.
    pattern : tuple
        The kind of each: ``zero`` or ``nonzero`` of a number, the value of a flag or a name; of the learning
        rate, that it is a number.
    """

    def __init__(self, group: dict[str, Any], names: tuple[str, ...], by_value: bool = False) -> None:
        self._by_value = by_value
        self.names = tuple(name for name in names if name in group)
        self.group = group
        self._parameters = group["params"]
        self._read: Any = itemgetter(*self.names, "params", "params") if self.names else lambda group: ()
        self._values = self._read(group)
        self.pattern = tuple(map(self._kind, self.names, self._values))

    def is_unchanged(self) -> bool:
        """Return whether the group has the same parameters, and options of the same kinds."""
        if self.group["params"] is not self._parameters:
            return False
        values = self._read(self.group)
        for name, value, before, kind in zip(self.names, values, self._values, self.pattern, strict=False):
            if value is not before and self._kind(name, value) != kind:
                return False
        self._values = values  # the learning rate of this step
        return True

    def _kind(self, name: str, value: Any) -> Hashable:
        if name == "lr" and (is_rate(value) or (isinstance(value, np.number) and not self._by_value)):
            return Words("a number")
        if self._by_value:
            return fact_of(value)
        return _option_kind(value)


def _option_kind(value: Any) -> Hashable:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, (tuple, list)):
        return Words(f"({', '.join(str(_option_kind(part)) for part in value)})")
    if isinstance(value, (int, float, np.number)):
        return Words("nonzero" if value else "zero")
    return fact_of(value)


# ---- what is looked into ---------------------------------------------------------------------------------

_PACKAGE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_FRAMEWORK: Final = tuple(
    _PACKAGE + folder + os.sep
    for folder in (
        *("compiler", "engine", "graph", "nn", "ops", "optim", "testing", "transforms"),
        os.path.join("training", "distributed"),  # what joins processes is found when a program runs
    )
)
_INSTALLED: Final = tuple(
    {os.path.join(sysconfig.get_paths()[name], "") for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)


@functools.lru_cache(maxsize=4096)
def is_library_file(file: str) -> bool:
    """Return whether a file belongs to the framework, to the standard library, or to what is installed.

    Files such as ``<stdin>`` are the user's.
    """
    if file.startswith("<frozen "):
        return True
    parts = file.split(os.sep)
    return file.startswith((*_FRAMEWORK, *_INSTALLED)) or "site-packages" in parts or "dist-packages" in parts


@functools.lru_cache(maxsize=4096)
def is_library_module(name: str) -> bool:
    """Return whether a module is of the framework, of the standard library, or installed."""
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None:
        return name == "builtins" or name.partition(".")[0] in sys.stdlib_module_names
    return is_library_file(file)


def is_library_class(cls: type) -> bool:
    """Return whether a class is defined in such a module."""
    return is_library_module(cls.__module__)


@functools.lru_cache(maxsize=4096)
def _names_in(code: types.CodeType) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Return the globals, attributes and modules that some code names, with the functions inside of it."""
    global_names: set[str] = set()
    attributes: set[str] = set()
    imported: set[str] = set()
    waiting = [code]
    while waiting:
        part = waiting.pop()
        waiting += [constant for constant in part.co_consts if isinstance(constant, types.CodeType)]
        for instruction in dis.get_instructions(part):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                global_names.add(instruction.argval)
            elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "IMPORT_FROM"):
                attributes.add(instruction.argval)
            elif instruction.opname == "IMPORT_NAME":
                imported.add(instruction.argval)
    return frozenset(global_names), frozenset(attributes), frozenset(imported)
