"""A recording changes nothing, holds on to nothing, and is the same in each run."""

import gc
import json
import os
import subprocess
import sys
from typing import Any
from weakref import ref

import numpy as np
import pytest

from tests.graph.test_record import X, ids, model_of, recorded, step
from tinygrad_mnist import Tensor, detect_anomaly, graph, optim


class TestNothingElseChanges:
    def test_a_recorded_step_gives_the_same_bits(self) -> None:
        plain, watched = model_of(), model_of()
        step(plain).backward()
        recorded(watched)
        for (name, a), (_, b) in zip(plain.named_parameters(), watched.named_parameters(), strict=True):
            assert a.grad is not None
            assert b.grad is not None
            assert np.array_equal(a.grad.data, b.grad.data), name
        assert all(np.array_equal(a, b) for a, b in zip(plain.buffers(), watched.buffers(), strict=True))

    def test_the_graph_of_a_module_leaves_it_as_it_was(self) -> None:
        model = model_of()
        before = json.dumps({name: array.tolist() for name, array in model.state_dict().items()})
        first, second = model.graph(X), model.graph(X)
        assert json.dumps({name: array.tolist() for name, array in model.state_dict().items()}) == before
        assert first.json() == second.json()  # the dropout's random numbers too

    def test_another_process_gives_the_same_text(self) -> None:
        program = (
            "from hashlib import sha256; from tests.graph.test_record import *\n"
            "from importlib.util import find_spec; from tests.graph.storyboard.computations import neuron\n"
            "found = recorded(model_of())\n"
            "other = graph.diff(found, model_of().eval().graph(X))\n"
            "texts = [found.json(), found.dot('backward'), found.text(width=99), found.html()]\n"
            "board = graph.storyboard(*neuron())\n"
            "texts += [other.dot(), other.text(), board.text()]\n"
            "texts += [board.html()] if find_spec('pygraphviz') else []\n"
            "print(sha256(''.join(texts).encode()).hexdigest())"
        )
        told = {
            subprocess.run(
                [sys.executable, "-c", program],
                env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
                check=True,
                capture_output=True,
            ).stdout
            for seed in ("1", "2")
        }
        assert len(told) == 1

    def test_it_is_off_again_after_an_exception(self) -> None:
        x = Tensor(np.ones(2), requires_grad=True)
        tape = graph.Recording()

        def fail() -> None:
            with graph.record() as now:
                vars(tape).update(vars(now))
                np.exp(x)
                np.exp(x) + np.ones(3)

        with pytest.raises(ValueError, match="broadcast"):
            fail()
        np.sin(x)
        assert ids(tape.graph()) == ["exp#1", "exp#2"]

    def test_an_exception_in_a_module_leaves_it(self) -> None:
        model = model_of()
        with graph.record() as tape:
            with pytest.raises(ValueError, match="does not fit weight"):
                model(X[:, :5])
            model(X)
        assert ids(tape.graph())[0] == "model@2/0/linear#1"

    def test_an_anomaly_detector_inside_takes_nothing_away(self) -> None:
        x = Tensor(1.0, requires_grad=True)
        with graph.record() as tape:
            np.exp(x)
            with detect_anomaly():
                np.sin(x)
        assert ids(tape.graph()) == ["exp#1", "sin#1"]

    def test_an_optimisers_step_is_not_part_of_it(self) -> None:
        model = model_of()
        with graph.record() as tape:
            step(model).backward()
            optim.SGD(list(model.parameters()), lr=0.1).step()
        assert len(tape.graph().operations) == 6


class TestMemory:
    def test_inputs_and_results_die_while_it_goes_on(self) -> None:
        with graph.record(names={"first": X}) as tape:
            for _ in range(3):
                x = np.ones(3)
                y = Tensor(x) * 2
                held = [ref(x), ref(y.data)]
                del x, y
                assert [one() for one in held] == [None, None]
        assert len(tape.graph().edges) == 3

    def test_gradients_of_results_die_in_the_walk(self) -> None:
        seen: list[Any] = []
        x = Tensor(np.ones(3), requires_grad=True)
        with graph.record() as tape:
            y = x
            for _ in range(4):
                y = y * 2.0
                y.register_hook(lambda g: seen.append(sum(one() is not None for one in alive)))
                y.register_hook(lambda g: alive.append(ref(g.data.base)))
            alive: list[Any] = []
            np.sum(y).backward()
        assert max(seen) <= 2  # the one that came in, and the one that goes out
        assert len(tape.graph().operations) == 5

    def test_afterwards_it_keeps_no_model_and_no_gradient(self) -> None:
        model = model_of()
        with graph.record(model) as tape:
            step(model).backward()
        weight = model[0].weight
        held = [ref(model), ref(model[1]), ref(weight.data), ref(weight.grad.data)]
        del model, weight
        gc.collect()
        assert [one() for one in held] == [None] * 4
        assert tape.graph().by_id["model/0/weight"].value.gradient is not None
