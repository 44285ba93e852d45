"""Machine code: LLVM's language as text in, addresses of functions in memory out.

`llvmlite` does it. It is imported when somebody compiles, as it is an extra and takes 40 ms to load. What was
compiled once is found again on disk, by a key of all that the machine code depends on.
"""

from __future__ import annotations

import os
import re
import signal
import struct
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from tinygrad_mnist._version import __version__
from tinygrad_mnist.compiler.cache import DiskCache, directory_of_machine_code, key_of

FORMAT: Final = "3"
"""A part of the key on disk, to be raised when this file compiles the same text to other code."""

OLDEST_LLVM: Final = 20
"""The oldest LLVM whose language has pointers without types; llvmlite has it since 0.45."""

SPEED: Final = 1
"""Level of LLVM's passes; loops become vectors at each. With 2, it takes an eighth longer, and made the same
code of all programs that were compared; with 3, a third longer."""

VECTORISED: Final = '"vectorised"'
"""Attribute of a function that is written in vectors, and calls none: LLVM's passes skip it."""

_DEFINED: Final = re.compile(r'define (?!internal|private)[^@\n]*@"?([\w.$-]+)')
_DECLARED: Final = re.compile(r'^[ \t]*declare [^@\n]*@"?((?!llvm\.)[\w.$-]+)', re.MULTILINE)

PERF_VARIABLE: Final = "TINYGRAD_MNIST_PERF"
"""Environment variable that, set to 1, tells Linux's profiler `perf` the names of compiled functions."""

NO_SYMBOLS: Final[Mapping[str, int]] = MappingProxyType({})


# ---- llvmlite ------------------------------------------------------------------------------------------


@cache
def why_unavailable() -> str | None:
    """Return the sentence that says why nothing can be compiled here; None if it can."""
    hint = 'pip install "tinygrad_mnist[jit]" brings it'
    try:
        import llvmlite.binding as llvm
    except ImportError:
        return f"compiling needs the package llvmlite, which is not installed; {hint}"
    except (OSError, RuntimeError) as error:  # its library cannot be loaded
        return f"compiling needs the package llvmlite, which does not load ({error})"
    if llvm.llvm_version_info[0] < OLDEST_LLVM:
        import llvmlite

        return f"compiling needs a newer llvmlite than {llvmlite.__version__}; {hint}"
    try:
        llvm.check_jit_execution()
    except OSError as error:
        return f"this system lets no process make code that runs ({error.strerror})"
    return None


def available() -> bool:
    """Return whether machine code can be made here."""
    return why_unavailable() is None


@cache
def _llvm() -> Any:
    """Return llvmlite's binding, ready to compile for this machine; raise ImportError where there is none."""
    if (reason := why_unavailable()) is not None:
        raise ImportError(reason)
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


# LLVM is entered by one thread at a time. A process forks only when no thread is inside, or the child would
# inherit what that thread left half done.
_LOCK = threading.RLock()
if sys.platform != "win32":
    os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let Ctrl-C wait: between two calls of LLVM, it would leave objects that are then freed twice."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    interrupts: list[Any] = []
    signal.signal(signal.SIGINT, lambda *given: interrupts.append(given))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if interrupts:
            handler(*interrupts[0])


# ---- the host ------------------------------------------------------------------------------------------


class Host(NamedTuple):
    """The processor that code is made for.

    The name alone is not enough: virtual machines show the name of a processor without all that it can do.
    The features say what is there and what is not.
    """

    triple: str
    cpu: str
    features: Mapping[str, bool]

    @property
    def features_text(self) -> str:
        """The features as LLVM reads them, ``"+avx2,-avx512f"``."""
        return ",".join(("+" if here else "-") + name for name, here in sorted(self.features.items()))


@cache
def host() -> Host:
    """Return the processor of this machine."""
    llvm = _llvm()
    try:
        features = dict(llvm.get_host_cpu_features())
    except RuntimeError:  # LLVM cannot tell on every system; the name must do
        features = {}
    return Host(llvm.get_default_triple(), llvm.get_host_cpu_name(), features)


def vector_bits() -> int:
    """Return the bits of this machine's widest vectors: 512, 256 or 128."""
    features = host().features
    if features.get("avx512f"):
        return 512
    return 256 if features.get("avx") else 128


def preferred_vector_bits() -> int:
    """Return the bits of the vectors that loops are best made of: 512, 256 or 128.

    The first processors with vectors of 512 bits, Skylake and Cascade Lake, run slower while they use them.
    They are known by what their successors and AMD's have and they have not.
    """
    slows_down = not host().features.get("avx512vbmi2")
    return min(vector_bits(), 256) if slows_down else vector_bits()


# ---- compiling -----------------------------------------------------------------------------------------


