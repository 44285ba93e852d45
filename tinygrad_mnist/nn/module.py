"""Module: parameters, buffers and other modules under names, and a ``forward`` that uses them.

Here are the registration, the state dict, the text that ``repr`` shows, and the path of a module in the
messages of errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, wraps
from inspect import unwrap
from itertools import chain
from os import PathLike
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tinygrad_mnist.engine.dtypes import is_float
from tinygrad_mnist.engine.errors import as_array, weight_array
from tinygrad_mnist.engine.holders import add_holder
from tinygrad_mnist.engine.observe import inside, recorder
from tinygrad_mnist.engine.pytorch_names import LAYER_KEYWORDS, module_method_advice, unexpected_keyword
from tinygrad_mnist.engine.shards import ExchangeFailure
from tinygrad_mnist.engine.structure import array_replaced, structure_changed
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn.parameter import Array, Parameter, converted, write_values
from tinygrad_mnist.nn.plain_containers import PLAIN_CONTAINERS, members_in, warn_of_member
from tinygrad_mnist.nn.promotion import FLOAT64, warn_of_float64
from tinygrad_mnist.numbers import count_text

if TYPE_CHECKING:
    from tinygrad_mnist.graph import Graph

__all__ = ["Module", "Parameter"]

PARAMETER: Final = "parameter"
BUFFER: Final = "buffer"
UNSAVED_BUFFER: Final = "buffer outside the state dict"
MODULE: Final = "module"

_evaluating: ContextVar[bool] = ContextVar("evaluating", default=False)
"""True while all modules behave as in evaluation mode, in this thread or task."""


class Module:
    """The base of all layers and models.

    A subclass calls ``super().__init__()``, assigns parameters and other modules to attributes, and defines
    ``forward``. As in PyTorch, assigning is registering; the names and layouts of the state dict are
    PyTorch's too.

    Attributes
    ----------
    training : bool
        Whether layers such as `Dropout` and `BatchNorm1d` behave as in training; see `train` and `eval`.

    Raises
    ------
    AttributeError
        If something is registered before ``super().__init__()`` was called.
    TypeError
        If a registered name is given a value of another kind.
    ValueError
        If a name cannot be registered: it is empty, has a dot, or the class has a method or property of it.

    Warns
    -----
    UserWarning
        If modules or parameters are put on a module in a plain list, tuple, set or dict, which would not
        register them; `ModuleList`, `ModuleDict`, `ParameterList` and `ParameterDict` do.

    Notes
    -----
    Whatever is registered lies in the instance like any attribute, so that ``self.weight`` is an ordinary
    look-up. The module only notes which names are parameters, buffers and modules, in the order in which they
    came.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import nn
    >>> class Scale(nn.Module):
    ...     def __init__(self, n):
    ...         super().__init__()
    ...         self.factor = nn.Parameter(np.ones(n, np.float32))
    ...
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> Scale(2)(np.array([1, 2], np.float32))
    Tensor([1., 2.], dtype=float32, op=multiply)
    >>> Scale(2)
    Scale()  # factor (2,): 2 parameters
    """

    _registered: dict[str, str]  # name: kind
    _path: str  # this module's own name in the model, with a dot at the end
    _float64_settled = False  # whether there is nothing more to say about results of float64

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__module__.startswith(f"{__package__}.") and not cls.__name__.startswith("_"):  # a layer
            cls.__init__ = _naming_the_layer(cls.__name__, unwrap(cls.__init__))  # type: ignore[method-assign]

    def __init__(self) -> None:
        vars(self).update(_registered={}, _path="", training=True)

    @property
    def training(self) -> bool:
        """The mode: True where layers behave as in training; False, too, inside `evaluation_mode`."""
        try:
            return self.__dict__["training"] and not _evaluating.get()
        except KeyError:
            raise AttributeError(name="training", obj=self) from None  # __getattr__ says what is wrong

    @training.setter
    def training(self, mode: bool) -> None:
        vars(self)["training"] = mode

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Compute the output; each module defines it. Call the module itself rather than this."""
        raise NotImplementedError(
            f"{type(self).__name__} defines no forward(); a module says there what it computes"
        )

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Run ``forward``; an error in it names the path of the module in which it arose."""
        try:
            if recorder.get() is None:  # the usual case, kept free of the context manager
                output = self.forward(*inputs, **options)
            else:
                with inside(self, (inputs, options)):
                    output = self.forward(*inputs, **options)
        except Exception as error:
            # Children first: the error usually comes from one, and a shared module may stand deeper, too.
            add_module_path(error, self, chain(self.named_children(), self.named_modules()))
            raise
        # Of the whole model only, which has no path, and of it only the dtype of the result, as this is hot.
        if (
            not self._path
            and (type(output) is not Tensor or output._array.dtype == FLOAT64)
            and not self._float64_settled
        ):
            vars(self)["_float64_settled"] = warn_of_float64(self, (inputs, options), output)
        return output

    # ---- registration ----------------------------------------------------------------------------------

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Add a parameter under a name; with None, reserve the name without a parameter."""
        if parameter is not None and not isinstance(parameter, Parameter):
            raise TypeError(f"parameter {name!r} must be a Parameter or None, not {_class_name(parameter)}")
        self._register(name, PARAMETER, parameter)

    def register_buffer(self, name: str, value: ArrayLike | Tensor | None, persistent: bool = True) -> None:
        """Add an array that belongs to the state but is not trained, such as a running mean.

        Parameters
        ----------
        name : str
            The name of the attribute.
        value : array_like or None
            The array; it is kept as an ndarray.
        persistent : bool
            Whether the state dict contains it.
        """
        array = None if value is None else _as_array(value)
        self._register(name, BUFFER if persistent else UNSAVED_BUFFER, array)

    def register_module(self, name: str, module: Module | None) -> None:
        """Add a module, as assigning it to an attribute does; here the name may also be a number."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"module {name!r} must be a Module or None, not {_class_name(module)}")
        self._register(name, MODULE, module)

    add_module = register_module

    def _register(self, name: str, kind: str, value: Any) -> None:
        registered = self._registered
        self._check_name(name, kind)
        self._check_apart(value)
        if registered.get(name) != kind:
            registered.pop(name, None)  # a dict would keep the old place; as another kind it comes last
            registered[name] = kind
        vars(self)[name] = value
        structure_changed()
        add_holder(self)
        # Names run from the root of the model. A model is often put together from the inside, so adding a
        # module renames everything below it.
        if isinstance(value, Parameter):
            value.name = self._path + name
        elif isinstance(value, Module):
            for path, module in value.named_modules(self._path + name):
                vars(module)["_path"] = f"{path}."
                for own, parameter in module.named_parameters(path, recurse=False):
                    parameter.name = own

    def _check_apart(self, value: Any) -> None:
        """Raise if a value is this module, or a module that holds it."""
        if isinstance(value, Module) and any(module is self for module in value.modules()):
            kinds = f"this {_class_name(self)} was given a {_class_name(value)} that is, or holds, it"
            raise ValueError(f"a module cannot be in itself: {kinds}")

    def _check_name(self, name: str, kind: str) -> None:
        """Raise if nothing of this kind can be registered under a name."""
        if not isinstance(name, str):
            raise TypeError(f"{name!r} cannot be the name of a {kind}: a name is a string")
        if not name or "." in name:
            raise ValueError(
                f"{name!r} cannot be the name of a {kind}: it must not be empty nor contain a dot"
            )
        if hasattr(Module, name) or name in ("training", "_registered", "_path", "_containers"):
            raise ValueError(
                f"{name!r} cannot be the name of a {kind}: every Module has an attribute of that name"
            )
        if clash := _descriptor_kind(type(self), name):
            raise ValueError(
                f"{name!r} cannot be the name of a {kind}: {type(self).__name__} has a {clash} of that name, "
                "and one would hide the other; rename one of them"
            )

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._register(name, PARAMETER, value)
        elif isinstance(value, Module):
            self._register(name, MODULE, value)
        elif (kind := vars(self).get("_registered", {}).get(name)) is None:
            before = vars(self).get(name, self)
            object.__setattr__(self, name, value)
            if value is not before:  # a loop may set the mode before every step
                structure_changed()
            if isinstance(value, PLAIN_CONTAINERS):
                vars(self).setdefault("_containers", {})[name] = False
                if "_registered" in vars(self):
                    self._warn_of_unregistered(name)
        elif value is None:
            vars(self)[name] = None
            structure_changed()
        elif kind in (BUFFER, UNSAVED_BUFFER) and isinstance(value, (np.ndarray, np.generic, Tensor)):
            before, array = vars(self)[name], _as_array(value)
            vars(self)[name] = array
            if before is None or (array.dtype, array.strides) != (before.dtype, before.strides):
                structure_changed()
            elif array is not before:
                array_replaced()
        else:
            expected = {PARAMETER: "a Parameter", MODULE: "a Module"}.get(kind, "an array")
            raise TypeError(f"{name!r} is a {kind}: expected {expected} or None, not {_class_name(value)}")

    def _warn_of_unregistered(self, *names: str) -> None:
        """Warn, once for each attribute, of modules and parameters in plain containers of this module.

        Without names, of all its attributes: a list may have been filled after it was put here.
        """
        was_said: dict[str, bool] = vars(self)["_containers"]
        for name in names or tuple(was_said):
            value = vars(self).get(name)
            if was_said[name] or not (found := members_in(value, (Module, Parameter))):
                continue
            registered = {
                id(member) for _, module in self._everywhere() for member in _with_parameters(module)
            }
            unregistered = [(keys, member) for keys, member in found if id(member) not in registered]
            if unregistered:
                was_said[name] = True
                keys, member = unregistered[0]
                warn_of_member(type(self).__name__, name, value, keys, member, isinstance(member, Module))

    def __getattr__(self, name: str) -> Any:
        # Python calls this only for a name that is not there: there is no cost to attributes that exist.
        kind = type(self).__name__
        if name in ("training", "_registered", "_path"):
            raise AttributeError(
                f"{kind}.__init__ must call super().__init__() before anything else", name=name, obj=self
            )
        if _class_attribute(type(self), name) is not None:
            # A property raised an AttributeError of its own, which Python dropped to ask here. Read again, it
            # raises it again, and that says what is missing.
            return object.__getattribute__(self, name)
        advice = module_method_advice(name)
        raise AttributeError(f"{kind!r} has no attribute {name!r}{advice}", name=name, obj=self)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        self._registered.pop(name, None)
        structure_changed()

    # ---- iteration -------------------------------------------------------------------------------------

    def _named(self, *kinds: str) -> Iterator[tuple[str, Any]]:
        """Yield the names and values that are registered in this module and are not None, in order."""
        values = vars(self)
        for name, kind in self._registered.items():
            if kind in kinds and (value := values[name]) is not None:
                yield name, value

    def __setstate__(self, state: Any) -> None:  # of a copy, or from a pickle
        attributes, slots = state if isinstance(state, tuple) else (state, {})
        vars(self).update(attributes or {})
        for name, value in slots.items():
            object.__setattr__(self, name, value)
        structure_changed()
        add_holder(self)

    def _held(self) -> Iterator[tuple[str, Any]]:
        """Yield the own parameters and buffers, each with what an error calls it."""
        for name, kind in tuple(self._registered.items()):  # another thread may be registering meanwhile
            if kind != MODULE and (value := vars(self).get(name)) is not None:
                yield f"{'parameter' if kind == PARAMETER else 'buffer'} {self._path + name!r}", value

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules that are registered in this one, with their names; each once."""
        seen = set()
        for name, module in self._named(MODULE):
            if module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """Yield the modules that are registered in this one; each once."""
        return (module for _, module in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield this module and all below it, with their paths; each once, under its first path."""
        seen = set()
        for path, module in self._everywhere(prefix):
            if module not in seen:
                seen.add(module)
                yield path, module

    def modules(self) -> Iterator[Module]:
        """Yield this module and all below it; each once."""
        return (module for _, module in self.named_modules())

    def _everywhere(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield this module and all below it, with their paths; a shared one under each of its paths."""
        yield prefix, self
        for name, module in self._named(MODULE):
            yield from module._everywhere(_joined(prefix, name))

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Yield the parameters with their paths, such as ``0.weight``; each once, under its first path.

        Parameters
        ----------
        prefix : str
            The path of this module, put before each name.
        recurse : bool
            Whether to include those of the modules below.
        """
        return self._unique(prefix, recurse, PARAMETER)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield the parameters; a shared one once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Array]]:
        """Yield the buffers with their paths, such as ``1.running_mean``; a shared one once."""
        return self._unique(prefix, recurse, BUFFER, UNSAVED_BUFFER)

    def buffers(self, recurse: bool = True) -> Iterator[Array]:
        """Yield the buffers; a shared one once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def _unique(self, prefix: str, recurse: bool, *kinds: str) -> Iterator[tuple[str, Any]]:
        seen = set()  # of identities: two equal arrays are two buffers
        for path, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            if "_containers" in vars(module):
                module._warn_of_unregistered()
            for name, value in module._named(*kinds):
                if id(value) not in seen:
                    seen.add(id(value))
                    yield _joined(path, name), value

    # ---- the state dict --------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        """Return what the state dict lists, by path: a shared parameter under each of its paths."""
        for module in self.modules():
            if "_containers" in vars(module):
                module._warn_of_unregistered()
        return {
            _joined(path, name): value
            for path, module in self._everywhere()
            for kind in (PARAMETER, BUFFER)
            for name, value in module._named(kind)
        }

    def state_dict(self) -> dict[str, Array]:
        """Return a snapshot of parameters and buffers, under PyTorch's names and in its order.

        Returns
        -------
        dict
            Copies, as C-contiguous arrays of the same dtypes.
        """
        return {
            name: (value.data if isinstance(value, Tensor) else value).copy()
            for name, value in self._state().items()
        }

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Load the values of a state dict, ours or PyTorch's; dtypes and memory order of this model stay.

        Parameters
        ----------
        state : mapping
            Arrays, Tensors or arrays of PyTorch and JAX (whatever ``np.asarray`` takes) by name, also
            parameters of PyTorch's that require a gradient. bfloat16 is read as float32, as in files.
        strict : bool
            Whether missing and unexpected entries are errors; a wrong shape always is.

        Returns
        -------
        IncompatibleKeys
            ``missing_keys`` and ``unexpected_keys``.

        Raises
        ------
        TypeError
            If it is no mapping, such as the path of a file.
        ValueError
            If it does not fit. The one message lists every entry that is missing, unexpected, of a wrong
            shape or dtype, beyond the range of the dtype here, or damaged in its file; nothing was loaded.
        """
        if not isinstance(state, Mapping):
            raise _no_state_dict(state)
        entries = self._state()
        missing = [name for name in entries if name not in state]
        unexpected = [name for name in state if name not in entries]
        problems = []
        if strict:
            problems += [f"missing: {name} of shape {entries[name].shape}" for name in missing]
            problems += [f"unexpected: {name}" for name in unexpected]
        # All values are checked and converted before the first is written, so that an error leaves the model
        # as it was.
        values: dict[str, Array] = {}
        first: dict[int, str] = {}  # the first name of each parameter and buffer, which may have several
        for name, entry in entries.items():
            if name in state:
                try:
                    _require_header_fits(entry, state, name)
                    values[name] = _value_for(entry, state[name])
                    twin = first.setdefault(id(entry), name)
                    if twin != name and not np.array_equal(values[twin], values[name], equal_nan=True):
                        problems.append(
                            f"{name}: it is {twin} in this model, but has another value in the state"
                        )
                except Exception as error:  # PyTorch's on np.asarray; zipfile's and zlib's of a damaged file
                    problems.append(f"{name}: {error}")
        if problems:
            raise ValueError(
                "\n  - ".join([f"the state dict does not fit this {type(self).__name__}:", *problems])
            )
        for name, value in values.items():
            write_values(entries[name], value)
        return IncompatibleKeys(missing, unexpected)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the weights to a file, under PyTorch's names, whole or not at all.

        Parameters
        ----------
        path : path-like
            The file. Its suffix chooses the format: ``.safetensors``, ``.npz``, or ``.pt`` and ``.pth`` for
            that of ``torch.save``. See `tinygrad_mnist.exchange.save_weights`.

        Raises
        ------
        ValueError
            If the suffix is another one, or the file cannot be written.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> from tinygrad_mnist import nn
        >>> model, twin = nn.Linear(3, 2), nn.Linear(3, 2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(pathlib.Path(folder, "model.npz"))
        ...     twin.load(pathlib.Path(folder, "model.npz"))
        IncompatibleKeys(missing_keys=[], unexpected_keys=[])
        >>> np.array_equal(twin.weight.data, model.weight.data)
        True
        """
        import tinygrad_mnist  # its lazy names: `exchange` stands above `nn`, and is loaded when first used

        tinygrad_mnist.exchange.save_weights(self, path)

    def load(self, path: str | PathLike[str], strict: bool = True) -> IncompatibleKeys:
        """Load the weights in a file into this module; its dtypes, its mode and its memory order stay.

        Parameters
        ----------
        path : path-like
            A file of weights, ours, PyTorch's or another's. See `tinygrad_mnist.exchange.load_weights`.
        strict : bool
            Whether missing and unexpected entries are errors; a wrong shape always is.

        Returns
        -------
        IncompatibleKeys
            ``missing_keys`` and ``unexpected_keys``.

        Raises
        ------
        ValueError
            If the file cannot be read, or does not fit, as `load_state_dict` says; nothing was loaded.
        """
        import tinygrad_mnist

        return self.load_state_dict(tinygrad_mnist.exchange.load_weights(path, self._state()), strict)

    def astype(self, dtype: DTypeLike) -> Self:
        """Convert all floating-point parameters (with their gradients) and buffers in place, and return this.

        Raises
        ------
        TypeError
            If the dtype is not a floating-point one.
        """
        dtype = np.dtype(dtype)
        if not is_float(dtype):
            raise TypeError(f"a module was asked to take dtype {dtype}; expected a floating-point one")
        done: dict[int, tuple[Array, Array]] = {}
        for parameter in self.parameters():
            if is_float(parameter):
                parameter.data = converted(parameter.data, dtype, done)
                if parameter.grad is not None:
                    parameter.grad = Tensor(parameter.grad.data.astype(dtype))
        for module in self.modules():
            vars(module)["_float64_settled"] = False
            for name, buffer in module._named(BUFFER, UNSAVED_BUFFER):
                if is_float(buffer):
                    vars(module)[name] = converted(buffer, dtype, done)
        structure_changed()
        return self

    # ---- changes to all modules or parameters ----------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Switch this module and all below it to training mode; with False, to evaluation mode."""
        for module in self.modules():
            module.training = mode
            if "_containers" in vars(module):
                module._warn_of_unregistered()
        return self

    def eval(self) -> Self:
        """Switch this module and all below it to evaluation mode."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Let all parameters get gradients, or with False freeze them; return this module."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradient of every parameter to None; or with False, where there is one, to zeros."""
        for module in self.modules():
            for _, parameter in module._named(PARAMETER):
                if set_to_none or parameter.grad is None:
                    parameter.grad = None
                else:
                    parameter.grad = Tensor(np.zeros_like(parameter.grad.data, order="C"))

    def apply(self, function: Callable[[Module], object]) -> Self:
        """Call a function with each module, this one last, for instance to initialise; return this module."""
        for module in self.children():
            module.apply(function)
        function(self)
        return self

    # ---- as a graph ------------------------------------------------------------------------------------

    def graph(self, *inputs: Any, **options: Any) -> Graph:
        """Run a copy of this module on an example, and return the recorded computation, which can be drawn.

        The module itself does not change; its running statistics, random numbers and gradients do not either.

        Parameters
        ----------
        *inputs, **options
            An example of what the module is called with.

        Returns
        -------
        Graph
            See `tinygrad_mnist.graph`.

        Examples
        --------
        >>> import numpy as np
        >>> from tinygrad_mnist import nn
        >>> graph = nn.Linear(3, 2).graph(np.ones((4, 3), np.float32))
        >>> [node.id for node in graph.nodes]
        ['input#1', 'model/weight', 'model/bias', 'model/linear#1']
        """
        import tinygrad_mnist  # its lazy names: `graph` stands beside `nn`, and is loaded when first used

        twin = deepcopy(self)
        with tinygrad_mnist.graph.record(twin) as tape:
            twin(*inputs, **options)
        return tape.graph()

    # ---- as text ---------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """Return what ``repr`` shows between parentheses: the arguments that this module was made with."""
        return ""

    def __repr__(self) -> str:
        return _model_text(self)


@contextmanager
def evaluation_mode() -> Iterator[None]:
    """Let all modules behave as in evaluation mode, in this thread or task; no module is changed.

    So models can be used by several threads at the same time, one of which may train them. A forward that
    starts threads of its own has to pass its context on to them, by `contextvars.copy_context`, as for
    `no_grad`.

    Examples
    --------
    >>> from tinygrad_mnist import nn
    >>> layer = nn.Dropout()
    >>> with evaluation_mode():
    ...     layer.training
    False
    >>> layer.training
    True
    """
    token = _evaluating.set(True)
    try:
        yield
    finally:
        _evaluating.reset(token)


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _as_array(value: Any) -> Array:
    return value.data if isinstance(value, Tensor) else as_array(value)


def _class_name(value: object) -> str:
    return type(value).__name__ + (" (wrap it in nn.Parameter)" if type(value) is Tensor else "")


def _with_parameters(module: Module) -> Iterator[Module | Parameter]:
    """Yield a module and its own parameters."""
    yield module
    for _, parameter in module._named(PARAMETER):
        yield parameter


# ---- names that a class has taken ------------------------------------------------------------------------


def _class_attribute(cls: type, name: str) -> Any:
    """Return what a class or one of its bases defines under a name, as it stands there; None for nothing."""
    return next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)


