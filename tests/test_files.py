"""Files are there whole or not at all; links and devices stay what they are."""

import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tinygrad_mnist.files import (
    Lock,
    LockedError,
    replacing,
    require_writable,
    write,
    write_json,
    write_json_lines,
)


def test_a_file_is_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    assert write(tmp_path / "a.txt", "café") == tmp_path / "a.txt"
    assert (tmp_path / "a.txt").read_text("utf-8") == "café"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt(), ValueError("no")])
def test_what_fails_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as unfinished:
            unfinished.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_is_told_by_the_path_that_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device", str(source))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left on device") as raised:
        write(tmp_path / "a.txt", "x")
    assert raised.value.filename == str(tmp_path / "a.txt")


def test_a_file_is_on_the_disk_before_it_takes_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a power cut could leave an empty file in the place of the old one."""
    order: list[str] = []

    def noted(name: str) -> Callable[..., None]:
        call = getattr(os, name)

        def run(*arguments: Any) -> None:
            order.append(name)
            call(*arguments)

        return run

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, noted(name))
    write(tmp_path / "a.txt", "x")
    assert order == ["fsync", "replace", "fsync"]  # the last one is of the name, in the directory


def test_it_may_be_read_by_others_as_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    assert write(tmp_path / "a.txt", b"x").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes of files")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
@pytest.mark.parametrize("name", ["a.txt", "link.txt"])
def test_it_may_be_read_by_whom_the_old_one_allowed(tmp_path: Path, mode: int, name: str) -> None:
    """Also while it is written: what is secret is at no moment there for others."""
    path, previous = tmp_path / "a.txt", tmp_path / "b.txt"
    path.write_text("old")
    path.chmod(mode)
    (tmp_path / "link.txt").symlink_to(path)
    with replacing(tmp_path / name, previous) as unfinished:
        assert not stat.S_IMODE(unfinished.stat().st_mode) & ~mode & 0o077
        with replacing(unfinished) as inner:  # as a writer does that does not know the other
            inner.write_text("new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert stat.S_IMODE(previous.stat().st_mode) == mode


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes of files")
def test_the_previous_file_keeps_its_mode_where_there_are_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", none)
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "a.txt").chmod(0o640)
    with replacing(tmp_path / "a.txt", tmp_path / "b.txt") as unfinished:
        unfinished.write_text("new")
    assert (tmp_path / "b.txt").read_text() == "old"
    assert stat.S_IMODE((tmp_path / "b.txt").stat().st_mode) == 0o640


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    write(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with a name")
def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write(path, "whole")
        assert os.read(reader, 10) == b"whole"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(path.stat().st_mode)


@pytest.mark.parametrize("name", ["folder", "folder/", "new/"])
def test_a_directory_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="that is a directory; name a file"):
        write(f"{tmp_path}/{name}", "x")


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no directory '.*nowhere'; make it first"):
        write(tmp_path / "nowhere" / "a.txt", "x")


def test_a_file_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    with replacing(path) as unfinished:
        unfinished.write_text("new")
        assert not path.exists()
        assert unfinished.suffix == ".txt"
    assert path.read_text() == "new"


@pytest.mark.parametrize("name", ["folder", "nowhere/a.txt"])
def test_what_could_not_be_written_is_found_before_the_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"that is a directory|there is no directory"):
        require_writable(tmp_path / name)
    require_writable(tmp_path / "a.txt")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_json_has_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [float("nan"), {"b": float("inf")}], "c": "é"})
    text = (tmp_path / "a.json").read_text("utf-8")
    assert json.loads(text, parse_constant=pytest.fail) == {"a": [None, {"b": None}], "c": "é"}


def test_half_a_character_comes_back(tmp_path: Path) -> None:
    """As in the name of a directory that is no UTF-8."""
    write_json(tmp_path / "a.json", {"a": "é\udcff"})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"a": "é\udcff"}


def test_json_lines_have_a_line_each(tmp_path: Path) -> None:
    write_json_lines(tmp_path / "a.jsonl", [{"a": 1}, {"a": float("nan")}])
    assert (tmp_path / "a.jsonl").read_text() == '{"a": 1}\n{"a": null}\n'


# ---- what the system refuses, and writers that are killed ------------------------------------------------

CALLS = ("open", "fsync", "link", "replace")


class Killed(BaseException):
    """The end of a process: nothing is done after it."""


def after(
    monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException, for_good: bool = False
) -> list[str]:
    """Let the call of the system with this number fail, or all from it on; return the list of those made."""
    made: list[str] = []

    def failing(owner: Any, name: str) -> Callable[..., Any]:
        call = getattr(owner, name)

        def run(*arguments: Any, **options: Any) -> Any:
            made.append(name)
            if len(made) == number or (for_good and len(made) > number):
                raise error
            return call(*arguments, **options)

        return run

    for name in CALLS:
        monkeypatch.setattr(os, name, failing(os, name))
    if for_good:
        monkeypatch.setattr(Path, "unlink", failing(Path, "unlink"))
    return made


def kept(folder: Path) -> tuple[Path, Path]:
    """Two files, the second the one before the first."""
    for text in ("first", "second"):
        with replacing(folder / "last.txt", folder / "previous.txt") as unfinished:
            unfinished.write_text(text)
    return folder / "last.txt", folder / "previous.txt"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("number", range(1, 9))
def test_a_call_that_fails_leaves_whole_files_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    last, previous = kept(tmp_path)
    raised: OSError | None = None
    with monkeypatch.context() as patch:
        made = after(patch, number, OSError(code, os.strerror(code)))
        try:
            with replacing(last, previous) as unfinished:
                unfinished.write_text("third")
        except OSError as error:
            raised = error
    texts = last.read_text(), previous.read_text()
    if raised is None:  # where it did not fail, or a copy took the place of a link
        assert len(made) < number or made[number - 1] == "link"
        assert texts == ("third", "second")
    else:
        assert (raised.errno, raised.filename) == (code, str(last))
        assert texts in [("second", "first"), ("third", "first"), ("third", "second")]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["last.txt", "previous.txt"]


def test_ctrl_c_while_an_unfinished_file_is_removed_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink, presses = Path.unlink, [KeyboardInterrupt()]

    def pressed_once(path: Path, **options: Any) -> None:
        if presses:
            raise presses.pop()
        unlink(path, **options)

    def fail() -> None:
        with replacing(tmp_path / "a.txt") as unfinished:
            unfinished.write_text("half")
            raise ValueError

    monkeypatch.setattr(Path, "unlink", pressed_once)
    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="there the files that are left have to be a day old")
@pytest.mark.parametrize("number", range(1, 10))
def test_a_killed_writer_leaves_whole_files_and_the_next_one_sweeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    last, previous = kept(tmp_path)
    (tmp_path / ".other.0123456789abcdef.part.txt").touch()
    with monkeypatch.context() as patch, suppress(Killed):
        after(patch, number, Killed(), for_good=True)
        with replacing(last, previous) as unfinished:
            unfinished.write_text("third")
    texts = last.read_text(), previous.read_text()
    assert texts in [("second", "first"), ("third", "first"), ("third", "second")]
    write(last, "fourth")
    names = sorted(entry.name for entry in tmp_path.iterdir())
    assert names == [".other.0123456789abcdef.part.txt", "last.txt", "previous.txt"]


def test_a_live_writer_is_not_swept_away(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom tinygrad_mnist.files import replacing\n"
        "with replacing(sys.argv[1]) as unfinished:\n"
        "    unfinished.write_text('slow')\n    print('writing', flush=True)\n    input()"
    )
    path = tmp_path / "a.txt"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as slow:
        assert slow.stdout is not None
        slow.stdout.readline()
        write(path, "fast")
        slow.communicate("\n")
    assert (slow.returncode, path.read_text()) == (0, "slow")


def test_files_that_were_left_have_to_be_old_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinygrad_mnist.files._lock", lambda descriptor: None)
    young, old = (tmp_path / f".a.{digit * 16}.part.txt" for digit in "01")
    for path in (young, old):
        path.touch()
    os.utime(old, (0, 0))
    write(tmp_path / "a.txt", "x")
    assert (young.exists(), old.exists()) == (True, False)


def test_a_file_before_is_a_copy_where_there_are_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    last, previous = kept(tmp_path)
    assert (last.read_text(), previous.read_text()) == ("second", "first")


def test_a_directory_that_is_deleted_meanwhile_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    def fail() -> None:
        with replacing(folder / "a.txt") as unfinished:
            unfinished.unlink()
            folder.rmdir()
            unfinished.write_text("x")

    with pytest.raises(FileNotFoundError, match=r"its directory '.*folder' is no longer there"):
        fail()


@pytest.mark.skipif(sys.platform == "win32", reason="limits are POSIX's")
def test_a_disk_that_is_full_in_the_middle(tmp_path: Path) -> None:
    """The write itself fails, in whatever layer; the file before stays, and nothing else is said."""
    code = (
        "import resource, signal, sys\nfrom tinygrad_mnist.files import write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "try:\n    write(sys.argv[1], 'x' * 20_000)\nexcept OSError as error:\n    print(error.strerror)"
    )
    write(tmp_path / "a.txt", "old")
    command = [sys.executable, "-c", code, str(tmp_path / "a.txt")]
    run = subprocess.run(command, capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("File too large\n", "")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


# ---- many writers of one file -----------------------------------------------------------------------------

SIZE = 4000
WRITE = """
import sys
from tinygrad_mnist.files import write
for number in range(30):
    write(sys.argv[1], sys.argv[2] * int(sys.argv[3]))
