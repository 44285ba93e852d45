"""Checkpoints: a model's parameters and all that is needed to use it, in one ``.npz`` file without pickle.

The file holds one array for each entry of the model's state dict, as ``model.<name>``, and one string of
JSON, ``checkpoint``: the recipe, the shape of the images, their standardisation, the names of the classes,
where the values come from, and the versions that wrote them.

One that a training goes on from holds its whole state too, as `pack` takes it apart: a second string of JSON,
``training``, and arrays ``training.<place>``. `save_state` writes such a file without a recipe.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from reprlib import Repr
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import nn
from tinygrad_mnist._version import __version__
from tinygrad_mnist.data import Standardizer
from tinygrad_mnist.engine.tape import no_grad
from tinygrad_mnist.files import replacing
from tinygrad_mnist.npz import write_npz
from tinygrad_mnist.numbers import bytes_text, printable
from tinygrad_mnist.training.checkpoints.npz import Entry, NpzReader, open_npz
from tinygrad_mnist.training.checkpoints.state import pack, unpack
from tinygrad_mnist.training.errors import CheckpointError, TrainingError, writing
from tinygrad_mnist.training.recipe.choices import StateEntry
from tinygrad_mnist.training.recipe.model_file import ModelFile
from tinygrad_mnist.training.recipe.models import (
    build_model,
    known_costs,
    outline_of,
    require_moderate,
    state_outline,
)
from tinygrad_mnist.training.recipe.recipes import Recipe
from tinygrad_mnist.training.runs.directory import CHECKPOINT, LAST, PREVIOUS
from tinygrad_mnist.training.runs.versions import versions

FORMAT: Final = 1
"""The version of the file's layout. It is increased only when earlier versions of this package could not read
the file; another entry in the header does not need that."""

_HEADER = "checkpoint"
_PREFIX = "model."
_TRAINING = "training"
_MOST_FAULTS: Final = 10
_LONGEST: Final = {_HEADER: 1 << 23, _TRAINING: 1 << 26}
"""The most bytes of the texts, four for each sign: room for tens of thousands of layers and classes, or of
evaluations. One that is packed small may not be longer than `_LONGEST_PACKED`, as what it means takes several
times its length."""
_LONGEST_PACKED: Final = 1 << 23
_LARGEST: Final = 1e15
"""The largest weight that is taken. Sums of squares of larger ones overflow in float32."""
_LARGEST_PIXEL: Final = 1e6
_LONGEST_NAME: Final = 200
_MOST_CHECKED: Final = 1 << 20
_MOST_CONVOLVED: Final = 1 << 26
"""Numbers that layers read, and multiplications of convolutions, for one image, up to which the output is
looked at when a file is read: about a second. What is larger shows when it is used."""
_WHAT_TO_NAME = "name a directory that 'tinygrad-mnist train' has written"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A trained model, and all that is needed to use it on a picture.

    Parameters
    ----------
    model : Module
        From standardised images, shape (n, 1, height, width), to logits.
    recipe : Recipe
        The recipe by which it was built and trained.
    image_shape : tuple of int
        Height and width of its images, before they are cropped.
    class_names : tuple of str
        The class that each output stands for.
    standardizer : Standardizer
        Fitted on its training images; it crops by the recipe, too.
    origin : dict
        Its origin as plain data: at least ``data`` (what is to be asked for to get its data set again) and
        ``seed``. Since version 1.11 also ``jit`` (as asked for) and ``compiled`` (whether the steps were):
        earlier trainings were not.
    training : dict, optional
        The state of the training that the model is in, to go on with it: plain data and arrays, as `pack`
        takes them. Under ``"model"`` it has the state dict of the model.
    """

    model: nn.Module
    recipe: Recipe
    image_shape: tuple[int, int]
    class_names: tuple[str, ...]
    standardizer: Standardizer
    origin: dict[str, Any]
    training: dict[str, Any] | None = None


