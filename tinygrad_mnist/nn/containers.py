"""Sequential: modules that are called one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self, overload

from tinygrad_mnist.engine.observe import recorder
from tinygrad_mnist.nn.fused import fused_hidden_layer
from tinygrad_mnist.nn.module import MODULE, Module


class Sequential(Module):
    """Modules that are called one after the other, each with the result of the one before.

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
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, member in modules[0].items():
                self.register_module(name, self._checked(member))
        else:
            for module in modules:
                self.append(module)  # type: ignore[arg-type]  # append checks it

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

    @staticmethod
    def _checked(module: object) -> Module:
        if not isinstance(module, Module):
            hint = "; pass its elements, Sequential(*modules)" if isinstance(module, (list, tuple)) else ""
            raise TypeError(f"Sequential was given a {type(module).__name__}; expected modules{hint}")
        return module

    def _all(self) -> list[tuple[str, Module]]:
        """Return names and modules, in order; a module that was added twice is there twice."""
        return list(self._named(MODULE))

    def append(self, module: Module) -> Self:
        """Add a module at the end, under the next number, and return this Sequential."""
        numbers = [int(name) for name, _ in self._all() if name.isdecimal()]
        self.register_module(str(max(numbers, default=-1) + 1), self._checked(module))
        return self

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[Module]:
        return iter([module for _, module in self._all()])

    @overload
    def __getitem__(self, index: int) -> Module: ...

    @overload
    def __getitem__(self, index: slice) -> Sequential: ...

    def __getitem__(self, index: int | slice) -> Module | Sequential:
        """Return the module at a position; of a slice, a Sequential of its modules under the same names."""
        if not isinstance(index, slice):
            return self._all()[index][1]
        part = Sequential()
        for name, module in self._all()[index]:
            # Not by register_module, which would rename the parameters: they keep their names in the whole
            # model.
            part._registered[name] = MODULE
            vars(part)[name] = module
        vars(part)["training"] = self.training
        return part

    def __setitem__(self, index: int, module: Module) -> None:
        self.register_module(self._all()[index][0], self._checked(module))