"""


def test_threads_and_processes_may_write_the_same_file(tmp_path: Path) -> None:
    """Each reader sees one text whole, no writer fails, the last one stays, and nothing else is left."""
    path = tmp_path / "a.txt"
    write(path, "_" * SIZE)
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITE, str(path), letter, str(SIZE)]) for letter in "ab"
    ]
    texts: set[str] = set()
    with ThreadPoolExecutor(8) as threads:
        written = [threads.submit(write, path, letter * SIZE) for letter in "cdef" for _ in range(20)]
        while any(process.poll() is None for process in processes) or not all(one.done() for one in written):
            texts.add(path.read_text())
    assert [one.result() for one in written] == [path] * len(written)
    assert [process.returncode for process in processes] == [0, 0]
    assert all(text == text[0] * SIZE for text in texts)
    write(path, "last")
    assert path.read_text() == "last"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_writers_with_the_number_of_the_same_process_have_files_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in two containers."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with replacing(tmp_path / "a.txt") as first, replacing(tmp_path / "a.txt") as second:
        assert first != second
        assert first.parent == second.parent == tmp_path
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a.txt").read_text() == "first"  # its writer was done last


@pytest.mark.parametrize("name", ["ä" * 120 + ".txt", "x." + "y" * 250, ".hidden", "z" * 255])
def test_a_long_name_is_no_hindrance(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, "x")
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


# ---- locks ------------------------------------------------------------------------------------------------


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock")
    with pytest.raises(LockedError, match=f"process {os.getpid()} on"):
        Lock(tmp_path / "lock")
    lock.release()
    lock.release()
    assert list(tmp_path.iterdir()) == []
    Lock(tmp_path / "lock").release()


def test_a_full_disk_is_no_hindrance_to_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    lock = Lock(tmp_path / "lock")
    with pytest.raises(LockedError, match="another process"):
        Lock(tmp_path / "lock")
    lock.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="it removes no open file")
def test_a_lock_whose_file_was_removed_leaves_that_of_another(tmp_path: Path) -> None:
    first = Lock(tmp_path / "lock")
    (tmp_path / "lock").unlink()
    second = Lock(tmp_path / "lock")
    first.release()
    assert (tmp_path / "lock").exists()
    second.release()


def test_a_lock_that_nobody_refers_to_is_let_go(tmp_path: Path) -> None:
    Lock(tmp_path / "lock")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_a_killed_process_left_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("process 1 on another machine")
    Lock(tmp_path / "lock").release()
    assert list(tmp_path.iterdir()) == []


def test_threads_hold_a_lock_one_after_the_other(tmp_path: Path) -> None:
    """The file is removed and made again all the time; still no two hold it at once."""
    held: list[int] = []

    def hold(number: int) -> bool | None:
        try:
            lock = Lock(tmp_path / "lock")
        except LockedError:
            return None
        held.append(number)
        alone = held == [number]
        held.remove(number)
        lock.release()
        return alone

    with ThreadPoolExecutor(8) as threads:
        alone = {one for one in threads.map(hold, range(200)) if one is not None}
    assert alone == {True}
    assert held == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="flock is POSIX's")
def test_a_file_system_without_locks_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    Lock(tmp_path / "lock").release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_copy_in_a_forked_process_does_not_let_it_go(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom tinygrad_mnist.files import Lock, LockedError\nlock = Lock(sys.argv[1])\n"
        "child = os.fork()\nif not child:\n    del lock\n    os._exit(0)\nos.waitpid(child, 0)\n"
        "try:\n    Lock(sys.argv[1])\nexcept LockedError:\n    print('held')"
    )
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path / "lock")], capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("held\n", "")
