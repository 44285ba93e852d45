"""Containers: modules in a row that call each other, and lists and dicts of modules or parameters.

What is in a plain list or dict is not registered: it is not trained, saved or switched to evaluation. What is
in one of these is, under PyTorch's names: ``layers.0.weight``, ``heads.digit.bias``.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from operator import index as as_index
from typing import Any, ClassVar, Generic, Self, TypeVar, overload

import numpy as np

from tinygrad_mnist.engine.observe import recorder
from tinygrad_mnist.engine.structure import structure_changed
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn.fused import fused_hidden_layer
from tinygrad_mnist.nn.module import MODULE, PARAMETER, Module
from tinygrad_mnist.nn.parameter import Array, Parameter

__all__ = ["ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"]

Member = TypeVar("Member", Module, Parameter)
Given = TypeVar("Given")
Members = Mapping[str, Given] | Iterable[tuple[str, Given]]
"""What a dict of members is made from."""

NUMBER = "0"
"""The name of a member that is to be numbered by its position."""


class _Container(Module, Generic[Member]):
    """The base of all containers: members of one kind, registered under their names, in order."""

    _kind: ClassVar[str] = MODULE

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Raise: what is in a container is called, not the container."""
        raise NotImplementedError(
            f"a {type(self).__name__} computes nothing itself; use what is in it one by one, in the "
            "forward() of the module that holds it"
        )

    def _checked(self, value: object) -> Member:
        """Return a value as a member of this container; raise TypeError for what is none."""
        raise NotImplementedError

    def _all(self) -> list[tuple[str, Member]]:
        """Return names and members, in order; a member that was added twice is there twice."""
        return list(self._named(self._kind))

    def _replace_all(self, members: Iterable[tuple[str, Member]]) -> None:
        """Register these members in the place of all others; numbers among the names count up anew."""
        members = list(members)
        for _, member in members:  # before anything is removed
            self._check_apart(member)
        for name, _ in self._all():
            del self._registered[name], vars(self)[name]
        structure_changed()  # also where nothing is registered again
        for position, (name, member) in enumerate(members):
            self._register(str(position) if name.isdecimal() else name, self._kind, member)

    def _with(self, members: Iterable[tuple[str, Member]]) -> Self:
        """Return a shallow copy with other members, which keep their names in the model they come from."""
        twin = object.__new__(type(self))
        own = dict(self._all())
        vars(twin).update({name: value for name, value in vars(self).items() if name not in own})
        vars(twin)["_registered"] = {name: kind for name, kind in self._registered.items() if name not in own}
        for name, member in members:
            self._check_name(name, self._kind)
            twin._registered[name] = self._kind
            vars(twin)[name] = member
        return twin

    def __len__(self) -> int:
        return len(self._all())


# ---- by position -----------------------------------------------------------------------------------------


