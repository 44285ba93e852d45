import contextlib
import gzip
import hashlib
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist.data import DataUnavailableError, cache_directory, datasets, download, load_mnist
from tinygrad_mnist.data.download import RemoteFile, download_files

CONTENT = np.random.default_rng(0).bytes(100_000)
FILE = RemoteFile("numbers", size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
ZIPPED = gzip.compress(CONTENT)


class Mirrors:
    """A server on this machine; the first part of a path says how it behaves, the rest is the file."""

    def __init__(self) -> None:
        self.files = {"numbers": CONTENT}
        self.asked: Counter[str] = Counter()
        mirrors = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _, behaviour, name = self.path.split("/")
                mirrors.asked[behaviour] += 1
                zipped = gzip.compress(mirrors.files[name.removesuffix(".gz")])
                with contextlib.suppress(ConnectionError):
                    getattr(mirrors, behaviour)(self, zipped)

            def log_message(self, format: str, *args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def at(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{behaviour}/"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @staticmethod
    def send(
        handler: BaseHTTPRequestHandler,
        status: int,
        content: bytes,
        length: int | None = None,
        encoding: str = "identity",
    ) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content) if length is None else length))
        handler.send_header("Content-Encoding", encoding)
        handler.end_headers()
        handler.wfile.write(content)

    def good(self, handler: BaseHTTPRequestHandler, zipped: bytes) -> None:
        self.send(handler, 200, zipped)

    def unzipped(self, handler: BaseHTTPRequestHandler, zipped: bytes) -> None:
        self.send(handler, 200, gzip.decompress(zipped))

    def encoded(self, handler: BaseHTTPRequestHandler, zipped: bytes) -> None:
        self.send(handler, 200, zipped, encoding="gzip")

    def missing(self, handler: BaseHTTPRequestHandler, zipped: bytes) -> None:
        self.send(handler, 404, b"nothing here")

    def busy(self, handler: BaseHTTPRequestHandler, zipped: bytes) -> None:
        self.send(handler, 503, b"later")

    def busy_at_first(self, handler: BaseHTTPRequestHandler, zipped: bytes) -> None:
        (self.busy if self.asked["busy_at_first"] == 1 else self.good)(handler, zipped)

    def other(self, handler: BaseHTTPRequestHandler, zipped: bytes) -> None:
        self.send(handler, 200, gzip.compress(b"some other file"))

    def portal(self, handler: BaseHTTPRequestHandler, zipped: bytes) -> None:
        self.send(handler, 200, b"<html>Please log in to this network.</html>")

    def damaged(self, handler: BaseHTTPRequestHandler, zipped: bytes) -> None:
        self.send(handler, 200, zipped[:10] + b"\xff" * 20 + zipped[30:])

    def cut(self, handler: BaseHTTPRequestHandler, zipped: bytes) -> None:
        self.send(handler, 200, zipped[:-50])

    def broken(self, handler: BaseHTTPRequestHandler, zipped: bytes) -> None:
        self.send(handler, 200, zipped[: len(zipped) // 2], length=len(zipped))

    def stalled(self, handler: BaseHTTPRequestHandler, zipped: bytes) -> None:
        self.send(handler, 200, bytes(20_000), length=30_000)
        time.sleep(download.PATIENCE + 1)

    def dripping(self, handler: BaseHTTPRequestHandler, zipped: bytes) -> None:
        """A header that never ends, and never pauses for long."""
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        for _ in range(100):
            time.sleep(0.05)
            handler.wfile.write(b"x")

    def endless(self, handler: BaseHTTPRequestHandler, zipped: bytes) -> None:
        self.send(handler, 200, bytes(4_000_000))


@pytest.fixture
def mirrors(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirrors]:
    pytest.importorskip("pooch", reason="pooch is not installed")
    monkeypatch.setattr(download, "PAUSE", 0.0)
    mirrors = Mirrors()
    yield mirrors
    mirrors.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PATIENCE", 0.3)


@pytest.fixture
def silent_address() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


def error_of(directory: Path, *addresses: str) -> str:
    with pytest.raises(DataUnavailableError, match="numbers could not be downloaded") as raised:
        download_files([FILE], directory, addresses, progress=False)
    assert not directory.exists() or os.listdir(directory) == []
    return str(raised.value)


@pytest.mark.parametrize("behaviour", ["good", "unzipped", "encoded"])
def test_a_file_arrives_uncompressed_and_alone(behaviour: str, mirrors: Mirrors, tmp_path: Path) -> None:
    directory = tmp_path / "new" / "directory"
    download_files([FILE], directory, [mirrors.at(behaviour)], progress=False)
    assert os.listdir(directory) == ["numbers"]
    assert (directory / "numbers").read_bytes() == CONTENT


def test_a_file_that_is_there_is_replaced(mirrors: Mirrors, tmp_path: Path) -> None:
    (tmp_path / "numbers").write_bytes(b"old")
    download_files([FILE], tmp_path, [mirrors.at("good")], progress=False)
    assert (tmp_path / "numbers").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("behaviour", "times"),
    [
        ("missing", 1),
        ("endless", 1),
        ("busy", 3),
        ("other", 3),
        ("portal", 3),
        ("damaged", 3),
        ("cut", 3),
        ("broken", 3),
    ],
)
def test_a_mirror_that_fails_is_asked_again_only_if_that_may_help_and_then_the_other_one_is(
    behaviour: str, times: int, mirrors: Mirrors, tmp_path: Path
) -> None:
    error_of(tmp_path / "empty", mirrors.at(behaviour))
    assert mirrors.asked[behaviour] == times
    download_files([FILE], tmp_path, [mirrors.at(behaviour), mirrors.at("good")], progress=False)
    assert (tmp_path / "numbers").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("behaviour", "fault"),
    [
        ("missing", "HTTP status 404"),
        ("busy", "HTTP status 503"),
        ("endless", "it sends more than"),
        ("other", "SHA-256 checksum"),
        ("portal", "SHA-256 checksum"),
        ("damaged", "damaged gzip file"),
        ("cut", "SHA-256 checksum"),
        ("broken", "the connection broke"),
    ],
)
def test_the_error_names_mirror_and_fault(
    behaviour: str, fault: str, mirrors: Mirrors, tmp_path: Path
) -> None:
    message = error_of(tmp_path, mirrors.at(behaviour))
    assert f"127.0.0.1:{mirrors.server.server_port}: " in message
    assert fault in message


