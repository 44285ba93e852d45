"""Models of the user's own: a function in a Python file that builds one.

``tinygrad-mnist train --model mymodel.py:build`` trains what ``build(image_shape, classes)`` returns. A
`ModelFile` says which file and which function that is, and has the hash of the file. It stands in the
checkpoint, so that later commands build the same model again. To build a model runs the file. A checkpoint
may come from anybody, so a file is run only if it is at the path in the checkpoint and has the hash in it, or
if the user has named it.

Errors in the file are told by file and line. This module needs no NumPy until a model is built.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PureWindowsPath
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from tinygrad_mnist.numbers import printable
from tinygrad_mnist.training.errors import ModelFileError

if TYPE_CHECKING:
    import numpy as np

    from tinygrad_mnist import nn

EXAMPLE: Final = "FILE.py:FUNCTION, as in mymodel.py:build"
LARGEST: Final = 1 << 22
"""Bytes of the largest file that is taken. A path in a checkpoint may lead to anything."""


@dataclass(frozen=True)
class ModelFile:
    """A function in a Python file that builds a model.

    Parameters
    ----------
    path : str
        The file, an absolute path.
    function : str
        The function's name. It is given the shape of the images, (height, width), and the number of classes.
        It returns a `Module` from images of shape (n, 1, height, width) to logits of shape (n, classes).
    sha256 : str
        The SHA-256 of the file, in hexadecimal digits.

    Examples
    --------
    >>> import tempfile
    >>> source = '''
    ... from tinygrad_mnist import nn
    ...
    ... def build(image_shape, classes):
    ...     height, width = image_shape
    ...     return nn.Sequential(nn.Flatten(), nn.Linear(height * width, classes))
    ... '''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "mymodel.py")
    ...     count = path.write_text(source)
    ...     model = find_model_file(f"{path}:build").build((8, 8), 10)
    >>> model[1]
    Linear(64, 10)  # weight (10, 64), bias (10,): 650 parameters
    """

    path: str
    function: str
    sha256: str

    def __str__(self) -> str:
        return f"{_shown(self.path)}:{self.function}"

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return Path(self.path).stem

    @property
    def short(self) -> str:
        """The file's name and the function, without the directories."""
        return f"{printable(PureWindowsPath(self.path).name)}:{self.function}"  # parts at / and at \\

    def to_dict(self) -> dict[str, str]:
        """Return path, function and hash as plain data that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelFile:
        """Rebuild what `to_dict` returned; the file is not looked at.

        Raises
        ------
        ModelFileError
            If they are no texts by these names, or cannot be a path, a function and a hash.
        """
        if values.keys() != cls.__dataclass_fields__.keys():
            raise ModelFileError(
                f"model_file must have {', '.join(cls.__dataclass_fields__)}, and nothing else"
            )
        if not all(isinstance(value, str) and value.isprintable() for value in values.values()):
            raise ModelFileError("model_file must be printable texts")
        found = cls(**values)
        if not found.function.isidentifier():
            raise ModelFileError(f"model_file must name a function, not {found.function[:60]!r}")
        if not re.fullmatch("[0-9a-f]{64}", found.sha256):
            raise ModelFileError("model_file must have a SHA-256 of 64 hexadecimal digits")
        return found

    def require_trusted(self) -> None:
        """Raise an error if the file, which a checkpoint names, is not the one that was there in training.

        Raises
        ------
        ModelFileError
            If the file is not there, or has another hash; or if the path is not absolute, or leads to another
            machine, as ``//host/share/model.py`` does: to look there is to ask the host.
        """
        if not os.path.isabs(self.path) or self.path.startswith(("//", "\\\\")):
            raise ModelFileError(
                f"the model is built by {self}, which is no path on this machine; name the file by --model "
                f"{EXAMPLE}"
            )
        self._read()

    def _read(self) -> bytes:
        """Return the content of the file, if it is the one whose hash is known."""
        content = _read(self.path)
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise ModelFileError(
                f"{_shown(self.path)} has changed since the model was trained; put it back, or name the file "
                f"by --model {EXAMPLE}"
            )
        return content

    def build(
        self,
        image_shape: tuple[int, int],
        classes: int,
        *,
        rng: np.random.Generator | None = None,
    ) -> nn.Module:
        """Run the file, and build the model with new weights.

        Parameters
        ----------
        image_shape : tuple of int
            Height and width of the images.
        classes : int
            The number of classes.
        rng : numpy.random.Generator, optional
            Draws the seed of `nn.manual_seed`, which layers draw by that are made without ``rng=``.

        Returns
        -------
        Module
            It was tried on two images.

        Raises
        ------
        ModelFileError
            If the file is not there, has changed, or has an error; or if the function returns anything else
            than a model for these images and classes.
        """
        content = self._read()
        if rng is not None:
            from tinygrad_mnist import nn

            nn.manual_seed(int(rng.integers(1 << 62)))
        function = self._function(_run(self.path, content))
        try:
            model = function(image_shape, classes)
        except (Exception, SystemExit) as error:
            hint = "; name a function of the shape and the classes, which makes it" * isinstance(
                function, type
            )
            raise ModelFileError(f"{_place(error) or self}: {_in_words(error)}{hint}") from error
        self._require_model(model, function)
        _require_output(self._where(function), model, image_shape, classes)
        return model  # type: ignore[no-any-return]

    def _function(self, module: ModuleType) -> Any:
        """Return the function, if there is one and it takes two arguments."""
        found = vars(module).get(self.function)
        if found is None:
            near = difflib.get_close_matches(self.function, _functions(module), n=1)
            hint = f"did you mean {near[0]}?" if near else _offer(module)
            raise ModelFileError(f"{_shown(self.path)} defines no {self.function!r}; {hint}")
        if not callable(found):
            raise ModelFileError(f"{self} must be a function, not {_kind(found)}")
        try:
            signature = inspect.signature(found)
        except ValueError:  # of a function that is not Python's own
            return found
        try:
            signature.bind((1, 1), 2)
        except TypeError:
            raise ModelFileError(
                f"{self._where(found)} must take two arguments, image_shape and classes; it takes {signature}"
            ) from None
        return found

    def _where(self, function: Any) -> str:
        """Return the place of the function in words."""
        code = getattr(function, "__code__", None)
        if code is None or code.co_filename != self.path:
            return str(self)
        return f"{_shown(self.path)}, line {code.co_firstlineno}: {self.function}"

    def _require_model(self, model: Any, function: Any) -> None:
        """Raise an error if the function has returned no model that can be trained."""
        from tinygrad_mnist import nn

        where = self._where(function)
        if isinstance(model, type) and issubclass(model, nn.Module):
            raise ModelFileError(
                f"{where} returned the class {model.__name__}; return an object of it, {model.__name__}(...)"
            )
        if not isinstance(model, nn.Module):
            hint = "; is a return missing?" if model is None else ""
            raise ModelFileError(
                f"{where} must return a Module of tinygrad_mnist.nn, not {_kind(model)}{hint}"
            )
        if not any(parameter.size for parameter in model.parameters()):
            raise ModelFileError(
                f"{where} returned a model without parameters, which cannot learn; layers belong in "
                "attributes, in nn.Sequential or in nn.ModuleList, not in a plain list"
            )


def find_model_file(text: str) -> ModelFile:
    """Return the model file that ``FILE.py:FUNCTION`` names. The file is read, and not run.

    Raises
    ------
    ModelFileError
        If the text is not of that form, or there is no such file.
    """
    path, colon, function = text.rpartition(":")
    if not colon or not path or not function.isidentifier():
        file = text if Path(text).is_file() else ""
        offer = f"; {_offer_unrun(file)}" if file else ""
        raise ModelFileError(f"{text!r} does not say which function of which file: give {EXAMPLE}{offer}")
    path = str(Path(os.path.expanduser(path)).resolve())
    if not path.isprintable():  # a checkpoint has to name it
        raise ModelFileError(f"the path {_shown(path)} has signs that cannot be printed; move the file")
    return ModelFile(path, function, hashlib.sha256(_read(path)).hexdigest())


# ---- reading and running the file ------------------------------------------------------------------------


def _read(path: str) -> bytes:
    """Return the content of a file of Python."""
    shown = _shown(path)
    try:
        file = Path(path)
        if not file.exists():
            raise ModelFileError(f"there is no file {shown}; name the model's file by --model {EXAMPLE}")
        if not file.is_file():  # a pipe or a device would not end
            raise ModelFileError(f"{shown} is no file; name the model's file by --model {EXAMPLE}")
        if (size := file.stat().st_size) > LARGEST:
            raise ModelFileError(f"{shown} has {size:,} bytes, which is too much for a file of Python")
        return file.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{shown} cannot be read ({error.strerror or error})") from error


_files: set[str] = set()
"""The files that were run in this process."""


def _run(path: str, content: bytes) -> ModuleType:
    """Run a file of Python as a module of its own, a new one each time; no bytecode is written.

    The bytes are those whose hash was compared: the file is not read a second time.
    """
    module = ModuleType(f"_model_file_{hashlib.sha256(content).hexdigest()[:16]}")
    module.__file__ = path
    sys.modules[module.__name__] = module  # where dataclasses, for example, look it up
    _files.add(path)
    try:
        with _without_current_folder():
            exec(compile(content, path, "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as error:
        where = _place(error) or f"{_shown(path)} is no file of Python"
        hint = "; a model's file may import what is installed, not a file beside it" * _is_beside(error, path)
        raise ModelFileError(f"{where}: {_in_words(error)}{hint}") from error
    return module


@contextmanager
def _without_current_folder() -> Iterator[None]:
    """Take the current folder off the front of `sys.path`, where ``python -m`` and ``python -c`` put it.

    No hash is known of the files there, and how Python was started must not decide whether they are imported.
    """
    first = sys.path[:1]
    with suppress(OSError):  # of a folder that is no longer there
        first = [entry for entry in first if entry in ("", os.getcwd())]
    del sys.path[: len(first)]
    try:
        yield
    finally:
        sys.path[:0] = first


def _is_beside(error: BaseException, path: str) -> bool:
    """Return whether what was not found is a module in the folder of the model's file."""
    if not isinstance(error, ModuleNotFoundError):
        return False
    beside = Path(path).parent / str(error.name).split(".")[0]
    return beside.is_dir() or beside.with_suffix(".py").is_file()