def _descriptor_kind(cls: type, name: str) -> str | None:
    """Return what a class has under a name that no attribute of an instance may have; None if it may.

    A plain default, such as ``bias = None`` in the body of the class, gives way to the attribute. A property
    does not, and a method or cached_property would be lost behind it.
    """
    attribute = _class_attribute(cls, name)
    if not hasattr(type(attribute), "__get__"):
        return None
    if isinstance(attribute, (property, cached_property)):
        return type(attribute).__name__
    return "method" if callable(attribute) or isinstance(attribute, classmethod) else "descriptor"


# ---- as text ---------------------------------------------------------------------------------------------


def _model_text(module: Module) -> str:
    """Return the ``repr`` of a module: a line for each module in it, with its parameters behind a ``#``."""
    lines = _text_lines(module, "", 0)
    lines[-1] = (lines[-1][0], _total_text(module, is_single=len(lines) == 1))
    width = max(len(code) for code, _ in lines)
    return "\n".join(f"{code:{width}}  # {remark}" if remark else code for code, remark in lines)


def _text_lines(module: Module, label: str, depth: int) -> list[tuple[str, str]]:
    """Return the code and the remark of each line."""
    indent = "  " * depth
    head = f"{indent}{label}{type(module).__name__}({module.extra_repr()}"
    children = list(module._named(MODULE))
    if not children:
        return [(head + ")", _shapes_text(module))]
    lines = [(head, _shapes_text(module))]
    for name, child in children:
        lines += _text_lines(child, f"({name}): ", depth + 1)
    return [*lines, (indent + ")", "")]