class Compiled:
    """Machine code in memory, which is there as long as this object is.

    Attributes
    ----------
    object_bytes : bytes
        The code as an object file, not yet bound to addresses.
    from_disk : bool
        Whether it was found on disk.
    names : frozenset of str
        The functions that can be called from outside.
    needed : list of str
        The names outside that the code refers to.
    """

    def __init__(
        self, object_bytes: bytes, from_disk: bool, names: frozenset[str], needed: list[str], engine: Any
    ) -> None:
        self.object_bytes = object_bytes
        self.from_disk = from_disk
        self.names = names
        self.needed = needed
        self._engine = engine
        weakref.finalize(self, _free, engine).atexit = False  # at its end the process frees all

    def address(self, name: str) -> int:
        """Return the address of a function. It holds as long as this object.

        Raises
        ------
        KeyError
            There is no function of this name that can be called from outside.
        """
        if name not in self.names:
            raise KeyError(f"there is no function {name!r} among {', '.join(sorted(self.names))}")
        with _LOCK:
            return int(self._engine.get_function_address(name))


def compile_ir(ir: str, *, symbols: Mapping[str, int] = NO_SYMBOLS, disk: bool = True) -> Compiled:
    r"""Compile a module in LLVM's language for this machine, or find it on disk, and load it.

    Parameters
    ----------
    ir : str
        The text of the module. It names no address, so that the code of one process is right in the next.
    symbols : mapping of str to int
        The addresses of what the module declares. It may also declare what the process has, such as ``logf``.
    disk : bool
        Whether to look on disk, and to keep it there.

    Raises
    ------
    ImportError
        There is no `llvmlite`; the message says how to get it.
    RuntimeError
        The text is not LLVM's language, or it calls what is not to be found.

    Examples
    --------
    >>> import ctypes
    >>> code = compile_ir("define i64 @twice(i64 %x) {\n  %y = add i64 %x, %x\n  ret i64 %y\n}")
    >>> ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(code.address("twice"))(21)
    42
    """
    kept = DiskCache(directory_of_machine_code() if disk else None)
    name = key(ir) if disk else ""
    found = kept.get(name)
    with _LOCK, _without_interrupts():
        object_bytes = _object_of(ir) if found is None else found
    names, needed = _DEFINED.findall(ir), _undefined(ir, object_bytes)
    code = load(object_bytes, names, needed, symbols=symbols, from_disk=found is not None)
    if found is None:
        kept.put(name, object_bytes)
    return code


def load(
    object_bytes: bytes,
    names: Iterable[str],
    needed: list[str],
    *,
    symbols: Mapping[str, int] = NO_SYMBOLS,
    from_disk: bool = True,
) -> Compiled:
    """Load the machine code of an object file.

    Parameters
    ----------
    object_bytes : bytes
        The code, as `Compiled` has it.
    names : iterable of str
        The functions that can be called from outside.
    needed : list of str
        The names outside that the code refers to.
    symbols : mapping of str to int
        The addresses of these, where they are not the process's.
    from_disk : bool
        Whether it was found on disk.

    Raises
    ------
    RuntimeError
        The code calls what is not to be found.
    """
    with _LOCK, _without_interrupts():
        _free_waiting()
        engine = _load(object_bytes, symbols, needed)
    code = Compiled(object_bytes, from_disk, frozenset(names), needed, engine)
    if os.environ.get(PERF_VARIABLE, "0") not in ("", "0"):
        _tell_perf(code)
    return code


def key(*parts: str) -> str:
    """Return the key of all that machine code depends on, beside what it is made of: ``parts``."""
    llvm = _llvm()
    import llvmlite

    versions = (__version__, llvmlite.__version__, repr(llvm.llvm_version_info))
    return key_of(FORMAT, *versions, host().triple, host().cpu, host().features_text, *parts)


def _target_machine() -> Any:
    llvm = _llvm()
    target = llvm.Target.from_triple(host().triple)
    return target.create_target_machine(cpu=host().cpu, features=host().features_text, opt=3, jit=True)


def _object_of(ir: str) -> bytes:
    """Return the optimised machine code of a text, as an object file."""
    llvm = _llvm()
    machine = _target_machine()
    context = llvm.create_context()  # of its own, as LLVM's global one only grows
    loops, vectors = _parted(ir)
    with (
        machine,
        context,
        llvm.parse_assembly(loops, context) as module,
        llvm.parse_assembly(vectors, context) as vectorised,
    ):
        for each in (module, vectorised):
            each.triple = machine.triple
            each.data_layout = str(machine.target_data)
            each.verify()
        options = llvm.create_pipeline_tuning_options(speed_level=SPEED)
        options.loop_vectorization = True
        options.loop_interleaving = True
        # The vectoriser unrolls as far as it helps. Without these two, steps compile in a sixth less time,
        # and they are as fast.
        options.loop_unrolling = False
        options.slp_vectorization = False
        with options, llvm.create_pass_builder(machine, options) as builder:
            builder.getModulePassManager().run(module, builder)
        module.link_in(vectorised)
        return bytes(machine.emit_object(module))