class _List(_Container[Member]):
    """The base of those by position: members under the names ``0``, ``1``, ..., and the methods of a list."""

    def _part(self, members: list[tuple[str, Member]]) -> Self:
        """Return a copy that shares some members, numbered anew."""
        return self._with((str(position), member) for position, (_, member) in enumerate(members))

    def _position(self, index: int) -> int:
        """Return an index as one that counts from the front; raise IndexError if there is none such."""
        count, position = len(self), as_index(index)
        if not -count <= position < count:
            raise IndexError(
                f"index {position} is out of range: this {type(self).__name__} has {count} members"
            )
        return position % count

    def _checked_all(self, values: Any) -> list[Member]:
        """Return the members that an iterable holds; all are checked before the first is registered."""
        if not isinstance(values, Iterable) or isinstance(values, (str, Mapping, _Dict)):
            raise TypeError(
                f"{type(self).__name__} was given a {type(values).__name__}; expected a list, or another "
                "iterable, of what is to be in it"
            )
        if isinstance(values, (Tensor, np.ndarray)):  # its rows would become members
            raise TypeError(f"{type(self).__name__} was given one {type(values).__name__}; put it in a list")
        return [self._checked(value) for value in values]

    def append(self, member: Member) -> Self:
        """Add a member at the end, under the next number, and return this container."""
        return self.extend([member])

    def extend(self, members: Iterable[Any]) -> Self:
        """Add the members of an iterable at the end, and return this container."""
        checked = self._checked_all(members)
        first = 1 + max([int(name) for name, _ in self._all() if name.isdecimal()], default=-1)
        for number, member in enumerate(checked, first):
            self._register(str(number), self._kind, member)
        return self

    def insert(self, index: int, member: Member) -> Self:
        """Add a member before the one at a position, number the later ones anew, and return this container.

        Raises
        ------
        IndexError
            If there is no such position.
        """
        count, position = len(self), as_index(index)
        if not -count <= position <= count:
            raise IndexError(
                f"index {position} is out of range: this {type(self).__name__} has {count} members"
            )
        members = self._all()
        members.insert(position, (NUMBER, self._checked(member)))
        self._replace_all(members)
        return self

    @overload
    def pop(self, index: int = -1) -> Member: ...

    @overload
    def pop(self, index: slice) -> Self: ...

    def pop(self, index: int | slice = -1) -> Member | Self:
        """Remove the member at a position, the last by default, and return it; of a slice, all of them."""
        removed = self[index]
        del self[index]
        return removed

    def __iter__(self) -> Iterator[Member]:
        return iter([member for _, member in self._all()])

    def __contains__(self, member: object) -> bool:
        return any(own is member for own in self)  # by identity: two Parameters compare element by element

    @overload
    def __getitem__(self, index: int) -> Member: ...

    @overload
    def __getitem__(self, index: slice) -> Self: ...

    def __getitem__(self, index: int | slice) -> Member | Self:
        """Return the member at a position; of a slice, a container that shares its members."""
        if not isinstance(index, slice):
            return self._all()[self._position(index)][1]
        return self._part(self._all()[index])

    def __setitem__(self, index: int, member: Member) -> None:
        name = self._all()[self._position(index)][0]
        self._register(name, self._kind, self._checked(member))

    def __delitem__(self, index: int | slice) -> None:
        members = self._all()
        del members[index if isinstance(index, slice) else self._position(index)]
        self._replace_all(members)

    def __add__(self, others: Iterable[Any]) -> Self:
        """Return a container of these members and others, which are shared."""
        members = self._all()
        members += [(NUMBER, other) for other in self._checked_all(others)]
        return self._part(members)

    def __iadd__(self, others: Iterable[Any]) -> Self:
        return self.extend(others)


def _check_module(container: Module, value: object, hint: str = "") -> Module:
    if not isinstance(value, Module):
        given = f"a {type(value).__name__}"
        if isinstance(value, type):
            given, hint = f"the class {value.__name__}", f", as {value.__name__}() makes one"
        raise TypeError(f"{type(container).__name__} was given {given}; expected modules{hint}")
    return value


class Sequential(_List[Module]):
    """Modules that are called one after the other, each with the result of the one before.

    It can be changed as a list can: ``append``, ``extend``, ``insert``, ``pop``, ``del``, ``+=``. The modules
    after the change are numbered anew; those with names of their own keep them.

    Parameters
    ----------
    *modules : Module or mapping
        The modules, which get the names ``0``, ``1``, ...; or one mapping (an OrderedDict, a dict) from names
        to modules.

    Raises
    ------
    TypeError
        If something is not a module.

    Examples
    --------
    >>> from tinygrad_mnist import nn
    >>> model = nn.Sequential(nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10))
    >>> model
    Sequential(
      (0): Linear(784, 32)  # weight (32, 784), bias (32,): 25,120
      (1): ReLU()
      (2): Linear(32, 10)   # weight (10, 32), bias (10,): 330
    )                       # 25,450 parameters
    >>> model[0], len(model), list(model[1:].state_dict())
    (Linear(784, 32)  # weight (32, 784), bias (32,): 25,120 parameters, 3, ['2.weight', '2.bias'])
    >>> list(model.insert(1, nn.LayerNorm(32)).state_dict())
    ['0.weight', '0.bias', '1.weight', '1.bias', '3.weight', '3.bias']
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], (Mapping, ModuleDict)):
            for name, member in modules[0].items():
                self.register_module(name, self._checked(member))
        else:
            self.extend(modules)

    def forward(self, input: Any) -> Any:
        """Return the result of the last module."""
        own = vars(self)
        modules = [own[name] for name, kind in self._registered.items() if kind == MODULE]
        if recorder.get() is not None:  # it observes each module by itself, so nothing is fused
            for module in modules:
                input = module(input)
            return input
        position = 0
        while position < len(modules):
            if (out := fused_hidden_layer(modules, position, input)) is not None:
                input, position = out, position + 3
            else:
                input, position = modules[position](input), position + 1
        return input

    def _checked(self, value: object) -> Module:
        hint = "; pass its elements, Sequential(*modules)" if isinstance(value, (list, tuple)) else ""
        return _check_module(self, value, hint)

    def _part(self, members: list[tuple[str, Module]]) -> Self:
        names = [name for name, _ in members]
        if len(set(names)) < len(names):  # two Sequentials were added
            return super()._part(members)
        return self._with(members)


class ModuleList(_List[Module]):
    """A list of modules: each is registered, so that it is trained, saved, and switched by `eval`.

    It has the methods of a list, and is not called itself: a ``forward`` goes through it.

    Parameters
    ----------
    modules : iterable of Module, optional
        They get the names ``0``, ``1``, ...

    Raises
    ------
    TypeError
        If something is not a module.
    IndexError
        If there is no such position.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(2))
    ...
    ...     def forward(self, x):
    ...         for layer in self.layers:
    ...             x = np.tanh(layer(x))
    ...         return x
    >>> net = Net()
    >>> list(net.state_dict())
    ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias']
    >>> len(net.layers[1:]), net.layers.pop() in net.layers
    (1, False)
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def _checked(self, value: object) -> Module:
        hint = "; for a list in a list, put a ModuleList in it" if isinstance(value, (list, tuple)) else ""
        return _check_module(self, value, hint)


