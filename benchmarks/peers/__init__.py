"""The peers: each an optional install, and a training step of theirs from given weights, a file a peer.

`make bench` installs those of requirements/bench.txt. PyTorch is not among them: a lock file for all systems
would bring its gigabytes for graphics cards.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from benchmarks.harness import SkippedError

INSTALL = {
    "PyTorch": "pip install torch==2.13.0 (on Linux its CPU build, from the index that pytorch.org names)",
    "JAX": "make bench",
    "MyGrad": "make bench",
    "autograd": "make bench",
    "scikit-learn": "make bench",
}
PACKAGES = ("llvmlite", "torch", "jax", "jaxlib", "optax", "mygrad", "autograd", "scikit-learn")

_said: set[str] = set()


def take_part(peer: str, enter: Callable[[], None]) -> None:
    """Let a peer enter, or say once why it does not, and how to install it if that is the reason."""
    try:
        enter()
    except ModuleNotFoundError:
        say_once(f"{peer} is not installed and does not take part; to install it: {INSTALL[peer]}")
    except SkippedError as error:
        say_once(f"{peer} does not take part: {error}")


def say_once(sentence: str) -> None:
    """Print a sentence, unless it was printed before."""
    if sentence not in _said:
        print(sentence)
        _said.add(sentence)


def versions() -> dict[str, str]:
    """Return the versions of the peers that are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