def test_a_mirror_that_was_busy_is_asked_again(mirrors: Mirrors, tmp_path: Path) -> None:
    download_files([FILE], tmp_path, [mirrors.at("busy_at_first")], progress=False)
    assert (tmp_path / "numbers").read_bytes() == CONTENT


def test_a_silent_mirror_is_given_up(
    mirrors: Mirrors, hasty: None, silent_address: str, tmp_path: Path
) -> None:
    download_files([FILE], tmp_path, [silent_address, mirrors.at("good")], progress=False)
    assert (tmp_path / "numbers").read_bytes() == CONTENT


@pytest.mark.parametrize("behaviour", ["dripping", "stalled"])
def test_a_mirror_that_sends_next_to_nothing_is_given_up(
    behaviour: str, mirrors: Mirrors, hasty: None, tmp_path: Path
) -> None:
    message = error_of(tmp_path, mirrors.at(behaviour))
    assert "no answer for 0.3 seconds" in message
    assert mirrors.asked[behaviour] == 1


def test_a_name_service_that_hangs_is_given_up(
    cache: Path, monkeypatch: pytest.MonkeyPatch, hasty: None, tmp_path: Path
) -> None:
    pytest.importorskip("pooch", reason="pooch is not installed")
    over = threading.Event()

    def hang(*_: Any, **__: Any) -> None:
        over.wait(10)
        raise socket.gaierror("too late")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        assert "no answer" in error_of(tmp_path, "http://mirror.example/")
    finally:
        over.set()


def test_a_name_that_is_not_found_is_not_looked_up_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("requests", reason="pooch is not installed")

    def fail(*_: Any, **__: Any) -> None:
        raise socket.gaierror("no such name")

    def pause(_: float) -> None:
        pytest.fail("there is nothing to wait for")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=pause, monotonic=time.monotonic))
    message = error_of(tmp_path, "http://one.example/", "http://other.example/")
    assert "one.example: it cannot be reached; other.example: it cannot be reached" in message


