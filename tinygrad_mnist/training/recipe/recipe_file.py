"""Recipes in files of TOML: ``--recipe my.toml``, and ``tinygrad-mnist recipes --show cnn > my.toml``.

A file has ``base``, the name of a recipe, and the values of the fields of `Recipe` that differ from it; or it
has no base, and all fields. TOML has no None: ``"none"`` stands for it, and ``"full"`` for a batch of all
images. Mistakes are told by file and line.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import json
import os
import re
import textwrap
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tinygrad_mnist.data import AUGMENTATIONS
from tinygrad_mnist.numbers import printable
from tinygrad_mnist.training.errors import RecipeError
from tinygrad_mnist.training.recipe import choices
from tinygrad_mnist.training.recipe.models import MODELS
from tinygrad_mnist.training.recipe.recipes import RECIPES, Recipe, find_recipe

SUFFIX: Final = ".toml"
BASE: Final = "base"
"""The key of the recipe that a file begins with; it is no field of a recipe."""
LARGEST: Final = 1 << 20
"""Bytes of the largest file that is taken: more is no recipe."""
WIDTH: Final = 100
"""Signs in a line of a file that is written."""

_TABLES: Final[dict[str, Mapping[str, Any]]] = {
    "ACTIVATIONS": choices.ACTIVATIONS,
    "AUGMENTATIONS": AUGMENTATIONS,
    "DATASETS": choices.DATASETS,
    "MODELS": MODELS,
    "NORMS": choices.NORMS,
    "OPTIMIZERS": choices.OPTIMIZERS,
    "SCHEDULES": choices.SCHEDULES,
}
"""The tables that the docstring of `Recipe` names; a file lists what is in them."""

_NONE: Final = {"batch_size": "full"}
"""The text that stands for None, where that is not ``none``."""


def read_recipe(name: str) -> Recipe:
    r"""Return the recipe of a name in `RECIPES`, or in a file.

    Parameters
    ----------
    name : str
        A name; or a path that ends in ``.toml``.

    Returns
    -------
    Recipe

    Raises
    ------
    RecipeError
        If there is no such recipe or file, or the file is none of TOML, has an unknown name, or a value that
        is out of range; the sentence names file and line.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "my.toml")
    ...     count = path.write_text('base = "digits"\nhidden = [64, 32]\nlr = 0.02\n')
    ...     recipe = read_recipe(str(path))
    >>> recipe.name, recipe.hidden, recipe.lr, recipe.optimizer
    ('my', (64, 32), 0.02, 'adamw')
    """
    if name.endswith(SUFFIX):
        return _RecipeFile(Path(os.path.expanduser(name))).recipe()
    if name not in RECIPES and Path(name).is_file():
        raise RecipeError(f"{printable(name)} is a file, but no recipe: the name of one ends in {SUFFIX}")
    return find_recipe(name)


class _RecipeFile:
    """A file with a recipe, on its way to be one.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = self._read()
        try:
            self.values: dict[str, Any] = tomllib.loads(self.text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise RecipeError(f"{self._where()} is no TOML: {error}") from error

    def recipe(self) -> Recipe:
        """Return the recipe."""
        values = {name: _from_toml(name, value) for name, value in self.values.items() if name != BASE}
        self._require_known(values)
        try:
            recipe = self._changed(values) if BASE in self.values else self._whole(values)
        except RecipeError as error:
            raise RecipeError(f"{self._where_wrong(error)}: {error}", error.field) from error
        if not re.fullmatch(r"\w[\w .+-]{0,99}", recipe.name):  # it is part of the name of a directory
            raise RecipeError(
                f"{self._where('name')}: name must be of letters, digits and .+-_, not {recipe.name!r}"
            )
        return recipe

    def _changed(self, values: Mapping[str, Any]) -> Recipe:
        """Return the base with the values of the file."""
        base = self.values[BASE]
        if not isinstance(base, str):
            raise RecipeError(f"base must be the name of a recipe, not {base!r}", BASE)
        try:
            found = find_recipe(base)
        except RecipeError as error:
            raise RecipeError(str(error), BASE) from error
        name = re.sub(r"[^\w .+-]", "-", self.path.stem).lstrip(" .+-") or base
        told = {"name": name, "description": f"{base}, changed by {self.path.name}"}
        return found.changed(**{**told, **values})

    def _whole(self, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe of a file that has all values."""
        try:
            return Recipe.from_dict(values)
        except RecipeError as error:
            if error.field is not None:
                raise
            raise RecipeError(
                f'{error}; begin the file with base = "{next(iter(RECIPES))}", or write a whole one by '
                "'tinygrad-mnist recipes --show NAME'"
            ) from error

    def _read(self) -> str:
        try:
            if not self.path.is_file():  # a pipe would wait for somebody to write
                what = "is no file" if self.path.exists() else "does not exist"
                raise RecipeError(
                    f"{self._where()} {what}; name a file of TOML, or one of {', '.join(RECIPES)}"
                )
            if (size := self.path.stat().st_size) > LARGEST:
                raise RecipeError(f"{self._where()} has {size:,} bytes, which is too much for a recipe")
            return self.path.read_text("utf-8-sig")  # some editors put a mark before the text
        except UnicodeDecodeError as error:
            raise RecipeError(f"{self._where()} is no text in UTF-8, as TOML has to be") from error
        except OSError as error:
            raise RecipeError(f"{self._where()} cannot be read ({error.strerror or error})") from error

    def _where(self, key: str | None = None) -> str:
        """Return the name of the file, and the line in which it sets a key, if it does."""
        name = printable(str(self.path))
        for number, line in enumerate(self.text.splitlines() if key else (), start=1):
            if re.match(
                rf"""\s*(["']?){re.escape(str(key))}\1\s*[.=]|\s*\[+\s*{re.escape(str(key))}\b""", line
            ):
                return f"{name}, line {number}"
        return name

    def _where_wrong(self, error: RecipeError) -> str:
        """Return the name of the file, and the line of a value, or of the text in a list, that is wrong."""
        values = self.values.get(error.field or "")
        for text in values if isinstance(values, list) else ():
            for number, line in enumerate(self.text.splitlines(), start=1):
                if isinstance(text, str) and repr(text) in str(error) and text in line:
                    return f"{printable(str(self.path))}, line {number}"
        return self._where(error.field)

    def _require_known(self, values: Mapping[str, Any]) -> None:
        """Raise an error for the first name that is no field of a recipe."""
        for name in values:
            if name not in _FIELDS:
                names, meant = [*_FIELDS, BASE], name.lower().replace("-", "_")
                near = difflib.get_close_matches(meant, names, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(_FIELDS)}"
                raise RecipeError(f"{self._where(name)}: a recipe has no {name!r}; {hint}")


_FIELDS: Final = {field.name: str(field.type) for field in dataclasses.fields(Recipe)}
"""The fields of a recipe, and their types as they are written in the source."""


def _none_of(name: str) -> str | None:
    """Return the text that stands for None in a field; None if the field is never None."""
    return _NONE.get(name, "none") if "None" in _FIELDS.get(name, "") else None


def _from_toml(name: str, value: Any) -> Any:
    """Return a value of a recipe from one of TOML."""
    if isinstance(value, list):
        return tuple(_from_toml("", entry) for entry in value)
    return None if isinstance(value, str) and value == _none_of(name) else value


# ---- writing ---------------------------------------------------------------------------------------------


def recipe_text(recipe: Recipe) -> str:
    r"""Return a recipe as a file of TOML that trains the same, with a comment on each value.

    Raises
    ------
    RecipeError
        If a file of Python builds its model, which a file of TOML does not say.

    Examples
    --------
    >>> print(recipe_text(RECIPES["digits"]).split("\n\n")[3])
    # Units of each hidden layer of the model "mlp"; empty for none (softmax regression).
    hidden = [256]
    """
    if recipe.model_file is not None:
        raise RecipeError(
            f"the model of the recipe {recipe.name} is built by {recipe.model_file}, which a file of TOML "
            "cannot say; write the recipe without it, and name it by --model",
            "model_file",
        )
    comments = _comments()
    parts = [_paragraph(f"A recipe of tinygrad-mnist: tinygrad-mnist train --recipe FILE{SUFFIX}")]
    values = recipe.to_dict()
    del values["model_file"]
    for name, value in values.items():
        comment = _paragraph(comments[name]) if name in comments else ""
        parts.append(f"{comment}{name} = {_to_toml(name, value)}\n")
    return "\n".join(parts)


def _paragraph(text: str) -> str:
    """Return a text as lines of a comment."""
    lines = textwrap.wrap(text, WIDTH, break_on_hyphens=False, break_long_words=False)
    return "".join(f"# {line}\n" for line in lines)


def _to_toml(name: str, value: Any) -> str:
    """Return a value as TOML writes it."""
    match value:
        case None:
            return _quoted(_none_of(name) or "none")
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str():
            return _quoted(value)
        case [str(), *_]:
            return "[\n" + "".join(f"    {_quoted(entry)},\n" for entry in value) + "]"
        case _:
            return f"[{', '.join(_to_toml(name, entry) for entry in value)}]"


def _quoted(text: str) -> str:
    # The escapes of JSON are among those of TOML. What a terminal acts on is spelt out as well.
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(sign if sign.isprintable() else f"\\U{ord(sign):08x}" for sign in quoted)


def _comments() -> dict[str, str]:
    """Return what the docstring of `Recipe` says of each field, for a reader who sees no table of Python."""
    doc = inspect.getdoc(Recipe) or ""
    found = re.findall(r"^(\w+) : .+\n((?:    .+\n)+)", doc, re.MULTILINE)
    return {name: _plain(name, " ".join(text.split())) for name, text in found if name in _FIELDS}


def _plain(name: str, text: str) -> str:
    """Return a sentence of a docstring with the names in a table, in place of the table's name."""

    def names(match: re.Match[str]) -> str:
        table = _TABLES.get(match[1].rpartition(".")[2])
        return match[1] if table is None else f"({', '.join(table)})"

    text = re.sub(r"``(\w[\w-]*)``", r'"\1"', text)
    text = re.sub(r"`+([^`]+)`+", names, text)
    return re.sub(r"\bNone\b", f'"{none}"', text) if (none := _none_of(name)) else text
