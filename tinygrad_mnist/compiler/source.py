"""A look at a function's own source, for what a replay would leave out or would freeze.

A compiled program computes what the function computed on arrays, and nothing else. A ``print``, an ``append``
to a list outside, a counter or a random number of Python's is not part of it: it would happen while the
function is traced, and never again. Tracing does not show that. The source does.

What the source does not show, such as a name that is looked up by ``getattr``, is not found; nor is anything
in a function without a source, such as one that was made by `exec`, or in a lambda.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import linecache
import logging
import random
import sys
import textwrap
import types
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from tokenize import TokenError
from typing import Any, Final

import numpy as np

from tinygrad_mnist.compiler.collection import is_library_file
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn.module import MODULE, Module


@dataclass(frozen=True)
class Finding:
    """A line that a replay would leave out or freeze; as a text, it says so, and what to write instead.

    Attributes
    ----------
    file : str
        The path of the source.
    line : int
        The number of the line in it.
    function : str
        The name of the function.
    source : str
        The line.
    what : str
        What it does that a replay would not.
    advice : str
        What to write instead.
    """

    file: str
    line: int
    function: str
    source: str
    what: str
    advice: str

    @property
    def is_question(self) -> bool:
        """True if a function is right where it runs as it is, and only a trace would answer otherwise."""
        return self.what == _ASKS_FOR_TYPE[0]

    def __str__(self) -> str:
        return f"{self.file}:{self.line}, in {self.function}: {self.source}\n  {self.what}; {self.advice}"


MUTATORS: Final = frozenset(
    {
        *(
            "add",
            "append",
            "appendleft",
            "clear",
            "discard",
            "extend",
            "extendleft",
            "insert",
            "pop",
            "popitem",
        ),
        *("popleft", "remove", "reverse", "setdefault", "sort", "update", "write", "writelines"),
    }
)
"""Methods that change a list, dict, set or file."""

JOURNALLED: Final = frozenset({"data", "grad", "requires_grad"})
"""Attributes of Tensors that a compiled program writes itself."""

_LOG_METHODS: Final = frozenset(["critical", "debug", "error", "exception", "info", "log", "warn", "warning"])
_LOGGERS: Final = frozenset({"log", "logger", "logging", "LOG", "LOGGER", "_log", "_logger"})
_FROZEN_MODULES: Final = {
    "random": ("a random number of Python's", "draw it outside, and pass it as an argument"),
    "numpy.random": ("a random number of NumPy's", "draw it outside, and pass it as an array"),
    "time": ("the clock", "read it outside of the jitted function"),
    "datetime": ("the clock", "read it outside of the jitted function"),
    "secrets": ("a random number", "draw it outside, and pass it as an argument"),
    "uuid": ("a random number", "draw it outside, and pass it as an argument"),
}
"""Modules whose functions give something else at each call: what they give, and what to do."""

_SEEDED: Final = frozenset({"default_rng", "Generator", "RandomState", "SeedSequence", "Random"})
_GENERATORS: Final = (np.random.Generator, np.random.RandomState, random.Random)
_ASKS_FOR_TYPE: Final = (
    "it is asked for a type, and a traced function has Tensors in the place of arrays",
    "ask outside, or ask isinstance(x, np.ndarray)",
)
_UNKNOWN: Final = object()
"""The value of an expression that the source alone does not tell."""

_RETURN: Final = "return the value, and {} outside of the jitted function"


def find(function: Any) -> list[Finding]:
    r"""Return what a replay of a function would leave out or freeze, in the order of the lines.

    The user's functions that it calls are looked at too; those that they call only for questions about types.

    Parameters
    ----------
    function : callable
        A function, a method, a module or another callable object; decorated ones are unwrapped.

    Examples
    --------
    >>> import tempfile, importlib.util, pathlib
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name, "train.py")
    >>> _ = path.write_text("losses = []\n\ndef step(x):\n    losses.append(x)\n    return x\n")
    >>> spec = importlib.util.spec_from_file_location("train", path)
    >>> train = importlib.util.module_from_spec(spec)
    >>> spec.loader.exec_module(train)
    >>> (finding,) = find(train.step)
    >>> finding.line, finding.source, finding.what
    (4, 'losses.append(x)', "'losses' is changed, which is outside of the function")
    >>> finding.advice
    'return the value, and call losses.append outside of the jitted function'
    >>> folder.cleanup()
    """
    findings: list[Finding] = []
    seen: set[types.CodeType] = set()
    waiting = [(inner, owner, 0) for inner, owner in _functions_of(function)]
    for inner, owner, depth in waiting:
        found: list[Finding] = []
        for helper in _look_at(inner, owner, depth == 0, seen, found):
            waiting += [(each, its_owner, depth + 1) for each, its_owner in _functions_of(helper)]
        findings += found if depth < 2 else [finding for finding in found if finding.is_question]
    return findings


def _functions_of(function: Any) -> Iterator[tuple[types.FunctionType, Any]]:
    """Yield the functions that a callable consists of, each with the object whose method it is, or None.

    Of a module, these are the ``forward`` of all modules in it that the user wrote.
    """
    owner = None
    while True:
        if isinstance(function, types.MethodType):
            owner, function = function.__self__, function.__func__
        elif isinstance(function, types.FunctionType):
            yield function, owner
            if "__wrapped__" not in vars(function):
                return
            function = vars(function)["__wrapped__"]  # what a decorator put a function around
        elif isinstance(function, Module):
            for module in function.modules():
                if isinstance(
                    forward := vars(module).get("forward", type(module).forward), types.FunctionType
                ):
                    yield forward, module
            return
        elif isinstance(function, functools.partial):
            function = function.func
        elif (inner := getattr(function, "__wrapped__", None)) is not None:
            function = inner
        elif isinstance(
            method := inspect.getattr_static(type(function), "__call__", None), types.FunctionType
        ):
            owner, function = function, method
        else:
            return


def _look_at(
    function: types.FunctionType,
    owner: Any,
    is_first: bool,
    seen: set[types.CodeType],
    findings: list[Finding],
) -> list[Any]:
    """Add the findings in one function, and return the objects that it calls.

    The arguments of the first function come from outside; those of others it may have made itself.
    """
    code = function.__code__
    if code in seen or is_library_file(code.co_filename):
        return []
    seen.add(code)
    if code.co_name == "<lambda>" and "type" in code.co_names:
        text = linecache.getline(code.co_filename, code.co_firstlineno).strip()
        findings.append(Finding(code.co_filename, code.co_firstlineno, "<lambda>", text, *_ASKS_FOR_TYPE))
    lines, node = _source_of(function)
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):  # a lambda
        return []
    look = _Look(function, owner, node, is_first)
    for statement in node.body:
        look.visit(statement)
    for place, what, advice in look.found:
        number = place.lineno
        text = lines[number - 1].strip()
        line = code.co_firstlineno + number - 1
        findings.append(Finding(code.co_filename, line, code.co_name, text, what, advice))
    return look.called


def _source_of(function: types.FunctionType) -> tuple[list[str], ast.AST | None]:
    """Return the lines of a function's own source, and its syntax; None where there is no source.

    It is that of `inspect.getsource`, which looks through all modules and reads all tokens: 5 ms.
    """
    code = function.__code__
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename, function.__globals__)[code.co_firstlineno - 1 :]
    with suppress(SyntaxError, IndexError):
        return lines, _parsed(lines[: _last_line(code)])
    with suppress(SyntaxError, IndexError, TokenError):  # a bracket closes after the last line of code
        return lines, _parsed(inspect.getblock(lines))
    return lines, None  # there is none, or it is a part of an expression


def _parsed(lines: Sequence[str]) -> ast.AST:
    return ast.parse(textwrap.dedent("".join(lines))).body[0]


def _last_line(code: types.CodeType) -> int | None:
    """Return the last line of which a function has code, counted from its first; None if it is not known."""
    ends = [end for _, end, _, _ in code.co_positions() if end is not None]
    inner = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    ends += [each.co_firstlineno + (_last_line(each) or 1) - 1 for each in inner]
    return max(ends) - code.co_firstlineno + 1 if ends else None


# ---- one function ----------------------------------------------------------------------------------------


class _Look(ast.NodeVisitor):
    """A look at the body of one function.

    Attributes
    ----------
    found : list of (node, str, str)
        What was found: where, what it is, what to write.
    called : list
        The objects that are called, as far as the source tells.
    """

    def __init__(
        self,
        function: types.FunctionType,
        owner: Any,
        node: ast.FunctionDef | ast.AsyncFunctionDef,
        is_first: bool,
    ) -> None:
        self.found: list[tuple[Any, str, str]] = []
        self.called: list[Any] = []
        self._is_whole = is_first
        self._names = {**vars(builtins), **function.__globals__}
        code = function.__code__
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                self._names[name] = cell.cell_contents
            except ValueError:  # not assigned yet
                self._names[name] = _UNKNOWN
        self._declared = {
            name
            for part in ast.walk(node)
            if isinstance(part, (ast.Global, ast.Nonlocal))
            for name in part.names
        }
        self._made_here = _made_here(node, self._declared)
        if not is_first:
            self._made_here |= _parameters(node.args) - (
                set(code.co_varnames[:1]) if owner is not None else set()
            )
        local = dict.fromkeys([*code.co_varnames, *code.co_cellvars], _UNKNOWN)
        if owner is not None and code.co_argcount:
            local[code.co_varnames[0]] = owner
        self._names.update({**local, **_imported(node)})

    def _note(self, node: ast.AST, what: str, advice: str) -> None:
        self.found.append((node, what, advice))

    # ---- what an expression is -------------------------------------------------------------------------

    def _value(self, node: ast.AST) -> Any:
        """Return the object that a name or dotted name stands for; `_UNKNOWN` if the source does not tell."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return self._names.get(node.id, _UNKNOWN)
        if isinstance(node, ast.Attribute):
            holder = self._value(node.value)
            if holder is _UNKNOWN:
                return _UNKNOWN
            try:  # without running a property or `__getattr__`
                value = inspect.getattr_static(holder, node.attr)
            except AttributeError:
                return _UNKNOWN
            if isinstance(holder, (type, types.ModuleType)) or node.attr in getattr(holder, "__dict__", {}):
                return value
            if isinstance(value, types.FunctionType):
                return types.MethodType(value, holder)
            return _UNKNOWN if hasattr(type(value), "__get__") else value
        return _UNKNOWN

    def _is_outside(self, node: ast.AST) -> bool:
        """Return whether what an expression names was there before the call."""
        while isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred)):
            node = node.value
        return isinstance(node, ast.Name) and node.id not in self._made_here

    # ---- statements ------------------------------------------------------------------------------------

    def visit_If(self, node: ast.If) -> None:
        """Look at the branch that is taken, if a constant or a plain global tells."""
        test = self._truth(node.test)
        self.visit(node.test)
        for statement in (node.body if test is not False else []) + (node.orelse if test is not True else []):
            self.visit(statement)

    def _truth(self, test: ast.AST) -> bool | None:
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            inner = self._truth(test.operand)
            return None if inner is None else not inner
        value = self._value(test)
        return bool(value) if value is None or isinstance(value, (bool, int, float, str)) else None

    def visit_Assign(self, node: ast.Assign) -> None:
        """Look at what is assigned to."""
        for target in node.targets:
            self._store(target)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """Look at what is assigned to."""
        self._store(node.target)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Look at what is assigned to."""
        if node.value is not None:
            self._store(node.target)
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        """Look at what is deleted."""
        for target in node.targets:
            self._store(target)

    def visit_For(self, node: ast.For) -> None:
        """Look at what the loop assigns to."""
        self._store(node.target)
        self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        """Look at what is assigned to."""
        self._store(node.target)
        self.generic_visit(node)

    def _store(self, target: ast.AST) -> None:
        if isinstance(target, (ast.Tuple, ast.List)):
            for element in target.elts:
                self._store(element)
        elif isinstance(target, ast.Name):
            if target.id in self._declared:
                self._note(
                    target,
                    f"{target.id!r} is assigned to, which is a global or belongs to a function around",
                    _RETURN.format(f"assign to {target.id}"),
                )
        elif isinstance(target, (ast.Attribute, ast.Subscript)) and self._is_outside(target):
            part: ast.AST = target
            while isinstance(part, (ast.Attribute, ast.Subscript)):
                if isinstance(part, ast.Attribute) and (part.attr in JOURNALLED or self._is_registered(part)):
                    return
                part = part.value
            text = ast.unparse(target)
            kind = "an attribute" if isinstance(target, ast.Attribute) else "an element"
            self._note(
                target,
                f"{text!r} is assigned to, {kind} of an object outside of the function",
                _RETURN.format(f"assign to {text}"),
            )

    def _is_registered(self, node: ast.Attribute) -> bool:
        """Return whether an attribute is a buffer or parameter of a module, which a program writes itself."""
        holder = self._value(node.value)
        return isinstance(holder, Module) and holder._registered.get(node.attr, MODULE) != MODULE

    # ---- expressions -----------------------------------------------------------------------------------

    def visit_Expr(self, node: ast.Expr) -> None:
        """Look at a call that is made for its effect alone."""
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            holder = call.func.value
            method = self._value(call.func)
            is_users = isinstance(method, types.MethodType)  # then its own source is looked at
            is_function = isinstance(self._value(holder), types.ModuleType)  # np.add(x, y, out=z)
            if call.func.attr in MUTATORS and self._is_outside(holder) and not (is_users or is_function):
                name = ast.unparse(holder)
                self._note(
                    call,
                    f"{name!r} is changed, which is outside of the function",
                    _RETURN.format(f"call {name}.{call.func.attr}"),
                )
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Look at what is called."""
        value = self._value(node.func)
        if value is not _UNKNOWN:
            self.called.append(value)
        name = ast.unparse(node.func)
        if value is print or value is input:
            self._note(
                node,
                f"{name}() would run only once, while the function is traced",
                "call it outside of the jitted function, or switch jit off: TINYGRAD_MNIST_JIT=0",
            )
        elif value in (setattr, delattr, open):
            self._note(
                node,
                f"{name}() reaches what is outside, and would do so only while the function is traced",
                "call it outside of the jitted function",
            )
        elif self._asks_for_type(value, node.args):
            self._note(node, *_ASKS_FOR_TYPE)
        elif isinstance(node.func, ast.Attribute):
            self._look_at_method(node, node.func, name)
        elif (frozen := _frozen_module(value)) is not None:
            self._note_frozen(node, name, *frozen)
        self.generic_visit(node)

    def _asks_for_type(self, function: Any, arguments: list[ast.expr]) -> bool:
        """Return whether a call asks for a type, or for a Tensor, of what may be an array."""
        if not arguments or self._value(arguments[0]) is not _UNKNOWN:
            return False
        if function is type:
            return len(arguments) == 1
        return function is isinstance and len(arguments) == 2 and self._names_tensors(arguments[1])

    def _names_tensors(self, kinds: ast.AST) -> bool:
        """Return whether an expression names classes to which Tensors belong, and arrays do not."""
        if isinstance(kinds, ast.Tuple):
            return any(map(self._names_tensors, kinds.elts))
        if isinstance(kinds, ast.BinOp):  # list | Tensor
            return self._names_tensors(kinds.left) or self._names_tensors(kinds.right)
        classes = self._value(kinds)
        for cls in classes if isinstance(classes, tuple) else (classes,):
            if isinstance(cls, type) and issubclass(Tensor, cls) and not issubclass(np.ndarray, cls):
                return True
        return False

    def visit_MatchClass(self, node: ast.MatchClass) -> None:
        """Look for ``case Tensor():``."""
        if self._names_tensors(node.cls):
            self._note(node.cls, *_ASKS_FOR_TYPE)
        self.generic_visit(node)

    def _look_at_method(self, node: ast.Call, method: ast.Attribute, name: str) -> None:
        holder = self._value(method.value)
        is_logger = (
            isinstance(holder, logging.Logger)
            or holder is logging
            or (holder is _UNKNOWN and isinstance(method.value, ast.Name) and method.value.id in _LOGGERS)
        )
        if is_logger and method.attr in _LOG_METHODS:
            self._note(
                node,
                f"{name}() would run only once, while the function is traced",
                "call it outside of the jitted function",
            )
        elif isinstance(holder, _GENERATORS):
            self._note_frozen(
                node,
                name,
                *_FROZEN_MODULES["random" if isinstance(holder, random.Random) else "numpy.random"],
            )
        elif isinstance(holder, types.ModuleType) and holder.__name__ in _FROZEN_MODULES:
            if method.attr in _SEEDED and node.args:  # the same numbers at each call
                return
            self._note_frozen(node, name, *_FROZEN_MODULES[holder.__name__])
        elif (
            isinstance(holder, type)
            and holder.__module__ == "datetime"
            and method.attr in ("now", "today", "utcnow")
        ):
            self._note_frozen(node, name, *_FROZEN_MODULES["datetime"])

    def _note_frozen(self, node: ast.AST, name: str, what: str, advice: str) -> None:
        self._note(node, f"{name}() gives {what}, and a replay would repeat the first one", advice)

    def visit_Yield(self, node: ast.Yield) -> None:
        """Note it."""
        self._note_steps(node, "yield")

    def visit_YieldFrom(self, node: ast.YieldFrom) -> None:
        """Note it."""
        self._note_steps(node, "yield")

    def visit_Await(self, node: ast.Await) -> None:
        """Note it."""
        self._note_steps(node, "await")

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Look at a function inside; it may run in steps of its own."""
        is_whole, self._is_whole = self._is_whole, False
        self.generic_visit(node)
        self._is_whole = is_whole

    def _note_steps(self, node: ast.AST, word: str) -> None:
        if not self._is_whole:
            return
        self._note(
            node, f"{word}: a compiled function runs in one step", "jit the function that does the arithmetic"
        )


# ---- names -----------------------------------------------------------------------------------------------


def _frozen_module(value: Any) -> tuple[str, str] | None:
    """Return what a function that was imported by its name gives, if that is another thing at each call."""
    if value is _UNKNOWN or isinstance(value, type):
        return None
    owner = getattr(value, "__self__", None)
    if isinstance(owner, random.Random):
        return _FROZEN_MODULES["random"]
    if isinstance(owner, (np.random.Generator, np.random.RandomState)):
        return _FROZEN_MODULES["numpy.random"]
    return _FROZEN_MODULES.get(getattr(value, "__module__", None) or "")


def _imported(function: ast.AST) -> dict[str, Any]:
    """Return the modules that are imported inside of a function and are loaded, by the names they get."""
    found: dict[str, Any] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.name if alias.asname else alias.name.partition(".")[0]
                found[alias.asname or name] = sys.modules.get(name, _UNKNOWN)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            module = sys.modules.get(node.module)
            for alias in node.names:
                found[alias.asname or alias.name] = getattr(module, alias.name, _UNKNOWN)
    return found


def _made_here(function: ast.AST, declared: set[str]) -> set[str]:
    """Return the names in a function whose objects it makes itself: not its arguments, nor parts of them.

    A name that is only ever assigned what was there before, as in ``log = self.log``, is not one of them.
    """
    sources: dict[str, list[ast.AST | None]] = {}
    for node in ast.walk(function):
        for target, source in _assignments(node):
            for part in ast.walk(target):
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store) and part.id not in declared:
                    sources.setdefault(part.id, []).append(source)
    made = set(sources)
    while outside := {
        name
        for name in made
        if all(source is not None and _is_part_of_outside(source, made - {name}) for source in sources[name])
    }:
        made -= outside
    for node in ast.walk(function):  # a function inside: what it is given is not known, and its own affair
        if node is not function and isinstance(node, (ast.FunctionDef, ast.Lambda)):
            made |= _parameters(node.args)
    return made


def _parameters(arguments: ast.arguments) -> set[str]:
    return {argument.arg for argument in ast.walk(arguments) if isinstance(argument, ast.arg)}


def _assignments(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST | None]]:
    """Yield the targets of a statement, each with what it is assigned, or a part of which it is assigned."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield target, node.value
    elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
        yield node.target, node.value
    elif isinstance(node, (ast.For, ast.comprehension)):
        yield node.target, node.iter
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        yield node.optional_vars, None


_PARTS: Final = frozenset(
    {
        *("buffers", "children", "enumerate", "items", "iter", "list", "modules", "named_buffers"),
        *("named_children", "named_modules", "named_parameters", "parameters", "reversed", "sorted", "tuple"),
        *("values", "zip"),
    }
)
"""Functions and methods that give the parts of what they are called on, not copies."""


def _is_part_of_outside(source: ast.AST, made: set[str]) -> bool:
    """Return whether an expression names an object that was there before the call, or its parts."""
    while True:
        if isinstance(source, (ast.Attribute, ast.Subscript, ast.Starred)):
            source = source.value
        elif isinstance(source, ast.Call):
            method = source.func
            name = method.attr if isinstance(method, ast.Attribute) else getattr(method, "id", None)
            if name not in _PARTS:
                return False
            if isinstance(method, ast.Attribute):
                source = method.value
            else:
                return any(_is_part_of_outside(argument, made) for argument in source.args)
        else:
            return isinstance(source, ast.Name) and source.id not in made