def _shapes_text(module: Module) -> str:
    """Return the shapes and the number of the parameters that a module itself has."""
    own = list(module.named_parameters(recurse=False))
    if not own:
        return ""
    shapes = ", ".join(f"{name} {parameter.shape}" for name, parameter in own)
    return f"{shapes}: {sum(parameter.size for _, parameter in own):,}"


def _total_text(module: Module, is_single: bool) -> str:
    """Return the number of all parameters, and of those that are trained if some are frozen."""
    parameters = list(module.parameters())
    if is_single and not parameters:
        return ""
    count = sum(parameter.size for parameter in parameters)
    trained = sum(parameter.size for parameter in parameters if parameter.requires_grad)
    text = f"{_shapes_text(module)} parameters" if is_single else count_text(count, "parameter")
    return text if trained == count else f"{text}, {trained:,} of them trained"


# ---- the state dict --------------------------------------------------------------------------------------


class IncompatibleKeys(NamedTuple):
    """The names that ``load_state_dict(..., strict=False)`` did not find on one side."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def _no_state_dict(given: Any) -> TypeError:
    """Return the error for what is no state dict."""
    has_one = hasattr(given, "state_dict")
    advice = "give its state_dict()" if has_one else "a file is loaded by model.load(path)"
    return TypeError(f"a state dict has arrays by name, but a {type(given).__name__} was given; {advice}")


def _require_header_fits(entry: Tensor | Array, state: Mapping[str, Any], name: str) -> None:
    """Raise a ValueError if an array in an ``.npz`` file does not fit, before its numbers are read.

    A file of a few megabytes may hold an array of zeros that takes all memory.
    """
    if not isinstance(state, np.lib.npyio.NpzFile) or (opened := state.zip) is None:
        return
    member = name if name in opened.namelist() else f"{name}.npy"
    with opened.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version in read:
            shape, _, dtype = read[version](stream)
            _require_fit(entry, shape, dtype)


def _require_fit(entry: Tensor | Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise a ValueError if an array of this shape and dtype cannot be written to the entry."""
    if shape != entry.shape:
        raise ValueError(f"shape {shape} was given; expected {entry.shape}")
    if not np.can_cast(dtype, entry.dtype, "same_kind"):
        raise ValueError(f"dtype {dtype} was given; expected {entry.dtype}")