def _functions(module: ModuleType) -> list[str]:
    """Return the functions that a module defines itself."""
    return [
        name for name, found in vars(module).items() if getattr(found, "__module__", "") == module.__name__
    ]


def _offer(module: ModuleType) -> str:
    """Return a hint at the functions of a module."""
    return _list_of(_functions(module))


def _offer_unrun(path: str) -> str:
    """Return a hint at the functions of a file that is not run."""
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return "it is no file of Python"
    return _list_of([node.name for node in tree.body if isinstance(node, ast.FunctionDef)])


def _list_of(names: list[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"it defines {', '.join(names[:8])}{more}" if names else "it defines no function"


# ---- trying the model ------------------------------------------------------------------------------------


def _require_output(where: str, model: nn.Module, image_shape: tuple[int, int], classes: int) -> None:
    """Raise an error if a model does not give two images their logits; the model stays as it is."""
    import numpy as np

    from tinygrad_mnist.engine.tape import no_grad
    from tinygrad_mnist.engine.tensor import Tensor
    from tinygrad_mnist.nn.module import evaluation_mode

    height, width = image_shape
    images = np.random.default_rng(0).normal(size=(2, 1, height, width)).astype(np.float32)
    try:
        with no_grad(), evaluation_mode(), np.errstate(all="ignore"):
            output = model(Tensor(images))
    except (Exception, SystemExit) as error:
        raise ModelFileError(
            f"{_place(error) or where}: no output for images of shape {images.shape}: {_in_words(error)}"
        ) from error
    expected = f"for images of shape {images.shape} logits of shape {(2, classes)} were expected"
    if not isinstance(output, Tensor):
        raise ModelFileError(f"{where} returned a model whose output is {_kind(output)}; {expected}")
    if output.shape != (2, classes):
        raise ModelFileError(f"{where} returned a model with an output of shape {output.shape}; {expected}")
    if output.dtype.kind != "f":
        raise ModelFileError(f"{where} returned a model with an output of {output.dtype}; {expected}")


# ---- errors in words -------------------------------------------------------------------------------------


def explain(error: BaseException) -> str | None:
    """Return a sentence that names file and line, for an error that arose in a model of the user's.

    Returns
    -------
    str or None
        None if no file of the user's was run, or the error arose elsewhere.
    """
    if not _files:
        return None
    if where := _place(error):
        return f"{where}: {_in_words(error)}"
    from tinygrad_mnist.nn import Module

    # a container of this package's own layers may fail, and no line of the user's stands in the traceback
    if any(frame.f_code is Module.__call__.__code__ for frame, _ in traceback.walk_tb(error.__traceback__)):
        return f"the model of {' or '.join(map(_shown, sorted(_files)))}: {_in_words(error)}"
    return None


def _place(error: BaseException) -> str | None:
    """Return the file of the user's and the line in which an error arose; None if it arose elsewhere."""
    if isinstance(error, SyntaxError) and error.filename in _files:
        return f"{_shown(error.filename)}, line {error.lineno}"
    lines = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename in _files
    ]
    return f"{_shown(lines[-1][0])}, line {lines[-1][1]}" if lines else None


def _in_words(error: BaseException) -> str:
    """Return an error of the user's code in one sentence."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {' '.join(text.split())}" if text else type(error).__name__


def _kind(value: Any) -> str:
    """Return the type of a value, with its module where that is another's."""
    if value is None:
        return "None"
    kind = type(value)
    own = kind.__module__ == "builtins" or kind.__module__.startswith("_model_file_")
    return f"a value of type {kind.__qualname__ if own else f'{kind.__module__}.{kind.__qualname__}'}"


def _shown(path: str) -> str:
    """Return a path for a sentence: below the current folder, without it."""
    with suppress(OSError):  # of a folder that is no longer there
        path = path.removeprefix(os.path.join(os.getcwd(), ""))
    return printable(path)
