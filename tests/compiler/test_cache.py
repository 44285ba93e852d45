"""Machine code on disk that is right or not there, and a dict that forgets what was not used."""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tinygrad_mnist.compiler import cache
from tinygrad_mnist.compiler.cache import (
    DiskCache,
    LeastRecentlyUsed,
    directory_of_machine_code,
    key_of,
)


def the_file(directory: Path) -> Path:
    (path,) = directory.iterdir()
    return path


# ---- on disk -------------------------------------------------------------------------------------------


def test_what_was_put_in_comes_out_of_another_cache_of_the_same_directory(tmp_path: Path) -> None:
    DiskCache(tmp_path / "new" / "folder").put("a", b"code")
    assert DiskCache(tmp_path / "new" / "folder").get("a") == b"code"
    assert DiskCache(tmp_path / "new" / "folder").get("b") is None


def test_a_second_content_takes_the_place_of_the_first(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path)
    disk.put("a", b"one")
    disk.put("a", b"two")
    assert disk.get("a") == b"two"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: content[:10], id="cut in the beginning"),
        pytest.param(lambda content: content[:-1], id="cut at the end"),
        pytest.param(lambda content: content + b"\0", id="longer"),
        pytest.param(lambda content: content[:-1] + bytes([content[-1] ^ 1]), id="a bit of the content"),
        pytest.param(lambda content: content[:30] + b"\0" + content[31:], id="a byte of the checksum"),
        pytest.param(lambda content: content.replace(b"object 1", b"object 0"), id="of another format"),
        pytest.param(lambda content: b"something else", id="no file of ours"),
    ],
)
def test_a_damaged_file_is_a_miss_and_can_be_replaced(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    disk = DiskCache(tmp_path)
    disk.put("a", b"content" * 10)
    path = the_file(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    assert disk.get("a") is None
    disk.put("a", b"again")
    assert disk.get("a") == b"again"


def test_the_file_of_another_key_is_a_miss(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path)
    disk.put("a", b"content")
    path = the_file(tmp_path)
    path.rename(path.with_name("b" + path.suffix))
    assert disk.get("b") is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no numbers of users")
def test_the_file_of_another_user_is_a_miss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = DiskCache(tmp_path)
    disk.put("a", b"content")
    monkeypatch.setattr(os, "getuid", lambda: os.stat(tmp_path).st_uid + 1)
    assert disk.get("a") is None


def test_what_was_not_used_for_the_longest_time_goes_first(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path, most=1000)
    for second, key in enumerate("abcd"):
        disk.put(key, b"x" * 190)
        os.utime(tmp_path / (key + cache.SUFFIX), (second, second))
    disk.get("a")  # now the last one used
    disk.put("e", b"x" * 190)
    assert [key for key in "abcde" if disk.get(key) is not None] == ["a", "d", "e"]


def test_what_an_interrupted_writer_left_goes_in_its_turn(tmp_path: Path) -> None:
    left = tmp_path / f".a.0123.part{cache.SUFFIX}"
    left.write_bytes(b"x" * 900)
    os.utime(left, (0, 0))
    disk = DiskCache(tmp_path, most=1000)
    disk.put("b", b"x" * 200)
    assert disk.get("b") is not None
    assert not left.exists()


def test_other_files_in_the_directory_are_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "thesis.txt"
    other.write_text("x" * 5000)
    DiskCache(tmp_path, most=10).put("a", b"x" * 100)
    assert other.exists()


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path: Path) -> None:
    contents = [bytes([number]) * 50_000 for number in range(8)]
    seen: list[bytes | None] = []

    def write_and_read(content: bytes) -> None:
        disk = DiskCache(tmp_path)
        for _ in range(5):
            disk.put("a", content)
            seen.append(disk.get("a"))

    threads = [threading.Thread(target=write_and_read, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 40
    assert set(seen) <= set(contents)
    assert DiskCache(tmp_path).get("a") in contents
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_directory_that_cannot_be_made_keeps_nothing_and_says_nothing(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    disk = DiskCache(tmp_path / place)
    disk.put("a", b"content")
    assert disk.get("a") is None


def test_a_full_disk_keeps_nothing_and_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "write", full)
    disk = DiskCache(tmp_path)
    disk.put("a", b"content")
    assert disk.get("a") is None


def test_without_a_directory_nothing_is_kept() -> None:
    disk = DiskCache(None)
    disk.put("a", b"content")
    assert disk.get("a") is None


def test_keys_tell_apart_where_one_part_ends() -> None:
    parts = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("", "abc"), ()]
    assert len({key_of(*each) for each in parts}) == len(parts)
    assert key_of("ab", "c") == key_of("ab", "c")
    assert key_of("\udcff") != key_of("?")


# ---- which directory -----------------------------------------------------------------------------------


def test_the_directory_is_in_the_user_s_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(cache.VARIABLE, raising=False)
    for name in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    found = directory_of_machine_code()
    assert found is not None
    assert found.parts[-2:] == ("tinygrad_mnist", "compiled")
    assert tmp_path in found.parents


@pytest.mark.parametrize(("value", "expected"), [("0", None), ("here", Path("here"))])
def test_the_environment_names_another_directory_or_none(
    value: str, expected: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cache.VARIABLE, value)
    assert directory_of_machine_code() == expected


def test_a_user_without_a_home_has_no_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in (cache.VARIABLE, "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert directory_of_machine_code() is None


# ---- in memory -----------------------------------------------------------------------------------------


def test_the_least_recently_used_value_goes() -> None:
    kept: LeastRecentlyUsed[str, int] = LeastRecentlyUsed(3)
    for number, key in enumerate("abc"):
        kept[key] = number
    assert kept.get("a") == 0
    kept["b"] = 10
    kept["d"] = 3
    assert kept.get("c") is None
    assert list(kept) == ["a", "b", "d"]
    assert kept.values() == [0, 10, 3]
    assert "a" in kept
    assert "c" not in kept


def test_clear_forgets_all() -> None:
    kept: LeastRecentlyUsed[str, int] = LeastRecentlyUsed(3)
    kept["a"] = 1
    kept.clear()
    assert len(kept) == 0
    assert kept.get("a") is None


def test_a_cache_without_room_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 1 value, not 0"):
        LeastRecentlyUsed(0)


def test_a_value_may_use_the_cache_while_it_is_dropped() -> None:
    class Last:
        def __del__(self) -> None:
            sizes.append(len(list(kept)))

    sizes: list[int] = []
    kept: LeastRecentlyUsed[str, object] = LeastRecentlyUsed(1)
    kept["a"] = Last()
    kept["b"] = Last()  # drops the first
    kept["b"] = None  # drops the second
    kept["c"] = Last()
    kept.clear()
    assert sizes == [1, 1, 0]


def test_threads_share_a_cache() -> None:
    kept: LeastRecentlyUsed[int, int] = LeastRecentlyUsed(5)
    wrong: list[tuple[int, int | None]] = []

    def use(start: int) -> None:
        for number in range(start, start + 2000):
            kept[number % 11] = number % 11
            if (found := kept.get(number % 7)) not in (number % 7, None):
                wrong.append((number, found))

    threads = [threading.Thread(target=use, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(kept) == 5