def _parted(ir: str) -> tuple[str, str]:
    """Return the text of a module in two: one with loops to optimise, one of the functions in `VECTORISED`.

    The first declares the functions of the second, which use nothing but themselves.
    """
    loops, vectors = [], []
    for part in ir.split("\n}\n"):  # each ends where a function does
        begin = part.rfind("\ndefine ") + 1
        head, _, body = part[begin:].partition("\n")
        head = head.replace("define internal", "define", 1)
        declared, in_vectors, _ = head.partition(f" {VECTORISED}")
        if in_vectors:
            loops.append(part[:begin] + declared.replace("define", "declare", 1) + "\n")
            vectors.append(f"{head}\n{body}\n}}\n")
        else:
            loops.append(part + "\n}\n")
    return "".join(loops).removesuffix("\n}\n"), "".join(vectors)


def _load(object_bytes: bytes, symbols: Mapping[str, int], needed: Iterable[str]) -> Any:
    """Return an engine that holds the code of an object file in memory, bound to the symbols it needs."""
    llvm = _llvm()
    # The engine's own module declares the symbols, as it knows addresses by what is declared.
    declared = llvm.parse_assembly("".join(f'declare void @"{name}"()\n' for name in symbols))
    engine = llvm.create_mcjit_compiler(declared, _target_machine())
    for name, address in symbols.items():
        engine.add_global_mapping(declared.get_function(name), address)
    for name in needed:  # LLVM would end the process over a name that is nowhere
        if name not in symbols and not llvm.address_of_symbol(name):
            raise RuntimeError(f"the code calls {name!r}, which is neither given nor in this process")
    engine.add_object_file(llvm.ObjectFileRef.from_data(object_bytes))
    engine.finalize_object()
    return engine


# ---- freeing -------------------------------------------------------------------------------------------

_waiting: list[Any] = []


def _free(engine: Any) -> None:
    """Free the memory of machine code, now or, if another thread compiles, when it next can be.

    This runs wherever the last reference goes, in any thread and between any two lines: it must not wait.
    """
    _waiting.append(engine)
    if _LOCK.acquire(blocking=False):
        try:
            _free_waiting()
        finally:
            _LOCK.release()


def _free_waiting() -> None:
    while _waiting:
        _waiting.pop().close()


# ---- object files --------------------------------------------------------------------------------------


class Symbol(NamedTuple):
    """A name in an object file: where in its section it starts, and its size; or one that is to be found."""

    name: str
    kind: int
    defined: bool
    start: int
    size: int


_SECTIONS: Final = struct.Struct("<40xQ10xHH")
_SECTION: Final = struct.Struct("<4xI16xQQI12x")
_SYMBOL: Final = struct.Struct("<IBxHQQ")
_SYMBOL_TABLE, _FUNCTION = 2, 2


def symbols_of_elf(content: bytes) -> Iterator[Symbol]:
    """Yield the named symbols of an object file in the format ELF; nothing if it has another one.

    The fields are those of "ELF-64 Object File Format", version 1.5 draft 2, 1998.
    """
    if content[:5] != b"\x7fELF\x02":
        return
    table, entry, count = _SECTIONS.unpack_from(content)
    sections = [_SECTION.unpack_from(content, table + i * entry) for i in range(count)]
    for kind, start, size, link in sections:
        if kind != _SYMBOL_TABLE:
            continue
        names = sections[link][1]
        for name, info, section, value, length in _SYMBOL.iter_unpack(content[start : start + size]):
            begin = names + name
            if text := content[begin : content.index(b"\0", begin)].decode():
                yield Symbol(text, info & 15, section != 0, value, length)


def _undefined(ir: str, object_bytes: bytes) -> list[str]:
    """Return the names that an object file needs from outside, as far as can be told.

    LLVM itself calls functions that the text does not declare, such as ``memset``. Only ELF is read; another
    format is trusted to need what the text declares.
    """
    symbols = list(symbols_of_elf(object_bytes))
    return [each.name for each in symbols if not each.defined] if symbols else _DECLARED.findall(ir)


def _tell_perf(code: Compiled) -> None:
    """Append where each function is to the file in which `perf` looks for code that is in no file.

    All functions are in one section, so one address tells the others.
    """
    functions = {each.name: each for each in symbols_of_elf(code.object_bytes) if each.kind == _FUNCTION}
    known = next((name for name in functions if name in code.names), None)
    if known is None:
        return
    base = code.address(known) - functions[known].start
    with suppress(OSError), open(f"/tmp/perf-{os.getpid()}.map", "a", encoding="utf-8") as file:
        for each in functions.values():
            file.write(f"{base + each.start:x} {each.size:x} tinygrad_mnist {each.name}\n")
