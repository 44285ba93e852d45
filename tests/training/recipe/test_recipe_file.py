"""Recipes in files of TOML: read, written, and refused by line."""

import os
import re
import tomllib
from pathlib import Path

import pytest

from tinygrad_mnist.training import RECIPES, Recipe, RecipeError
from tinygrad_mnist.training.recipe.model_file import ModelFile
from tinygrad_mnist.training.recipe.recipe_file import LARGEST, read_recipe, recipe_text


def written(content: str | bytes, name: str = "my.toml") -> Recipe:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return read_recipe(name)


def refusal(content: str | bytes) -> str:
    """The sentence that refuses a file."""
    with pytest.raises(RecipeError) as caught:
        written(content)
    return str(caught.value)


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_written_reads_as_the_same_recipe(name: str) -> None:
    read = written(recipe_text(RECIPES[name]))
    assert read == RECIPES[name]
    types = [
        {field: type(value) for field, value in vars(recipe).items()} for recipe in (read, RECIPES[name])
    ]
    assert types[0] == types[1]


def test_each_value_of_what_is_written_has_a_comment_in_plain_words() -> None:
    text = recipe_text(RECIPES["digits"])
    assert len(re.findall(r"^# .*\n\w+ = ", text, re.MULTILINE)) == len(tomllib.loads(text))
    assert "`" not in text
    assert "None" not in text
    assert "# One of (sgd, momentum, rmsprop, adam, adamw). " in text
    assert max(map(len, text.splitlines())) <= 110


def test_odd_texts_survive() -> None:
    recipe = RECIPES["digits"].changed(description='"\\ \x7f\t\x00é\x9b\u202e\U0001f600', data="C:\\data")
    assert written(recipe_text(recipe)) == recipe


def test_a_file_changes_its_base() -> None:
    recipe = written('base = "digits"\nepochs = 3\nhidden = [8, 4]\nbatch_size = "full"\nclip_norm = 1\n')
    expected = RECIPES["digits"].changed(
        name="my",
        description="digits, changed by my.toml",
        epochs=3,
        hidden=(8, 4),
        batch_size=None,
        clip_norm=1,
    )
    assert recipe == expected


def test_none_is_written_out() -> None:
    assert written('base = "three-layer"\nclip_norm = "none"\n').clip_norm is None


def test_another_optimizer_brings_its_rate_as_on_the_command_line() -> None:
    assert written('base = "digits"\noptimizer = "sgd"\n').lr == 0.1
    assert written('base = "digits"\noptimizer = "sgd"\nlr = 0.2\n').lr == 0.2


def test_a_mark_before_the_text_is_no_part_of_it() -> None:
    assert written(b'\xef\xbb\xbfbase = "digits"\n').name == "my"