class ParameterList(_List[Parameter]):
    """A list of parameters: each is registered, so that it is trained and saved.

    Parameters
    ----------
    values : iterable, optional
        Parameters; of Tensors and floating-point arrays, parameters are made. They get the names ``0``,
        ``1``, ...

    Raises
    ------
    TypeError
        If something is neither.
    IndexError
        If there is no such position.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import nn
    >>> weights = nn.ParameterList([np.ones((2, 3)), np.zeros(2)])
    >>> weights
    ParameterList()  # 0 (2, 3), 1 (2,): 8 parameters
    >>> list(weights.state_dict()), weights[-1].shape
    (['0', '1'], (2,))
    """

    _kind: ClassVar[str] = PARAMETER

    def __init__(self, values: Iterable[Tensor | Array] | None = None) -> None:
        super().__init__()
        if values is not None:
            self.extend(values)

    def _checked(self, value: object) -> Parameter:
        return _as_parameter(self, value)


def _as_parameter(container: Module, value: object) -> Parameter:
    if isinstance(value, Parameter):
        return value
    if not isinstance(value, (Tensor, np.ndarray)):
        raise TypeError(
            f"{type(container).__name__} was given a {type(value).__name__}; expected Parameters, Tensors or "
            "arrays"
        )
    return Parameter(value)


# ---- by name ---------------------------------------------------------------------------------------------


class _Dict(_Container[Member]):
    """The base of those by name, with the methods of a dict."""

    def __getitem__(self, key: str) -> Member:
        if self._registered.get(key) != self._kind:
            raise KeyError(key)
        member: Member = vars(self)[key]
        return member

    def __setitem__(self, key: str, member: Member) -> None:
        self._register(key, self._kind, self._checked(member))

    def __delitem__(self, key: str) -> None:
        self[key]  # a KeyError, if there is none
        delattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def keys(self) -> KeysView[str]:
        """Return the names, in order."""
        return dict(self._all()).keys()

    def values(self) -> ValuesView[Member]:
        """Return what is under the names, in order."""
        return dict(self._all()).values()

    def items(self) -> ItemsView[str, Member]:
        """Return names and what is under them, in order."""
        return dict(self._all()).items()

    def pop(self, key: str) -> Member:
        """Remove what is under a name, and return it; raise KeyError if there is nothing."""
        member = self[key]
        del self[key]
        return member

    def clear(self) -> None:
        """Remove everything."""
        self._replace_all([])

    def update(self, members: Any) -> None:
        """Add the members of a mapping, or pairs (name, member), in the place of those of the same names."""
        for name, member in self._checked_pairs(members):
            self._register(name, self._kind, member)

    def _checked_pairs(self, members: Any) -> list[tuple[str, Member]]:
        """Return names and members; all are checked before the first is registered."""
        kind = type(self).__name__
        pairs = members.items() if isinstance(members, (Mapping, _Dict)) else members
        if not isinstance(pairs, Iterable) or isinstance(pairs, (str, Tensor, np.ndarray)):
            raise TypeError(
                f"{kind} was given a {type(members).__name__}; expected a dict, or pairs (name, value)"
            )
        checked = []
        for number, pair in enumerate(pairs):
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise TypeError(
                    f"{kind} was given a {type(pair).__name__} as element {number}; expected a pair "
                    "(name, value)"
                )
            self._check_name(pair[0], self._kind)
            checked.append((pair[0], self._checked(pair[1])))
        return checked