def require_checkpoint(given: Any) -> None:
    """Raise a TypeError for what is no checkpoint, such as the path of one; say how to have one.

    Examples
    --------
    >>> require_checkpoint("runs/mine")
    Traceback (most recent call last):
    ...
    TypeError: 'runs/mine' was given; expected a Checkpoint, which load_checkpoint('runs/mine') returns
    """
    if isinstance(given, Checkpoint):
        return
    if isinstance(given, str | os.PathLike):
        path = repr(os.fspath(given))
        raise TypeError(f"{path} was given; expected a Checkpoint, which load_checkpoint({path}) returns")
    advice = (
        "give its .checkpoint"
        if isinstance(getattr(given, "checkpoint", None), Checkpoint)
        else "load_checkpoint(path) returns one, with its model, and train(...).checkpoint is one"
    )
    raise TypeError(f"an object of type {type(given).__name__} was given; expected a Checkpoint: {advice}")


def save_checkpoint(
    path: str | os.PathLike[str],
    checkpoint: Checkpoint,
    *,
    previous: str | os.PathLike[str] | None = None,
    state: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint, whole or not at all.

    Parameters
    ----------
    path : path-like
        The file; an older one is replaced.
    checkpoint : Checkpoint
        The checkpoint to write.
    previous : path-like, optional
        Where the older one is kept; see `files.replacing`.
    state : mapping, optional
        A state dict of the model that is written in place of the one it has now.

    Raises
    ------
    RunError
        If it cannot be written.
    TrainingError
        If the state of the training holds what cannot be saved.
    TypeError
        If it is no `Checkpoint`, such as a model.
    """
    require_checkpoint(checkpoint)
    header = {
        **_stamp(),
        "recipe": checkpoint.recipe.to_dict(),
        "image_shape": list(checkpoint.image_shape),
        "class_names": list(checkpoint.class_names),
        "standardizer": checkpoint.standardizer.state(),
        "origin": checkpoint.origin,
    }
    texts: dict[str, Any] = {_HEADER: header}
    training = checkpoint.training
    if state is None:
        state = checkpoint.model.state_dict()
    if training is None:
        arrays = {_PREFIX + name: np.asarray(value) for name, value in state.items()}
    else:
        if "model" not in training:
            training = {"model": dict(state), **training}
        texts[_TRAINING], arrays = pack(training)
    _write(path, texts, arrays, previous)


def save_state(
    path: str | os.PathLike[str], state: Any, *, previous: str | os.PathLike[str] | None = None
) -> None:
    """Write the state of a training without a recipe, whole or not at all.

    Parameters
    ----------
    path : path-like
        The file; an older one is replaced.
    state : object
        Plain data and arrays, as `pack` takes them; usually a dict of what ``state_dict()`` of a model, an
        optimiser and a schedule return.
    previous : path-like, optional
        Where the older one is kept; see `files.replacing`.

    Raises
    ------
    RunError
        If it cannot be written.
    TrainingError
        If the state holds what cannot be saved: where, and its type.

    Examples
    --------
    >>> import tempfile
    >>> from tinygrad_mnist import nn, optim
    >>> model = nn.Linear(2, 1)
    >>> optimizer = optim.SGD(model.parameters(), lr=0.5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_state(f"{folder}/x.npz", {"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    ...     state = load_state(f"{folder}/x.npz")
    >>> state["optimizer"]["param_groups"][0]["lr"]
    0.5
    """
    plain, arrays = pack(state)
    _write(path, {_HEADER: _stamp(), _TRAINING: plain}, arrays, previous)


def load_state(path: str | os.PathLike[str]) -> Any:
    """Read what `save_state` wrote, or the state of the training in a checkpoint; nothing in it is run.

    Parameters
    ----------
    path : path-like
        The file, or a run directory that has one.

    Returns
    -------
    object
        The state, equal to what was saved in types, dtypes and bits.

    Raises
    ------
    CheckpointError
        If there is none, it is damaged, or it holds no state of a training.
    """

    def read(path: Path) -> Any:
        with open_npz(path) as file:
            _read_header(file)
            return _read_training(file)

    return _read(path, True, read)


def _stamp() -> dict[str, Any]:
    """Return what each header begins with."""
    return {"format": FORMAT, "tinygrad_mnist": __version__, "versions": versions()}


def _write(
    path: str | os.PathLike[str],
    texts: dict[str, Any],
    arrays: dict[str, NDArray[Any]],
    previous: str | os.PathLike[str] | None,
) -> None:
    """Write texts as JSON, and arrays."""
    content = {name: np.array(json.dumps(text, allow_nan=False)) for name, text in texts.items()}
    for name, text in content.items():
        if text.nbytes > _LONGEST[name]:
            raise TrainingError(
                f"{path} was not written: what is no array takes {bytes_text(text.nbytes)} in it, and "
                f"{bytes_text(_LONGEST[name])} are read; let arrays, or lists of floats, hold the numbers"
            )
    with writing(path), replacing(path, previous) as unfinished, unfinished.open("wb") as file:
        write_npz(file, content | arrays)


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    training: bool = False,
    model: ModelFile | None = None,
    notify: Callable[[str], None] | None = None,
) -> Checkpoint:
    """Read what `save_checkpoint` wrote.

    The file may be anybody's. Names, shapes and dtypes are compared with the recipe first; no model is built
    and no weights are read before they fit.

    A model that a file of Python builds is an exception: **that file is run**, at the path in the checkpoint,
    if it is there and has the hash in the checkpoint; or at another path, if you name it.

    Parameters
    ----------
    path : path-like
        The file, or a run directory that has one: the best state, which is in ``last.npz`` alone before
        ``checkpoint.npz`` is written; or the last, where there is no best yet.
    training : bool
        Whether to read the state of the training too, to go on with it; of a run directory then the last
        checkpoint.
    model : ModelFile, optional
        The file and the function that build the model, in place of those in the checkpoint.
    notify : callable, optional
        Is told which file is run, before it is, and if it is another than the model was trained with.

    Returns
    -------
    Checkpoint
        Its model is in evaluation mode.

    Raises
    ------
    CheckpointError
        If there is none, it is damaged, its values cannot be those of a trained model (not finite, too large,
        a negative variance), or they are another model's than it says; the one message lists whatever is
        missing, unexpected, or of another shape or dtype.
    ModelFileError
        If the file that builds the model is not there, has changed, or has an error.
    """
    is_of_run = Path(path).is_dir()

    def load(file: Path) -> Checkpoint:
        wants_best = is_of_run and not training and file.name == LAST
        return _load(file, training, model, notify or _say_nothing, wants_best)

    return _read(path, training, load)


def _load(
    path: Path,
    training: bool,
    model: ModelFile | None,
    notify: Callable[[str], None],
    wants_best: bool = False,
) -> Checkpoint:
    """Read a checkpoint as `load_checkpoint` does, from the file at this very path."""
    with open_npz(path) as file:
        settings = _settings(path, _read_header(file))
        settings["recipe"] = _with_model(path, settings["recipe"], model, notify)
        sizes = settings["recipe"], settings["image_shape"], len(settings["class_names"])
        # a file of the user's is run once: what it builds shows by itself what is in its state dict
        own = build_model(*sizes) if settings["recipe"].model_file is not None else None
        outline = state_outline(*sizes) if own is None else outline_of(own)
        state = _read_state(path, file, settings["recipe"], outline)
        settings["training"] = _read_training(file) if training else None
        if wants_best and _TRAINING in file.names:
            state = _best_of(path, _read_training(file), state)
    built = build_model(*sizes) if own is None else own
    built.load_state_dict(state)
    built.eval()
    found = known_costs(*sizes)
    if found is None or (found.numbers <= _MOST_CHECKED and found.convolved <= _MOST_CONVOLVED):
        _require_finite_output(path, built, settings["image_shape"], settings["standardizer"])
    return Checkpoint(model=built, **settings)


def recipe_of_checkpoint(path: str | os.PathLike[str]) -> Recipe:
    """Return the recipe of a checkpoint; no model is built, and no file is run.

    Raises
    ------
    CheckpointError
        If there is none, or its header is damaged.
    """
    path = _find(Path(path))
    with open_npz(path) as file:
        recipe: Recipe = _settings(path, _read_header(file))["recipe"]
    return recipe


def _say_nothing(sentence: str) -> None:
    """Take the place of a user who is to be told nothing."""


def _with_model(path: Path, recipe: Recipe, model: ModelFile | None, notify: Callable[[str], None]) -> Recipe:
    """Return the recipe with the file that is run to build the model, if one is; say which."""
    trained = recipe.model_file
    if trained is None:
        if model is not None:
            raise CheckpointError(
                f"the model in {path} is that of the recipe {recipe.name}, and {model} builds another; leave "
                "out --model"
            )
        return recipe
    if model is None:
        trained.require_trusted()
        model = trained
    elif model.sha256 != trained.sha256:
        notify(f"{model} is not the file that the model was trained with, or has changed since")
    notify(f"the model is built by {model}")
    return replace(recipe, model_file=model)


def _find(path: Path, training: bool = False) -> Path:
    """Return the checkpoint that is meant: the file itself, or that of a run directory."""
    try:
        if path.is_dir():
            names = [LAST] if training else [CHECKPOINT, LAST]
            found = [path / name for name in names if (path / name).exists()]
            if not found and training and (path / PREVIOUS).exists():
                raise CheckpointError(
                    f"{path} has no {LAST}; name {path / PREVIOUS}, which is the one before"
                )
            if not found:
                raise CheckpointError(f"{path} has no {names[0]}; {_WHAT_TO_NAME}")
            path = found[0]
        elif not path.exists():
            raise CheckpointError(f"{path} does not exist; name a run directory or a checkpoint in it")
        if not path.is_file():  # opening a pipe would wait for somebody to write
            raise CheckpointError(f"{path} is no file; {_WHAT_TO_NAME}")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error})") from error
    return path


T = TypeVar("T")


def _read(path: str | os.PathLike[str], training: bool, read: Callable[[Path], T]) -> T:
    """Return what a function reads; if a last checkpoint is damaged and the one before is not, offer it."""
    found = _find(Path(path), training)
    try:
        return read(found)
    except CheckpointError as error:
        if found.name != LAST:
            raise
        previous = found.with_name(PREVIOUS)
        try:
            read(_find(previous))
            with open_npz(previous) as file:
                step = _shown(_read_text(file, _TRAINING)["position"]["step"])
        except (TrainingError, LookupError, TypeError):
            raise error from None
        raise CheckpointError(f"{error}; name {previous} to go on from step {step}") from error


# ---- the texts -------------------------------------------------------------------------------------------


def _read_header(file: NpzReader) -> dict[str, Any]:
    """Return the header, if its format is known."""
    path = file.path
    entry = file.entry(_HEADER) if _HEADER in file.names else None
    if entry is None or entry.dtype.kind != "U" or entry.shape != ():
        names = ", ".join(map(_bare, file.names[:3])) + ", ..." * (len(file.names) > 3)
        content = f"the arrays {names}" if entry is None else f"an array of {entry.dtype} of that name"
        raise CheckpointError(
            f"{path} is an .npz file, but no checkpoint of tinygrad_mnist: it holds {content}, where a text "
            f"{_HEADER!r} was expected; {_WHAT_TO_NAME}"
        )
    header = _read_text(file, _HEADER)
    found: dict[str, Any] = header if isinstance(header, dict) else {}
    # before the other entries, which another format may have under other names
    if "format" not in found:
        raise CheckpointError(f"{path} is no checkpoint: its header lacks format, {', '.join(_SETTINGS)}")
    if type(found["format"]) is not int or found["format"] != FORMAT:  # True == 1
        raise CheckpointError(
            f"{path} has format {_shown(found['format'])}, written by tinygrad_mnist "
            f"{_shown(found.get('tinygrad_mnist', 'of an unknown version'))}; this is {__version__}, which "
            f"reads format {FORMAT}"
        )
    return found


def _read_training(file: NpzReader) -> Any:
    """Return the state of the training in a checkpoint."""
    path = file.path
    if _TRAINING not in file.names:
        raise CheckpointError(
            f"{path} holds weights alone, and no state of a training to go on with; name {LAST} of a run"
        )
    plain = _read_text(file, _TRAINING)
    names = [name for name in file.names if name not in (_HEADER, _TRAINING)]
    file.require_moderate([_TRAINING, *names])
    try:
        return unpack(plain, {name: file.read(name, file.entry(name)) for name in names})
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged: its state of the training cannot be read ({printable(str(error))[:300]})"
        ) from error


def _read_text(file: NpzReader, name: str) -> Any:
    """Return what a text of JSON holds."""
    entry = file.entry(name)
    if entry.dtype.kind != "U" or entry.shape != ():
        raise CheckpointError(f"{file.path} is damaged: its {name!r} is no text")
    if entry.dtype.itemsize > min(_LONGEST[name], max(_LONGEST_PACKED, file.size)):
        raise CheckpointError(f"{file.path} is damaged: its header has {bytes_text(entry.dtype.itemsize)}")
    try:
        return json.loads(str(file.read(name, entry)), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{file.path} is damaged: its header is no JSON") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_REPR = Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 60
_shown = _REPR.repr
"""Return a value from the file for a sentence: in one line, and not too long."""


def _settings(path: Path, header: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `Checkpoint` that the header describes.

    Raises
    ------
    CheckpointError
        If one of them cannot be used. The header may say anything, as anybody may have written it.
    """
    missing = [name for name in _SETTINGS if name not in header]
    if len(missing) == len(_SETTINGS):
        raise CheckpointError(
            f"{path} holds the state of a training without a recipe; load_state of tinygrad_mnist.training "
            "reads it"
        )
    if missing:
        raise CheckpointError(f"{path} is no checkpoint: its header lacks {', '.join(missing)}")
    try:
        settings = {name: check(header[name]) for name, check in _SETTINGS.items()}
        require_moderate(settings["recipe"], settings["image_shape"], len(settings["class_names"]))
        settings["standardizer"] = replace(settings["standardizer"], crop=settings["recipe"].crop)
        return settings
    except (ValueError, RecursionError) as error:  # those of Recipe and Standardizer, too
        text = printable(str(error))
        raise CheckpointError(
            f"{path} has a header that cannot be used: {text[:300]}{'...' * (len(text) > 300)}"
        ) from error


def _recipe(value: Any) -> Recipe:
    if not isinstance(value, dict):
        raise ValueError(f"recipe must be values by name, not {_shown(value)}")
    return Recipe.from_dict(value)


def _image_shape(value: Any) -> tuple[int, int]:
    match value:
        case [int(height), int(width)] if type(height) is type(width) is int and height > 0 and width > 0:
            return height, width
    raise ValueError(f"image_shape must be two whole numbers above 0, not {_shown(value)}")


def _class_names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) < 2:
        raise ValueError(f"class_names must be two texts or more, not {_shown(value)}")
    for name in value:
        if not isinstance(name, str) or not 0 < len(name.strip()) <= _LONGEST_NAME or not _is_unicode(name):
            raise ValueError(f"class_names must be short texts, but one is {_shown(name)}")
    name, count = Counter(map(str.strip, value)).most_common(1)[0]
    if count > 1:
        raise ValueError(f"class_names must differ, but {count} are {_shown(name)}")
    return tuple(value)


def _is_unicode(text: str) -> bool:
    """Return whether a text can be written to a file: JSON can also spell half a character."""
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


def _standardizer(value: Any) -> Standardizer:
    if not isinstance(value, dict) or any(type(number) not in (int, float) for number in value.values()):
        raise ValueError(f"standardizer must be two numbers, mean and std, not {_shown(value)}")
    found = Standardizer.from_state(value)
    if abs(found.mean) > _LARGEST_PIXEL or not 1 / _LARGEST_PIXEL <= found.std <= _LARGEST_PIXEL:
        raise ValueError(f"standardizer must have the mean and std of images, not {_shown(value)}")
    return found


def _origin(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"origin must be values by name, not {_shown(value)}")
    data = value.get("data", "auto")
    if not isinstance(data, str) or not _is_path(data):
        raise ValueError(f"origin must name the data, not {_shown(data)}")
    images = value.get("train_images", 0)
    if type(images) is not int or not 0 <= images < 1 << 63:
        raise ValueError(f"origin must have the number of train_images, not {_shown(images)}")
    return value


def _is_path(text: str) -> bool:
    """Return whether a text may be the name of a file."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


_SETTINGS: Final[dict[str, Callable[[Any], Any]]] = {
    "recipe": _recipe,
    "image_shape": _image_shape,
    "class_names": _class_names,
    "standardizer": _standardizer,
    "origin": _origin,
}
"""For each setting a function that returns it from JSON, and raises a ValueError if it makes no sense."""


# ---- the weights -----------------------------------------------------------------------------------------


def _read_state(
    path: Path, file: NpzReader, recipe: Recipe, outline: Iterator[StateEntry]
) -> dict[str, NDArray[Any]]:
    """Return the values of the model, if they are those that the recipe describes and make sense."""
    found = [
        name
        for name in file.names
        if name not in (_HEADER, _TRAINING) and not name.startswith(f"{_TRAINING}.")
    ]
    # a model with more entries than the file has is not needed to its end
    outline = islice(outline, len(found) + _MOST_FAULTS)
    expected = {_PREFIX + name: (shape, np.dtype(dtype)) for name, shape, dtype in outline}
    entries = {name: file.entry(name) for name in found if name in expected}
    faults = [
        *(
            f"missing: {_bare(name)} of shape {_shown(expected[name][0])}"
            for name in expected
            if name not in entries
        ),
        *(f"unexpected: {_bare(name)}" for name in found if name not in expected),
        *chain.from_iterable(_misfits(name, entries[name], *expected[name]) for name in entries),
    ]
    if faults:
        more = "; and more" if len(faults) > _MOST_FAULTS else ""
        raise CheckpointError(
            f"{path} holds another model than {recipe.model_file or 'its recipe'} describes: "
            f"{'; '.join(faults[:_MOST_FAULTS])}{more}"
        )
    file.require_moderate(found)
    state = {name.removeprefix(_PREFIX): file.read(name, entry) for name, entry in entries.items()}
    _require_sense(path, state)
    return state


def _best_of(path: Path, training: Any, last: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the best state of the model in the state of a training; the last one, if there is none."""
    best = training.get("best") if isinstance(training, dict) else None
    state = best.get("state") if isinstance(best, dict) else None
    if not isinstance(state, dict):
        return last
    if state.keys() != last.keys() or any(
        not isinstance(state[name], np.ndarray)
        or (state[name].shape, state[name].dtype) != (values.shape, values.dtype)
        for name, values in last.items()
    ):
        raise CheckpointError(f"{path} is damaged: its best state is that of another model than its last")
    _require_sense(path, state)
    return state


def _require_sense(path: Path, state: dict[str, NDArray[Any]]) -> None:
    """Raise an error for numbers that no training ends with."""
    senseless: dict[str, list[str]] = {}
    for name, values in state.items():
        if fault := _fault(name, values):
            senseless.setdefault(fault, []).append(name)
    if senseless:
        what = "; ".join(f"{fault}, in {', '.join(names[:10])}" for fault, names in senseless.items())
        raise CheckpointError(f"{path} holds {what}; take another copy of it, or train again")


def _bare(name: str) -> str:
    """Return the name that an entry has in the model, for a sentence."""
    name = printable(name.removeprefix(_PREFIX))
    return name if len(name) <= 100 else f"{name[:100]}..."


def _misfits(name: str, found: Entry, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[str]:
    """Yield what does not fit of an array, by its header."""
    if found.shape != shape:
        yield f"{_bare(name)}: shape {_shown(found.shape)} was given; expected {_shown(shape)}"
    if found.dtype.kind != dtype.kind or found.dtype.itemsize > 8:
        yield f"{_bare(name)}: dtype {found.dtype} was given; expected {dtype}"


def _fault(name: str, values: NDArray[Any]) -> str | None:
    """Return what is wrong with numbers that no training ends with."""
    least, largest = float(np.min(values, initial=0)), float(np.max(values, initial=0))
    if not (math.isfinite(least) and math.isfinite(largest)):
        return "numbers that are not finite"
    if largest > _LARGEST or least < -_LARGEST:
        return f"numbers beyond {_LARGEST:g}, with which nothing can be computed"
    if least < 0 and name.endswith("running_var"):
        return "a negative variance"
    if least < 0 and name.endswith("num_batches_tracked"):
        return "a negative count"
    return None


def _require_finite_output(
    path: Path, model: nn.Module, image_shape: tuple[int, int], standardizer: Standardizer
) -> None:
    """Raise an error if a black and a white image have no finite logits."""
    images = np.empty((2, *image_shape), np.uint8)
    images[0], images[1] = 0, 255
    with no_grad(), np.errstate(all="ignore"):
        logits = model(standardizer(images)).numpy()
    if not np.isfinite(logits).all():
        raise CheckpointError(
            f"{path} holds weights that are too large together: nothing can be computed with them; take "
            "another copy of it, or train again"
        )