def test_a_name_without_the_suffix_is_one_of_the_table() -> None:
    assert read_recipe("digits") is RECIPES["digits"]
    with pytest.raises(RecipeError, match="did you mean digits"):
        read_recipe("digit")
    Path("mine").write_text('base = "digits"')
    with pytest.raises(RecipeError, match=r"^mine is a file, but no recipe: the name of one ends in \.toml"):
        read_recipe("mine")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('base = "digits"\n\nlrate = 1\n', r"^my\.toml, line 3: a recipe has no 'lrate'; did you mean lr\?$"),
        ('base = "digits"\nbatch-size = 1\n', r"a recipe has no 'batch-size'; did you mean batch_size\?"),
        ('# hidden\n"Hidden" = [1]\n', r"line 2: a recipe has no 'Hidden'; did you mean hidden\?"),
        ('[training]\nlr = 1\n', r"line 1: a recipe has no 'training'; it has name, description, "),
        ('base = "digits"\nlr = "fast"\n', r"line 2: lr must be a finite number above 0, not 'fast'$"),
        ('base = "digits"\nlr = nan\n', r"line 2: lr must be a finite number above 0, not nan"),
        ('base = "digits"\nhidden = 3\n', r"line 2: hidden must be whole numbers above 0"),
        ('base = "digits"\nhidden = [[3]]\n', r"line 2: hidden must be whole numbers above 0"),
        ('base = "digits"\none_hot = "yes"\n', r"line 2: one_hot must be True or False, not 'yes'"),
        ('base = "digits"\n[lr]\nx = 1\n', r"line 2: lr must be a finite number above 0"),
        ('base = "digits"\nlr.x = 1\n', r"line 2: lr must be a finite number above 0"),
        ('base = "digits"\nlr = 2024-01-01\n', r"line 2: lr must be a finite number above 0"),
        ('base = "digits"\noptimizer = "adan"\n', r"line 2: optimizer must be one of .*did you mean adam"),
        ('base = "digts"\n', r"line 1: there is no recipe 'digts'; did you mean digits\?"),
        ('base = "digits"\nmodel_file = "x.py:f"\n', r"line 2: model_file must be named by --model"),
        ('base = "digits"\nmodel = "file"\n', r"line 2: model must be 'file' where .* --model"),
        ("base = 3\n", r"line 1: base must be the name of a recipe, not 3"),
        ('base = "digits"\nname = "../x"\n', r"line 2: name must be of letters.*, not '\.\./x'"),
        ('base = "digits"\nname = ""\n', r"line 2: name must be of letters"),
        ("lr = 1\nlr = 2\n", r"^my\.toml is no TOML: Cannot overwrite a value \(at line 2, column 7\)$"),
        ("lr = \n", r"is no TOML: Invalid value \(at line 1, column 6\)"),
        ("", r"^my\.toml: the recipe lacks .*description.*; begin the file with base = "),
        (b"\x7fELF\x00\xff\xfe", r"^my\.toml is no text in UTF-8"),
        (b"a\x00b", r"^my\.toml is no TOML: "),
        (b"a = " + b"[" * 5000, r"^my\.toml is no TOML: "),
    ],
)  # fmt: skip
def test_the_sentence_names_the_line(content: str | bytes, sentence: str) -> None:
    assert re.search(sentence, refusal(content))


@pytest.mark.parametrize(
    ("file", "name"),
    [("a (2).toml", "a -2-"), (".toml", "toml"), ("größe.toml", "größe"), ("().toml", "digits")],
)
def test_a_recipe_without_a_name_is_called_after_the_file(file: str, name: str) -> None:
    assert written('base = "digits"', file).name == name


def test_a_file_that_is_not_there_and_what_is_no_file() -> None:
    with pytest.raises(RecipeError, match=r"^no\.toml does not exist; name a file of TOML, or one of "):
        read_recipe("no.toml")
    Path("folder.toml").mkdir()
    with pytest.raises(RecipeError, match=r"^folder\.toml is no file"):
        read_recipe("folder.toml")


def test_a_file_beyond_all_measure() -> None:
    with open("my.toml", "wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(RecipeError, match="too much for a recipe"):
        read_recipe("my.toml")


def test_a_path_with_spaces_from_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("my recipes").mkdir()
    recipe = written('base = "digits"', "my recipes/one more.toml")
    monkeypatch.chdir("my recipes")
    assert read_recipe("one more.toml") == recipe
    assert recipe.name == "one more"


@pytest.mark.skipif(os.name == "nt", reason="there are no such permissions")
def test_a_file_that_may_not_be_read() -> None:
    Path("my.toml").write_text("")
    Path("my.toml").chmod(0)
    if os.access("my.toml", os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(RecipeError, match=r"my\.toml cannot be read"):
        read_recipe("my.toml")


def test_a_model_of_a_file_is_refused_as_no_file_of_toml_says_it() -> None:
    recipe = RECIPES["cnn"].changed(
        model="file", layers=(), model_file=ModelFile("/x/net.py", "build", "0" * 64)
    )
    with pytest.raises(RecipeError, match=r"^the model of the recipe cnn is built by .*net.py:build"):
        recipe_text(recipe)