def test_a_mirror_that_was_given_up_is_not_asked_for_the_next_file(mirrors: Mirrors, tmp_path: Path) -> None:
    mirrors.files = {name: name.encode() for name in ("one", "two", "three")}
    files = [
        RemoteFile(name, len(content), hashlib.sha256(content).hexdigest())
        for name, content in mirrors.files.items()
    ]
    download_files(files, tmp_path, [mirrors.at("missing"), mirrors.at("good")], progress=False)
    assert mirrors.asked == {"missing": 1, "good": 3}
    assert {name: (tmp_path / name).read_bytes() for name in mirrors.files} == mirrors.files


def test_without_pooch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DataUnavailableError, match=r'pip install "tinygrad_mnist\[download\]"'):
        download_files([FILE], tmp_path, ["http://127.0.0.1:1/"])


def test_a_directory_that_cannot_be_written_is_named(mirrors: Mirrors, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataUnavailableError, match=r"numbers cannot be written"):
        download_files([FILE], tmp_path / "file", [mirrors.at("good")], progress=False)


def test_an_interrupted_write_leaves_nothing(
    mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        download_files([FILE], tmp_path, [mirrors.at("good")], progress=False)
    assert os.listdir(tmp_path) == []


class Bar:
    """A stand-in for tqdm's bar."""

    def __init__(self) -> None:
        self.n = 0
        self.total: int | None = None
        self.closed = False

    def update(self, count: int) -> None:
        self.n += count

    def close(self) -> None:
        self.closed = True


def test_the_progress_bar_ends_full(
    mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bar = Bar()
    monkeypatch.setitem(sys.modules, "tqdm", SimpleNamespace(tqdm=lambda **options: bar))
    download_files([FILE], tmp_path, [mirrors.at("good")])
    assert bar.n == bar.total == len(ZIPPED)
    assert bar.closed


def test_the_progress_bar_is_left_out_without_tqdm(
    mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    download_files([FILE], tmp_path, [mirrors.at("good")])
    assert (tmp_path / "numbers").read_bytes() == CONTENT


def test_nothing_is_drawn_where_there_is_no_terminal(
    mirrors: Mirrors, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    download_files([FILE], tmp_path, [mirrors.at("good")])
    assert capfd.readouterr() == ("", "")


def test_mnist_is_downloaded_once_and_then_read_from_the_cache(
    mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch, cache: Path, small_mnist: dict[str, bytes]
) -> None:
    mirrors.files = small_mnist
    files = tuple(
        RemoteFile(name, len(content), hashlib.sha256(content).hexdigest())
        for name, content in small_mnist.items()
    )
    monkeypatch.setattr(datasets, "FILES", files)
    monkeypatch.setattr(datasets, "MIRRORS", (mirrors.at("good"),))
    assert len(load_mnist(progress=False).train_images) == 30
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == small_mnist
    mirrors.asked.clear()
    assert len(load_mnist(progress=False).train_images) == 30
    assert not mirrors.asked


def test_the_mirrors_files_are_mnist_s(mnist_dir: Path) -> None:
    for file in download.FILES:
        plain, zipped = mnist_dir / file.name, mnist_dir / f"{file.name}.gz"
        content = plain.read_bytes() if plain.exists() else gzip.decompress(zipped.read_bytes())
        assert len(content) == file.size
        assert hashlib.sha256(content).hexdigest() == file.sha256


# ---- the cache -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "{variable}/tinygrad_mnist"),
        ("linux", None, "{home}/.cache/tinygrad_mnist"),
        ("darwin", "XDG_CACHE_HOME", "{home}/Library/Caches/tinygrad_mnist"),
        ("win32", "LOCALAPPDATA", "{variable}/tinygrad_mnist"),
        ("win32", None, "{home}/AppData/Local/tinygrad_mnist"),
    ],
)
def test_the_cache_is_where_the_system_has_caches(
    platform: str, variable: str | None, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "variable"))
    assert cache_directory() == Path(expected.format(home=tmp_path / "home", variable=tmp_path / "variable"))


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="XDG's rule is for other systems")
def test_a_relative_cache_in_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_directory() == Path.home() / ".cache" / "tinygrad_mnist"


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(DataUnavailableError, match="no home directory"):
        cache_directory()