class ModuleDict(_Dict[Module]):
    """A dict of modules: each is registered, so that it is trained, saved, and switched by `eval`.

    Parameters
    ----------
    modules : mapping or iterable of (str, Module), optional
        Modules by name. A name is that of an attribute: it has no dot, and is not one of a method.

    Raises
    ------
    TypeError
        If something is not a module, or a name is no string.
    ValueError
        If a name cannot be one.
    KeyError
        If there is nothing under a name.

    Examples
    --------
    >>> from tinygrad_mnist import nn
    >>> heads = nn.ModuleDict({"digit": nn.Linear(8, 10), "parity": nn.Linear(8, 2)})
    >>> list(heads), "digit" in heads, list(heads.state_dict())[0]
    (['digit', 'parity'], True, 'digit.weight')
    >>> heads["parity"]
    Linear(8, 2)  # weight (2, 8), bias (2,): 18 parameters
    """

    def __init__(self, modules: Members[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def _checked(self, value: object) -> Module:
        return _check_module(self, value)


class ParameterDict(_Dict[Parameter]):
    """A dict of parameters: each is registered, so that it is trained and saved.

    Parameters
    ----------
    parameters : mapping or iterable of pairs, optional
        Parameters by name; of Tensors and floating-point arrays, parameters are made. A name is that of an
        attribute: it has no dot, and is not one of a method.

    Raises
    ------
    TypeError
        If something is neither, or a name is no string.
    ValueError
        If a name cannot be one.
    KeyError
        If there is nothing under a name.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import nn
    >>> nn.ParameterDict({"scale": np.ones(3), "shift": np.zeros(3)})
    ParameterDict()  # scale (3,), shift (3,): 6 parameters
    """

    _kind: ClassVar[str] = PARAMETER

    def __init__(self, parameters: Members[Tensor | Array] | None = None) -> None:
        super().__init__()
        if parameters is not None:
            self.update(parameters)

    def _checked(self, value: object) -> Parameter:
        return _as_parameter(self, value)

    def get(self, key: str, default: Any = None) -> Any:
        """Return what is under a name, or the default."""
        return dict(self._all()).get(key, default)

    def setdefault(self, key: str, default: Any) -> Parameter:
        """Return what is under a name; if there is nothing, put the default there first."""
        if key not in self:
            self[key] = default
        return self[key]

    def popitem(self) -> tuple[str, Parameter]:
        """Remove the last name and what is under it, and return both; raise KeyError if there is none."""
        if not len(self):
            raise KeyError("popitem(): this ParameterDict is empty")
        key = next(reversed(self))
        return key, self.pop(key)

    def copy(self) -> Self:
        """Return another dict of the same parameters, which are shared."""
        return self._with(self._all())

    def fromkeys(self, keys: Iterable[str], default: Tensor | Array) -> ParameterDict:
        """Return a new dict with the values of a default under all names, in a parameter of its own each."""
        values = default.data if isinstance(default, Tensor) else default
        return ParameterDict((key, np.array(values)) for key in keys)

    def __reversed__(self) -> Iterator[str]:
        return reversed([name for name, _ in self._all()])

    def __or__(self, others: Any) -> Self:
        """Return a dict of these parameters and others, which are shared; the others win."""
        return self._with([*self._all(), *self._checked_pairs(others)])

    def __ror__(self, others: Any) -> Self:
        return self._with([*self._checked_pairs(others), *self._all()])

    def __ior__(self, others: Any) -> Self:
        self.update(others)
        return self
