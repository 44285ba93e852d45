"""Weights to a file, and from one: the suffix of its name chooses the format.

Files are written whole or not at all, and hold nothing but arrays by name: reading one runs no code.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tinygrad_mnist.exchange.weights import npz_format, safetensors_format, torch_format
from tinygrad_mnist.exchange.weights.entries import Array, Entries, entries_of
from tinygrad_mnist.exchange.weights.errors import WeightsError
from tinygrad_mnist.files import PathLike, replacing, write_error
from tinygrad_mnist.nn import Module


@dataclass(frozen=True)
class Format:
    """A format of files of weights.

    Parameters
    ----------
    name : str
        Its name, for help and messages.
    write : callable
        ``write(path, entries)`` writes arrays by name; those that are one object are tied.
    read : callable
        ``read(path, names)`` returns arrays by name; of names that the format may have for something else,
        these, or if None those that look like names of arrays. Each array has memory of its own but for tied
        ones; what is wrong with a file is a `WeightsError`.
    """

    name: str
    write: Callable[[Path, Entries], None]
    read: Callable[[Path, Collection[str] | None], Entries]


_TORCH: Final = Format("PyTorch's state dict", torch_format.write, torch_format.read)

FORMATS: Final[dict[str, Format]] = {
    ".safetensors": Format("safetensors", safetensors_format.write, safetensors_format.read),
    ".npz": Format("NumPy's arrays by name", npz_format.write, npz_format.read),
    ".pt": _TORCH,
    ".pth": _TORCH,
}
"""The formats of files of weights, by the suffix of the name."""


def save_weights(state: Mapping[str, Any] | Module, path: PathLike) -> None:
    """Write the weights of a module, or a state dict, to a file, whole or not at all.

    Parameters
    ----------
    state : Module or mapping
        A module, whose parameters and buffers are written under PyTorch's names; or arrays, Tensors or
        PyTorch's tensors by name, such as a state dict. Of a module it is known which parameters are tied.
    path : path-like
        The file. Its suffix is one of `FORMATS`: ``.safetensors``, ``.npz``, ``.pt`` or ``.pth``.

    Raises
    ------
    WeightsError
        If the suffix is another one, an entry cannot be written, or the file cannot.
    TypeError
        If it is no path, such as an open file.
    ImportError
        If the suffix is ``.safetensors``, and safetensors is not installed.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from tinygrad_mnist import nn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "model.pt")
    ...     save_weights(nn.Linear(3, 2), path)
    ...     {name: array.shape for name, array in load_weights(path).items()}
    {'weight': (2, 3), 'bias': (2,)}
    """
    target = _path(path)
    found = _format_of(target)
    entries = entries_of(state)
    try:
        with replacing(target) as unfinished:
            found.write(unfinished, entries)
    except OSError as error:
        raise WeightsError(write_error(target, error)) from error


def load_weights(path: PathLike, names: Collection[str] | None = None) -> dict[str, Array]:
    """Read the arrays of a file of weights. No code in it is run, and nothing in it is believed unchecked.

    Parameters
    ----------
    path : path-like
        The file: one that `save_weights` wrote; safetensors of any tool; an ``.npz`` file of `numpy.savez`;
        or the state dict that ``torch.save`` wrote, which is read without PyTorch.
    names : collection of str, optional
        The names that are wanted, as those of a module. Only safetensors need them: there the second names of
        tied arrays stand in the metadata, among words about the file. By default those are taken that look
        like names. All that a file has beside its metadata is read in any case.

    Returns
    -------
    dict of str to ndarray
        The arrays by name, in this machine's byte order, each the caller's own; tied ones are one object.
        bfloat16, which NumPy does not have, is read as float32, which holds each of its values.

    Raises
    ------
    WeightsError
        If the file is missing, damaged or of another kind; holds anything but arrays of real numbers and
        booleans, such as float8, which is refused by name; or would take far more memory than it is long.
    TypeError
        If it is no path, such as an open file.
    ImportError
        If it is safetensors, and safetensors is not installed.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "theirs.npz")
    ...     np.savez(path, scale=np.ones(2))
    ...     load_weights(path)
    {'scale': array([1., 1.])}
    """
    source = _path(path)
    if source.is_dir():
        raise WeightsError(
            f"{source} is a directory; name a file of weights in it (the directory of a training is read by "
            "training.load_checkpoint)"
        )
    found = _format_of(source)
    if not source.exists():
        raise WeightsError(f"{source} does not exist; name a file of weights")
    if not source.is_file():
        raise WeightsError(f"{source} is no file; name a file of weights")
    try:
        return found.read(source, names)
    except WeightsError as error:
        suffix = _suffix_by_content(source)
        if suffix is None or FORMATS[suffix] is found:
            raise
        raise WeightsError(
            f"{source} has the content of a {suffix} file ({FORMATS[suffix].name}), not of a "
            f"{source.suffix} file; rename it to {source.with_suffix(suffix).name}"
        ) from error
    except OSError as error:
        raise WeightsError(f"{source} cannot be read ({error.strerror or error})") from error
    except MemoryError as error:
        raise WeightsError(f"{source} needs more memory than there is") from error


def _path(given: Any) -> Path:
    """Return a path as one; raise for anything else, such as an open file."""
    try:
        return Path(given)
    except TypeError:
        raise TypeError(
            f"an object of type {type(given).__name__} was given; expected the path of a file, whose suffix "
            "chooses the format"
        ) from None


def _suffix_by_content(path: Path) -> str | None:
    """Return the suffix of the format that a file seems to be of, whatever its name is; None if of none."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
            if start.startswith(b"PK"):
                names = zipfile.ZipFile(file).namelist()
                ends = ((".pt", "/data.pkl"), (".npz", ".npy"))
                return next((found for found, end in ends if any(name.endswith(end) for name in names)), None)
            # of safetensors, the length of a header in JSON comes first
            length = int.from_bytes(start[:8], "little")
            return ".safetensors" if start[8:] == b"{" and 8 + length <= file.seek(0, 2) else None
    except Exception:  # zipfile raises errors of a dozen kinds for damaged bytes
        return None


def _format_of(path: Path) -> Format:
    """Return the format that the suffix of a path chooses."""
    if (found := FORMATS.get(path.suffix.lower())) is None:
        *others, last = FORMATS
        raise WeightsError(
            f"{path} has no suffix of a file of weights; name it with {', '.join(others)} or {last}"
        )
    return found
