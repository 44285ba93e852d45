"""Each subject measures what it says: the same work by all, or no time."""

import importlib
import inspect
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import (
    SUBJECTS,
    compiling,
    first_calls,
    importing,
    memory,
    networks,
    operations,
    parts,
    peers,
    recipe,
    training_step,
)
from benchmarks.hand_written import HandWrittenStep
from benchmarks.harness import CORES, DisagreementError, SkippedError
from benchmarks.networks import DEFAULT, JIT, LARGE, OURS, SMALL, TINY, Network, require_equal
from benchmarks.threads import Worker
from tinygrad_mnist.compiler import machine


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_subject_is_a_file_with_a_run_of_some_rounds(name: str) -> None:
    run = importlib.import_module(f"benchmarks.{name}").run
    assert inspect.signature(run).parameters["rounds"].default > 1


@pytest.mark.parametrize(
    "network", [SMALL, replace(LARGE, sizes=(784, 64, 64, 10)), replace(DEFAULT, sizes=(784, 32, 10)), TINY]
)
def test_the_hand_written_step_is_ours(network: Network) -> None:
    state, ours = networks.our_step(network)
    rivals = {OURS: ours, "by hand": HandWrittenStep(network, state)}
    networks.check_agreement(rivals, networks.batches(network))


@pytest.mark.skipif(not machine.available(), reason=str(machine.why_unavailable()))
@pytest.mark.parametrize("network", [TINY, replace(DEFAULT, sizes=(8, 7, 4))])
def test_the_compiled_step_is_ours(network: Network) -> None:
    _, ours = networks.our_step(network)
    rivals = {OURS: ours, JIT: networks.our_jit_step(network)}
    networks.check_agreement(rivals, networks.batches(network))


def test_without_a_compiler_of_ours_the_others_race_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "why_unavailable", lambda: "there is no llvmlite")
    monkeypatch.setattr(peers, "_said", set())
    assert {OURS, training_step.BY_HAND} <= training_step.rivals_on(TINY).keys()
    assert JIT not in training_step.rivals_on(TINY)
    assert capsys.readouterr().out.count("jit does not take part: there is no llvmlite\n") == 1


def test_what_compiling_takes_is_more_than_the_same_calls_without(tmp_path: Path) -> None:
    assert compiling.less([1.5, 2.0], [0.5, 0.25]) == [1.0, 1.75]
    assert compiling.cold(first_calls.EAGER, str(tmp_path)) > 0
    with pytest.raises(SkippedError, match=r"(?s)the first calls of nobody failed: .*KeyError"):
        compiling.cold("nobody", str(tmp_path))


def test_a_step_without_the_penalty_is_found_out() -> None:
    state, ours = networks.our_step(SMALL)
    rivals = {OURS: ours, "by hand": HandWrittenStep(replace(SMALL, weight_decay=0.0), state)}
    with pytest.raises(DisagreementError, match="the loss of by hand in step"):
        networks.check_agreement(rivals, networks.batches(SMALL))


def test_losses_agree_relative_to_those_above_one() -> None:
    require_equal("a rival", [0.50005, 20.001], [0.5, 20.0], 1e-4)
    with pytest.raises(DisagreementError, match=r"in step 2 is 0\.500200, and ours 0\.500000"):
        require_equal("a rival", [0.5, 0.5002], [0.5, 0.5], 1e-4)
    with pytest.raises(DisagreementError, match="in step 1 is nan"):
        require_equal("a rival", [float("nan")], [0.5], 1e-4)


def test_the_arrays_of_a_state_come_layer_by_layer() -> None:
    state, _ = networks.our_step(SMALL)
    shapes = [array.shape for array in networks.trained(state)]
    assert shapes[:5] == [(784, 64), (64,), (64,), (64,), (64, 32)]
    assert shapes[-2:] == [(16, 10), (10,)]


def test_the_matrix_products_are_those_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward, by the weights, and by the inputs of all layers but the first."""
    multiply, seen, dot = networks.matrix_products(Network((7, 5, 3), 4)), [], np.dot

    def noted(a: Any, b: Any, out: Any = None) -> Any:
        seen.append((*a.shape, b.shape[1]))
        return dot(a, b, out=out)

    monkeypatch.setattr(np, "dot", noted)
    multiply()
    assert seen == [(4, 7, 5), (4, 5, 3), (5, 4, 3), (4, 3, 5), (7, 4, 5)]


def test_the_parts_of_a_step_are_from_one_end_to_the_next() -> None:
    assert list(parts.spans([10.0, 11.0, 13.0, 13.5])) == [3.5, 1.0, 2.0, 0.5]
    batch = networks.batches(SMALL, 1)[0]
    for split in (parts.ours(SMALL, batch), parts.by_hand(SMALL, batch)):
        at = split()
        assert at == sorted(at)
        assert len(at) == 1 + len(parts.PARTS)


def test_the_gradients_of_a_chain_are_checked() -> None:
    operations.check(operations.ours(), 50)

    class Forgetful:
        grad = property(lambda self: np.zeros(1), lambda self, value: None)

        def __mul__(self, other: object) -> "Forgetful":
            return self

        def backward(self) -> None:
            pass

    with pytest.raises(DisagreementError, match="are 1 and 50"):
        operations.check((Forgetful(), Forgetful()), 50)


def test_without_mnist_a_sentence_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TINYGRAD_MNIST_DATA", raising=False)
    with pytest.raises(SkippedError, match="set TINYGRAD_MNIST_DATA to the directory"):
        recipe.mnist()


def test_mnist_that_is_not_where_it_should_be_leaves_a_subject_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYGRAD_MNIST_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(SkippedError, match=r"nowhere .* does not exist"):
        recipe.mnist()


def test_a_peer_that_is_not_installed_is_named_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(peers.INSTALL, "a peer of this test", "make bench")

    def enter() -> None:
        raise ModuleNotFoundError

    peers.take_part("a peer of this test", enter)
    peers.take_part("a peer of this test", enter)
    said = "a peer of this test is not installed and does not take part; to install it: make bench\n"
    assert capsys.readouterr().out == said


def test_an_import_is_not_timed_with_its_compilation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert importing.seconds("import tinygrad_mnist", str(tmp_path)) > 0
    assert list(tmp_path.rglob("tinygrad_mnist/__init__*.pyc"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not say")
def test_the_memory_of_a_command_is_not_that_of_who_started_it() -> None:
    held = np.ones(50_000_000)  # 400 MB, which a child would count as its own
    found = memory.peak([sys.executable, "-S", "-c", "x = bytearray(30_000_000)"])
    assert 30e6 < found < 0.25 * held.nbytes


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not say")
def test_a_command_that_fails_has_no_memory() -> None:
    with pytest.raises(SkippedError, match="ended with 3"):
        memory.peak([sys.executable, "-S", "-c", "raise SystemExit(3)"])


@pytest.mark.skipif(not CORES, reason="the system does not say which cores there are")
def test_a_worker_computes_with_the_threads_that_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("threadpoolctl", reason="only threadpoolctl can tell")
    monkeypatch.setitem(os.environ, "OPENBLAS_NUM_THREADS", "2")
    with Worker(1, TINY, CORES) as worker:
        assert worker.threads == "1"
        assert worker.measure() > 0