def _value_for(entry: Tensor | Array, value: Any) -> Array:
    """Return a value as a new array in the dtype of the parameter or buffer that it shall be written to.

    New, even if the dtype fits: the value may be an array of the same model, whose entries are being
    exchanged.

    Raises
    ------
    ValueError
        If shape or dtype do not fit, a number would become infinite, or the entry cannot be written to.
    """
    array = value.data if isinstance(value, Tensor) else weight_array(value)
    _require_fit(entry, array.shape, array.dtype)
    if not isinstance(entry, Tensor) and not entry.flags.writeable:
        raise ValueError("the buffer is a read-only array; register one that can be written to")
    with np.errstate(over="ignore"):
        values = array.astype(entry.dtype)
    if array.dtype != values.dtype and is_float(values) and np.any(np.isinf(values) & np.isfinite(array)):
        raise ValueError(f"numbers beyond the range of {entry.dtype} were given")
    return values


# ---- errors ----------------------------------------------------------------------------------------------


@dataclass
class _ErrorOrigin:
    """The module in which an error arose; kept on the error while it passes through the modules around it."""

    message: str  # with which the error was raised
    class_name: str  # of the module that raised it
    path: str  # from the module that it left last to the one that raised it
    last: int  # the identity of the module that it left last
    note: str = ""  # added to an error whose message cannot be changed


