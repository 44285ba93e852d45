import sys
from pathlib import Path

import pytest

from tinygrad_mnist.data import DataError, DataUnavailableError, catalogue, load, mnist


def refuse(sentence: str) -> None:
    pytest.fail(f"nothing was to be said, but: {sentence}")


@pytest.fixture
def no_mirror(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pooch", reason="pooch is not installed")
    monkeypatch.setattr(mnist, "MIRRORS", ("http://127.0.0.1:1/", "http://no-such-host.invalid:99999/"))


def test_digits_are_the_digits() -> None:
    assert load("digits", notify=refuse).name == "digits"


def test_a_directory_gives_its_name(mnist_directory: Path) -> None:
    dataset = load(mnist_directory, notify=refuse)
    assert dataset.name == "some-mnist"
    assert len(dataset.train_images) == 30


def test_a_directory_may_be_given_as_a_string(mnist_directory: Path) -> None:
    assert len(load(str(mnist_directory)).train_images) == 30


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(DataError, match="'minst'; choose among auto, mnist, digits and a directory"):
        load("minst")


@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_mnist_comes_from_the_directory_in_the_environment(
    name: str, mnist_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYGRAD_MNIST_DATA", str(mnist_directory))
    dataset = load(name, notify=refuse)
    assert dataset.name == "mnist"
    assert len(dataset.train_images) == 30


@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_a_wrong_directory_in_the_environment_is_an_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYGRAD_MNIST_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"lacks train-images-idx3-ubyte, .* of the four files"):
        load(name, notify=refuse)


def test_auto_takes_the_digits_where_there_is_no_network_and_says_so_in_a_sentence(no_mirror: None) -> None:
    said: list[str] = []
    assert load("auto", notify=said.append).name == "digits"
    (sentence,) = said
    assert "\n" not in sentence
    assert "instead of MNIST, because" in sentence
    assert "could not be downloaded" in sentence
    assert "127.0.0.1" not in sentence
    assert "--data DIR or $TINYGRAD_MNIST_DATA" in sentence
    assert sentence.endswith(".")


def test_auto_warns_if_nobody_listens(no_mirror: None) -> None:
    with pytest.warns(UserWarning, match="instead of MNIST, because") as caught:
        load()
    assert caught[0].filename == __file__


def test_auto_takes_the_digits_without_pooch_and_names_the_extra(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    said: list[str] = []
    assert load("auto", notify=said.append).name == "digits"
    assert 'pip install "tinygrad_mnist[download]"' in said[0]


def test_auto_takes_the_digits_if_nothing_may_be_downloaded(cache: Path) -> None:
    said: list[str] = []
    assert load("auto", notify=said.append, download=False).name == "digits"
    assert len(said) == 1


def test_mnist_by_name_is_an_error_where_there_is_no_network(no_mirror: None) -> None:
    with pytest.raises(
        DataUnavailableError, match=r"could not be downloaded.*, or name a directory .* --data DIR"
    ):
        load("mnist", notify=refuse)


def test_an_empty_name_is_an_error() -> None:
    with pytest.raises(DataError, match="name of the data set is empty"):
        load("", notify=refuse)


def test_the_names_are_those_that_load_knows() -> None:
    assert catalogue.NAMES == ("auto", "mnist", "digits")
