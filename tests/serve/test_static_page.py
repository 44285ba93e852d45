"""The folder of the page without a server: its files, and which directories it may take the place of."""

import json
import os
import re
from pathlib import Path

import pytest

from tests.checkpoints import untrained
from tinygrad_mnist import nn
from tinygrad_mnist.serve import static_page
from tinygrad_mnist.serve.recognition import Recogniser
from tinygrad_mnist.serve.static_page import SCRIPTS, static_files, write_page
from tinygrad_mnist.training import Checkpoint, CheckpointError, RunError


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return untrained("digits")


def contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def test_the_folder_holds_the_page_and_the_scripts_that_compute(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    sizes = write_page(checkpoint, tmp_path / "page")
    assert sizes.keys() >= {"index.html", "page.css", "page.js", *SCRIPTS}
    assert "server.js" not in sizes
    assert {file.name: file.stat().st_size for file in (tmp_path / "page").iterdir()} == sizes
    assert [entry.name for entry in tmp_path.iterdir()] == ["page"]


def test_every_file_that_the_page_names_is_in_the_folder(checkpoint: Checkpoint) -> None:
    files = static_files(checkpoint)
    index = files["index.html"].decode()
    named = re.findall(r'(?:src|href)="(?!data:)([^"]*)"', index)
    assert set(named) == files.keys() - {"index.html"}
    assert [name for name in named if name in SCRIPTS] == list(SCRIPTS)
    assert named.index("local.js") < named.index("page.js")


def test_no_file_has_an_address_elsewhere(checkpoint: Checkpoint) -> None:
    for name, content in static_files(checkpoint).items():
        addresses = set(re.findall(rb"https?://[^\s'\"]*", content))
        assert addresses <= {b"http://www.w3.org/2000/svg"}, name  # a name, which nobody looks up
        assert b'src="/' not in content
        assert b'href="/' not in content


def test_the_model_in_the_page_is_that_of_the_service(checkpoint: Checkpoint) -> None:
    text = static_files(checkpoint, threshold=0.9)["model.js"].decode("ascii")
    model = json.loads(text[text.index("{") : text.rindex("}") + 1])
    note = model["description"].pop("note")
    assert model["description"] == {
        name: value
        for name, value in Recogniser(checkpoint, threshold=0.9).describe().items()
        if name != "note"
    }
    assert "nothing that you draw leaves it" in note


def test_what_is_said_of_a_model_of_small_digits_is_said_in_the_page_too() -> None:
    small = untrained("digits", data="digits", train_images=1294)
    text = static_files(small)["model.js"].decode("ascii")
    note = json.loads(text[text.index("{") : text.rindex("}") + 1])["description"]["note"]
    assert "nothing that you draw leaves it. This model was trained on 1,294 small digits" in note
    assert note.endswith("recognised.")


def test_an_empty_directory_and_an_earlier_export_are_replaced(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    page = tmp_path / "page"
    page.mkdir()
    write_page(untrained("mlp"), page)
    before = contents(page)
    write_page(checkpoint, page)
    assert contents(page) == static_files(checkpoint)
    assert contents(page)["model.js"] != before["model.js"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["page"]


def test_an_export_of_another_version_with_other_files_is_replaced(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    write_page(checkpoint, tmp_path / "page")
    model = tmp_path / "page" / "model.js"
    model.write_bytes(model.read_bytes().replace(b" bars.js ", b" bars.js former.js ", 1))
    (tmp_path / "page" / "former.js").write_text("")
    write_page(checkpoint, tmp_path / "page")
    assert contents(tmp_path / "page") == static_files(checkpoint)


def test_directories_above_are_not_made(tmp_path: Path, checkpoint: Checkpoint) -> None:
    with pytest.raises(RunError, match=r"there is no directory .*a'; make it first"):
        write_page(checkpoint, tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_links_are_followed(tmp_path: Path, checkpoint: Checkpoint) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a", target_is_directory=True)
    write_page(checkpoint, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("name", ["notes.txt", "index.html"])
def test_a_directory_with_other_things_is_not_touched(
    tmp_path: Path, checkpoint: Checkpoint, name: str
) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(RunError, match=rf"holds {re.escape(name)}, where nothing or an earlier page"):
        write_page(checkpoint, tmp_path)
    assert contents(tmp_path) == {name: b"mine"}


def test_an_earlier_export_with_other_things_in_it_is_not_touched(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    page = tmp_path / "page"
    write_page(checkpoint, page)
    (page / "CNAME").write_text("mine")
    before = contents(page)
    with pytest.raises(RunError, match="holds CNAME, where"):
        write_page(checkpoint, page)
    assert contents(page) == before


def test_a_file_is_no_directory(tmp_path: Path, checkpoint: Checkpoint) -> None:
    (tmp_path / "page").write_text("mine")
    with pytest.raises(RunError, match="is a file, where a directory for the page was expected"):
        write_page(checkpoint, tmp_path / "page")
    assert (tmp_path / "page").read_text() == "mine"


def test_the_directory_that_one_is_in_is_not_replaced(
    tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="the directory that you are in; name another"):
        write_page(checkpoint, ".")


def test_a_model_that_is_refused_leaves_the_directory_as_it_was(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    page = tmp_path / "page"
    write_page(checkpoint, page)
    before = contents(page)
    other = Checkpoint(nn.Softmax(1), *list(vars(checkpoint).values())[1:])
    with pytest.raises(CheckpointError, match="Softmax"):
        write_page(other, page)
    with pytest.raises(CheckpointError, match="Softmax"):
        write_page(other, tmp_path / "page")
    assert contents(page) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["page"]


def test_an_error_in_the_middle_leaves_the_earlier_export(
    tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page"
    write_page(untrained("mlp"), page)
    before = contents(page)

    def fail_at_the_third(path: Path, content: bytes) -> None:
        if len(list(path.parent.iterdir())) == 2:
            raise OSError(28, "No space left on device", os.fspath(path))
        path.write_bytes(content)

    monkeypatch.setattr(static_page, "write", fail_at_the_third)
    with pytest.raises(RunError, match=r"page cannot be written \(No space left on device\)"):
        write_page(checkpoint, page)
    assert contents(page) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["page"]


@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
def test_an_earlier_export_comes_back_if_the_new_one_cannot_be_put_there(
    tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    page = tmp_path / "page"
    write_page(untrained("mlp"), page)
    before = contents(page)
    rename = Path.rename

    def fail_with_the_new_one(path: Path, target: Path) -> Path:
        if path.suffix == ".part":
            raise kind(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_with_the_new_one)
    with pytest.raises(RunError if kind is OSError else kind):
        write_page(checkpoint, page)
    assert contents(page) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["page"]


def test_the_page_may_load_its_own_files_and_ask_nobody(checkpoint: Checkpoint) -> None:
    index = static_files(checkpoint)["index.html"].decode()
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', index)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self' file:"
    assert "connect-src" not in rules  # so the default holds
    assert index.index("Content-Security-Policy") < index.index("<script")
