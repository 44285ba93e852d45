"""Module: parameters, buffers and other modules under names, and a ``forward`` that uses them.

Whatever is registered lives in the instance like any attribute, so that ``self.weight`` costs nothing; the
module only remembers which names are parameters, buffers and modules, in the order in which they came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tinygrad_mnist.engine.observe import inside, recorder
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn.parameter import Array, Parameter, write

if TYPE_CHECKING:
    from tinygrad_mnist.graph import Graph

__all__ = ["Module", "Parameter"]

PARAMETER: Final = "parameter"
BUFFER: Final = "buffer"
UNSAVED_BUFFER: Final = "buffer outside the state dict"
MODULE: Final = "module"


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
        If a name cannot be registered.

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

    training: bool
    _registered: dict[str, str]  # name: kind
    _path: str  # this module's own name in the model, with a dot at the end

    def __init__(self) -> None:
        vars(self).update(_registered={}, _path="", training=True)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Compute the output; each module defines it. Call the module itself rather than this."""
        raise NotImplementedError(
            f"{type(self).__name__} defines no forward(); a module says there what it computes"
        )

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Run ``forward``; an error in it says at which place in the model it arose."""
        try:
            if recorder.get() is None:
                return self.forward(*inputs, **options)
            with inside(self, (inputs, options)):
                return self.forward(*inputs, **options)
        except Exception as error:
            blame(error, self, chain(self.named_children(), self.named_modules()))
            raise

    # ---- registration ----------------------------------------------------------------------------------

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Add a parameter, or with None the name of one that this module does without."""
        if parameter is not None and not isinstance(parameter, Parameter):
            raise TypeError(f"parameter {name!r} must be a Parameter or None, not {_described(parameter)}")
        self._register(name, PARAMETER, parameter)

    def register_buffer(self, name: str, value: ArrayLike | Tensor | None, persistent: bool = True) -> None:
        """Add an array that belongs to the state but is not trained.

        Parameters
        ----------
        name : str
            The attribute.
        value : array_like or None
            Kept as an ndarray.
        persistent : bool
            Whether the state dict has it.
        """
        array = None if value is None else _plain(value)
        self._register(name, BUFFER if persistent else UNSAVED_BUFFER, array)

    def register_module(self, name: str, module: Module | None) -> None:
        """Add a module, as assigning it to an attribute does; the name may be a number too."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"module {name!r} must be a Module or None, not {_described(module)}")
        self._register(name, MODULE, module)

    add_module = register_module

    def _register(self, name: str, kind: str, value: Any) -> None:
        registered = self._registered
        if not name or "." in name:
            raise ValueError(
                f"{name!r} cannot be the name of a {kind}: it must not be empty nor contain a dot"
            )
        if hasattr(Module, name) or name in ("training", "_registered", "_path"):
            raise ValueError(
                f"{name!r} cannot be the name of a {kind}: every Module has an attribute of that name"
            )
        if registered.get(name) != kind:
            registered.pop(name, None)  # so that it comes last among its new kind
            registered[name] = kind
        vars(self)[name] = value
        if isinstance(value, Parameter):
            value.name = self._path + name
        elif isinstance(value, Module):
            for path, module in value.named_modules(self._path + name):
                vars(module)["_path"] = f"{path}."
                for own, parameter in module.named_parameters(path, recurse=False):
                    parameter.name = own

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._register(name, PARAMETER, value)
        elif isinstance(value, Module):
            self._register(name, MODULE, value)
        elif (kind := vars(self).get("_registered", {}).get(name)) is None:
            object.__setattr__(self, name, value)
        elif value is None:
            vars(self)[name] = None
        elif kind in (BUFFER, UNSAVED_BUFFER) and isinstance(value, (np.ndarray, np.generic, Tensor)):
            vars(self)[name] = _plain(value)
        else:
            expected = {PARAMETER: "a Parameter", MODULE: "a Module"}.get(kind, "an array")
            raise TypeError(f"{name!r} is a {kind}: expected {expected} or None, not {_described(value)}")

    def __getattr__(self, name: str) -> Any:
        kind = type(self).__name__
        if name in ("training", "_registered", "_path"):
            raise AttributeError(
                f"{kind}.__init__ must call super().__init__() before anything else", name=name, obj=self
            )
        raise AttributeError(f"{kind!r} has no attribute {name!r}", name=name, obj=self)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        self._registered.pop(name, None)

    # ---- what there is ---------------------------------------------------------------------------------

    def _named(self, *kinds: str) -> Iterator[tuple[str, Any]]:
        """What is registered here and is not None, in order."""
        values = vars(self)
        for name, kind in self._registered.items():
            if kind in kinds and (value := values[name]) is not None:
                yield name, value

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules registered here, by name, each once."""
        seen = set()
        for name, module in self._named(MODULE):
            if module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The modules registered here, each once."""
        return (module for _, module in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Paths and modules of all that there is, itself first and each once."""
        seen = set()
        for path, module in self._everywhere(prefix):
            if module not in seen:
                seen.add(module)
                yield path, module

    def modules(self) -> Iterator[Module]:
        """The module itself and all below it, each once."""
        return (module for _, module in self.named_modules())

    def _everywhere(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Paths and modules of all that there is, a shared one wherever it stands."""
        yield prefix, self
        for name, module in self._named(MODULE):
            yield from module._everywhere(_joined(prefix, name))

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """The parameters by path, such as ``0.weight``; a shared one once, under its first path.

        Parameters
        ----------
        prefix : str
            The path of this module, put before each.
        recurse : bool
            Whether to include those of the modules below.
        """
        return self._unique(prefix, recurse, PARAMETER)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, a shared one once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Array]]:
        """The buffers by path, such as ``1.running_mean``."""
        return self._unique(prefix, recurse, BUFFER, UNSAVED_BUFFER)

    def buffers(self, recurse: bool = True) -> Iterator[Array]:
        """The buffers."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def _unique(self, prefix: str, recurse: bool, *kinds: str) -> Iterator[tuple[str, Any]]:
        seen = set()
        for path, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for name, value in module._named(*kinds):
                if id(value) not in seen:
                    seen.add(id(value))
                    yield _joined(path, name), value

    # ---- the state -------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        """Parameters and buffers as the state dict lists them: a shared one under each of its names."""
        return {
            _joined(path, name): value
            for path, module in self._everywhere()
            for kind in (PARAMETER, BUFFER)
            for name, value in module._named(kind)
        }

    def state_dict(self) -> dict[str, Array]:
        """A snapshot of parameters and buffers, under PyTorch's names and in its order.

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
        """Take over the values of a state dict, ours or PyTorch's; dtypes and memory order here stay.

        Parameters
        ----------
        state : mapping
            Arrays, Tensors or PyTorch's tensors by name.
        strict : bool
            Whether missing and unexpected entries are errors; a wrong shape always is.

        Returns
        -------
        IncompatibleKeys
            ``missing_keys`` and ``unexpected_keys``.

        Raises
        ------
        ValueError
            If it does not fit: the one message lists every missing, unexpected and mis-shaped entry, and
            nothing was loaded.
        """
        return load(type(self).__name__, self._state(), state, strict)

    def astype(self, dtype: DTypeLike) -> Self:
        """Convert all floating-point parameters (with their gradients) and buffers in place, and return this.

        Raises
        ------
        TypeError
            If the dtype is not a floating-point one.
        """
        dtype = np.dtype(dtype)
        if dtype.kind != "f":
            raise TypeError(f"a module was asked to take dtype {dtype}; expected a floating-point one")
        for parameter in self.parameters():
            if parameter.dtype.kind == "f":
                parameter.data = parameter.data.astype(dtype)
                if parameter.grad is not None:
                    parameter.grad = Tensor(parameter.grad.data.astype(dtype))
        for module in self.modules():
            for name, buffer in module._named(BUFFER, UNSAVED_BUFFER):
                if buffer.dtype.kind == "f":
                    vars(module)[name] = buffer.astype(dtype)
        return self

    # ---- for all modules and parameters ----------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Make this module and all below it behave as in training (or, with False, as in evaluation)."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Make this module and all below it behave as in evaluation."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Ask for gradients of all parameters, or freeze them, and return this module."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self) -> None:
        """Set the gradient of every parameter to None."""
        for module in self.modules():
            for _, parameter in module._named(PARAMETER):
                parameter.grad = None

    def apply(self, function: Callable[[Module], object]) -> Self:
        """Call a function with each module, this one last, and return this module; to initialise, say."""
        for module in self.children():
            module.apply(function)
        function(self)
        return self

    # ---- as a picture ----------------------------------------------------------------------------------

    def graph(self, *inputs: Any, **options: Any) -> Graph:
        """Run a copy of this module on an example, and return the computation, to be drawn.

        The module itself stays as it is: its running statistics, random numbers and gradients too.

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
        from tinygrad_mnist.graph import record

        twin = deepcopy(self)
        with record(twin) as tape:
            twin(*inputs, **options)
        return tape.graph()

    # ---- as text ---------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the parentheses in ``repr``: how this module was made."""
        return ""

    def __repr__(self) -> str:
        return tree(self)


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _plain(value: Any) -> Array:
    return value.data if isinstance(value, Tensor) else np.asarray(value)


def _described(value: object) -> str:
    return type(value).__name__ + (" (wrap it in nn.Parameter)" if type(value) is Tensor else "")


# ---- as text ---------------------------------------------------------------------------------------------


def tree(module: Module) -> str:
    """The text that is a module's ``repr``: a line a module, and behind a ``#`` its own parameters."""
    lines = list(_lines(module, "", 0))
    lines[-1] = (lines[-1][0], _total(module, own=len(lines) == 1))
    width = max(len(code) for code, _ in lines)
    return "\n".join(f"{code:{width}}  # {remark}" if remark else code for code, remark in lines)


def _lines(module: Module, label: str, depth: int) -> list[tuple[str, str]]:
    """Code and remark of each line."""
    indent = "  " * depth
    head = f"{indent}{label}{type(module).__name__}({module.extra_repr()}"
    children = list(module._named("module"))
    if not children:
        return [(head + ")", _own(module))]
    lines = [(head, _own(module))]
    for name, child in children:
        lines += _lines(child, f"({name}): ", depth + 1)
    return [*lines, (indent + ")", "")]


def _own(module: Module) -> str:
    """Shapes and number of the parameters that a module itself has."""
    own = list(module.named_parameters(recurse=False))
    if not own:
        return ""
    shapes = ", ".join(f"{name} {parameter.shape}" for name, parameter in own)
    return f"{shapes}: {sum(parameter.size for _, parameter in own):,}"


def _total(module: Module, own: bool) -> str:
    """The number of all parameters, and of those that are trained if some are frozen."""
    parameters = list(module.parameters())
    count = sum(parameter.size for parameter in parameters)
    trained = sum(parameter.size for parameter in parameters if parameter.requires_grad)
    text = f"{_own(module)} parameters" if own and parameters else f"{count:,} parameters"
    if own and not parameters:
        return ""
    return text if trained == count else f"{text}, {trained:,} of them trained"


# ---- the state dict --------------------------------------------------------------------------------------


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict(..., strict=False)`` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load(
    owner: str, entries: Mapping[str, Tensor | Array], state: Mapping[str, Any], strict: bool
) -> IncompatibleKeys:
    """Write the values of a state dict into parameters and buffers, in their dtype and memory order.

    Parameters
    ----------
    owner : str
        Whose state it is; for the error.
    entries : mapping
        Parameters (Tensors) and buffers (arrays) by name.
    state : mapping
        Arrays, Tensors or whatever ``np.asarray`` takes, by name.
    strict : bool
        Whether missing and unexpected entries are errors.

    Returns
    -------
    IncompatibleKeys
        The names that one side lacks.

    Raises
    ------
    ValueError
        If something does not fit; the message lists all of it.
    """
    missing = [name for name in entries if name not in state]
    unexpected = [name for name in state if name not in entries]
    values: dict[str, Array] = {}
    problems = []
    if strict:
        problems += [f"missing: {name} of shape {entries[name].shape}" for name in missing]
        problems += [f"unexpected: {name}" for name in unexpected]
    for name, entry in entries.items():
        if name not in state:
            continue
        try:
            values[name] = _fitting(state[name], entry)
        except (TypeError, ValueError, RuntimeError) as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ValueError("\n  - ".join([f"the state dict does not fit this {owner}:", *problems]))
    for name, value in values.items():
        write(entries[name], value)
    return IncompatibleKeys(missing, unexpected)


def _fitting(value: Any, entry: Tensor | Array) -> Array:
    """The value in an array of its own, once it is sure that it can be written into the entry.

    Of its own, for it may be part of what is written to: of the same model's arrays, exchanged.
    """
    array = value.data if isinstance(value, Tensor) else np.asarray(value)
    if array.shape != entry.shape:
        raise ValueError(f"shape {array.shape} was given; expected {entry.shape}")
    if not np.can_cast(array.dtype, entry.dtype, "same_kind"):
        raise ValueError(f"dtype {array.dtype} was given; expected {entry.dtype}")
    if not isinstance(entry, Tensor) and not entry.flags.writeable:
        raise ValueError("the buffer is a read-only array; register one that can be written to")
    return array.astype(entry.dtype)


# ---- errors ----------------------------------------------------------------------------------------------


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