def add_module_path(error: Exception, module: object, children: Iterable[tuple[str, object]]) -> None:
    """Put the path of the module in which an error arose before the message of the error.

    It is called for each module that the error leaves, the innermost first. An error that left a Linear and
    then a Sequential, in which the Linear has the name ``2``, becomes ``2 (Linear): input of shape ...``. The
    error stays the same object, with its type, traceback and cause. If its message cannot be changed, it gets
    a note instead.

    Parameters
    ----------
    error : Exception
        The error on its way out.
    module : object
        The module that it leaves.
    children : iterable of (str, object)
        The modules in it, by path; read only if the error came from another module.
    """
    if isinstance(error, ExchangeFailure):
        return
    origin: _ErrorOrigin | None = getattr(error, "_module_origin", None)
    name = None
    if origin is not None:
        name = next((name for name, child in children if id(child) == origin.last), None)
    if origin is None or name is None:
        # Raised here, or in a module that is not registered: the message so far is then part of the new one.
        origin = _ErrorOrigin(str(error), type(module).__name__, "", id(module))
        error._module_origin = origin  # type: ignore[attr-defined]
    else:
        origin.path = _joined(name, origin.path) if origin.path else name
        origin.last = id(module)
    _write_origin(error, origin)


def _naming_the_layer(layer: str, initialize: Callable[..., None]) -> Callable[..., None]:
    """Return the ``__init__`` of a layer, whose errors name the layer.

    Python names the class that defines ``__init__``, which may be a private base.
    """
    called = f"{initialize.__qualname__}() "

    @wraps(initialize)
    def __init__(self: Module, *inputs: Any, **options: Any) -> None:
        try:
            initialize(self, *inputs, **options)
        except (TypeError, ValueError) as error:
            message = str(error)
            if message.startswith(called):
                unexpected = next((name for name in options if message.endswith(f"argument {name!r}")), "")
                if unexpected in LAYER_KEYWORDS:
                    raise unexpected_keyword(layer, unexpected, LAYER_KEYWORDS) from None
                raise TypeError(f"{layer}() {message.removeprefix(called)}") from None
            if not message.startswith(layer):
                add_module_path(error, self, ())
            raise

    return __init__


def _write_origin(error: Exception, origin: _ErrorOrigin) -> None:
    place = f"{origin.path} ({origin.class_name})" if origin.path else origin.class_name
    if isinstance(error, np.exceptions.AxisError):  # its text is put together from what it is made with
        axis: Any = error.axis
        own = "" if error.ndim is None else str(np.exceptions.AxisError(axis, error.ndim))
        prefix = origin.message.removesuffix(own).removesuffix(": ")
        error.args = (axis, error.ndim, f"{place}: {prefix}" if prefix else place)
        error.__init__(*error.args)  # type: ignore[misc]
        return
    if not origin.note:
        before, text = error.args, f"{place}: {origin.message}"
        error.args = (text,)
        if str(error) == text and len(before) == 1:
            return
        error.args = before  # a KeyError shows the repr of its argument; an OSError has two
    else:
        error.__notes__.remove(origin.note)
    origin.note = f"in {place}"
    error.add_note(origin.note)
