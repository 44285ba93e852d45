"""Errors, interruptions, caches, threads, limits, and what people ask to see: cases 21 and 37 to 49."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from tests.compiler.helpers import (
    CLASSES,
    FEATURES,
    F,
    World,
    assert_close,
    batches,
    equal_to_eager,
    identity,
    network,
    plain_network,
    quick,
    state_of,
    trainer,
)
from tinygrad_mnist import AnomalyError, JitError, Tensor, detect_anomaly, grad, jit, nn, no_grad, optim

ROOT = Path(__file__).parents[2]


def everything(world: World) -> Any:
    return {name: state_of(part) for name, part in world.parts().items()}


# ---- case 21: labels that do not exist -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "first"),
    quick(
        [(label, first) for label in (-1, CLASSES, 200, -101) for first in (True, False)],
        (-1, False), (CLASSES, False), (CLASSES, True),
    ),
)  # fmt: skip
def test_case_21_a_label_out_of_range_is_eagers_error_before_any_write(label: int, first: bool) -> None:
    calls = [(x, y.astype(np.int64)) for x, y in batches(5)]
    bad = 0 if first else 2
    calls[bad][1][3] = label

    def make(decorate: Any) -> World:  # without batch norm, whose statistics eager has moved by then
        return trainer(decorate, plain_network())

    jitted = equal_to_eager(make, calls, compilations=None)
    before = everything(jitted)
    with pytest.raises((ValueError, IndexError), match=str(label)):
        jitted.step(*calls[bad])
    after = everything(jitted)
    for one in (before, after):  # the gradients are gone, as zero_grad came first, or are those of before
        for parameter in one["model"]["parameters"].values():
            parameter.pop("grad")
    assert_close(before, after, "after the error", 0.0)


def test_case_21_ignored_labels_are_no_errors_and_soft_ones_neither() -> None:
    calls = [(x, y.astype(np.int64)) for x, y in batches(4)]
    for _, y in calls:
        y[1] = -100
    equal_to_eager(lambda decorate: trainer(decorate, plain_network()), calls)
    soft = [(x, np.full((len(x), CLASSES), 1 / CLASSES, np.float32)) for x, _ in batches(4)]
    equal_to_eager(lambda decorate: trainer(decorate, plain_network()), soft)


def test_case_21_an_index_of_an_embedding_that_does_not_exist() -> None:
    def make(decorate: Any) -> World:
        model = nn.Embedding(6, 3, rng=0)
        return trainer(decorate, model, lambda p: optim.SGD(p, lr=0.1), lambda out, y: (out * y).sum())

    y = np.ones((2, 3), np.float32)
    indices = [[0, 5], [1, 1], [6, 0], [2, -1], [3, 3], [0, -7]]
    equal_to_eager(make, [(np.array(i), y) for i in indices], compilations=None)


def test_case_21_an_integer_index_out_of_range_in_numpys_indexing() -> None:
    def make(decorate: Any) -> World:
        table = Tensor(np.arange(12.0).reshape(4, 3))  # NumPy asks an array's index for its values
        return World(decorate(lambda i: np.take(table, i, axis=0)), holders={"table": table})

    calls = [lambda i=i: (Tensor(np.array(i)),) for i in ([0, 1], [3, -1], [4, 0], [2, 2], [0, -5])]
    equal_to_eager(make, calls, compilations=None)


def test_case_21_shapes_that_do_not_fit_are_eagers_errors() -> None:
    def make(decorate: Any) -> World:
        return trainer(decorate, plain_network())

    calls: list[Any] = batches(5)
    calls[1] = (np.ones((6, FEATURES + 1), np.float32), calls[1][1])
    calls[3] = (calls[3][0], calls[3][1][:-1])
    # Eager has removed the gradients when it finds the error; a program has changed nothing.
    equal_to_eager(make, calls, between=lambda world, i: world.model.zero_grad(), compilations=None)


# ---- case 37: half-done state ----------------------------------------------------------------------------


def test_case_37_an_error_of_numpy_in_the_middle_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(3, 3, rng=0))
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    seen = np.zeros(1)

    @jit
    def step(x: Any, m: Any) -> Any:
        optimizer.zero_grad()
        loss = (model(x) @ np.linalg.inv(m) ** 2).sum()
        loss.backward()
        optimizer.step()
        return loss

    rng = np.random.default_rng(0)
    x, m = rng.standard_normal((4, 3)).astype(np.float32), np.eye(3, dtype=np.float32) * 2
    for _ in range(3):
        step(x, m)
    before = [p.data.copy() for p in model.parameters()], optimizer.state_dict(), seen.copy()
    with pytest.raises(np.linalg.LinAlgError):
        step(x, np.zeros((3, 3), np.float32))
    after = [p.data.copy() for p in model.parameters()], optimizer.state_dict(), seen
    assert_close(before, after, "after the error", 0.0)
    step(x, m)
    assert len(step.compilations) == 1
    assert optimizer.state_dict()["state"][0]["step"] == 4


class Interrupting:
    """Raise SIGINT when the n-th line of the package is run; count the lines."""

    def __init__(self, at: int | None) -> None:
        self.at, self.lines = at, 0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "call" and "tinygrad_mnist" not in frame.f_code.co_filename:
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self.at:
                signal.raise_signal(signal.SIGINT)
        return self

    def run(self, f: Any, *arguments: Any) -> bool:
        """Return whether the function was interrupted."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            f(*arguments)
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False


def interruptible(decorate: Any) -> World:
    return trainer(decorate, network(dropout=0.3))


@pytest.fixture
def pythons_interrupt() -> Any:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("pythons_interrupt")
@pytest.mark.parametrize("every", quick([1, 4], 4))
def test_case_37_ctrl_c_in_any_line_of_a_replay_does_all_or_nothing(every: int) -> None:
    x, y = batches(1)[0]

    def fresh() -> World:
        world.model.load_state_dict(start[0])
        world.optimizer.load_state_dict(start[1])
        world.model[3].rng.bit_generator.state = start[2]
        world.model.zero_grad()
        return world

    def parts() -> Any:
        parameters = {name: p.data.copy() for name, p in world.model.named_parameters()}
        state = world.optimizer.state_dict()["state"]
        return parameters, {name: b.copy() for name, b in world.model.named_buffers()}, state

    world = interruptible(jit)
    for _ in range(3):
        world.step(x, y)
    rng = world.model[3].rng
    start = world.model.state_dict(), world.optimizer.state_dict(), copy.deepcopy(rng.bit_generator.state)
    fresh().step(x, y)
    fresh()
    before, drawn = parts(), str(rng.bit_generator.state)
    counter = Interrupting(None)
    counter.run(world.step, x, y)
    after, drawn_after = parts(), str(rng.bit_generator.state)
    assert world.programs == 1
    interrupted = 0
    for at in range(1, counter.lines + 1, every):
        fresh()
        interrupted += Interrupting(at).run(world.step, x, y)
        now = parts()
        is_done = not np.array_equal(now[0]["0.weight"], before[0]["0.weight"])
        assert_close(after if is_done else before, now, f"interrupted at line {at} of {counter.lines}", 1e-6)
        assert str(rng.bit_generator.state) == (drawn_after if is_done else drawn), f"generator, line {at}"
    assert interrupted
    fresh().step(x, y)
    assert_close(after, parts(), "a step after all of them", 1e-6)


@pytest.mark.usefixtures("pythons_interrupt")
@pytest.mark.parametrize("share", quick([0.1, 0.3, 0.5, 0.8], 0.5))
def test_case_37_ctrl_c_while_it_is_traced_leaves_a_model_that_trains(share: float) -> None:
    x, y = batches(1)[0]
    counter = Interrupting(None)
    counter.run(interruptible(jit).step, x, y)
    world, eager = interruptible(jit), interruptible(identity)
    assert Interrupting(int(share * counter.lines)).run(world.step, x, y)
    for part in [*world.model.parameters(), *world.model.buffers()]:
        assert type(getattr(part, "data", part)) in (np.ndarray, memoryview)
    world.model.load_state_dict(eager.model.state_dict())
    world.optimizer.load_state_dict(eager.optimizer.state_dict())
    world.model[3].rng.bit_generator.state = eager.model[3].rng.bit_generator.state
    for _ in range(3):
        assert_close(eager.step(x, y), world.step(x, y), "a step after it")
    assert_close(everything(eager), everything(world), "after it")


def test_case_37_an_error_of_the_user_while_it_is_traced_leaves_all_as_it_was() -> None:
    model = network(dropout=0.5)
    optimizer = optim.Adam(model.parameters())
    fail = [True]

    @jit
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        if fail[0]:
            raise ZeroDivisionError("the user's own")
        return loss

    x, y = batches(1)[0]
    with pytest.raises(ZeroDivisionError, match="the user's own"):
        step(x, y)
    fail[0] = False
    other = trainer(identity, network(dropout=0.5), lambda p: optim.Adam(p))
    other.model.load_state_dict(model.state_dict())
    other.optimizer.load_state_dict(optimizer.state_dict())
    other.model[3].rng.bit_generator.state = model[3].rng.bit_generator.state
    for _ in range(3):
        assert_close(other.step(x, y), step(x, y), "a step after the error")


# ---- case 38: a smaller last batch -----------------------------------------------------------------------


def test_case_38_a_smaller_last_batch_is_a_second_program() -> None:
    calls = batches(rows=[8, 8, 5, 8, 8, 5, 8], count=7)
    jitted = equal_to_eager(lambda decorate: trainer(decorate, network(dropout=0.2)), calls, compilations=2)
    assert "(8, 5)" in jitted.step.compilations[1].reason
    assert "(5, 5)" in jitted.step.compilations[1].reason


def test_case_38_a_batch_of_one_is_eagers_error_in_batch_norm_and_no_error_without() -> None:
    calls = batches(rows=[4, 4, 1, 4, 1, 4], count=6)
    equal_to_eager(trainer, calls, between=lambda world, i: world.model.zero_grad(), compilations=None)
    equal_to_eager(lambda decorate: trainer(decorate, plain_network()), calls, compilations=2)


# ---- cases 42 to 44: caches, threads, processes, copies --------------------------------------------------

SCRIPT = """
import hashlib, os, sys, warnings
import numpy as np
from tinygrad_mnist import jit, nn, optim
F = nn.functional
model = nn.Sequential(nn.Linear(5, 7, rng=1), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 4, rng=3))
optimizer = optim.Adam(model.parameters(), lr=0.01)

@jit
def step(x, y):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss

rng = np.random.default_rng(0)
digest = hashlib.sha256()
for _ in range(4):
    loss = step(rng.standard_normal((6, 5)).astype(np.float32), rng.integers(0, 4, 6))
    digest.update(loss.data.tobytes())
for p in model.parameters():
    digest.update(p.data.tobytes())
print(digest.hexdigest(), len(step.compilations))
"""


def run_script(script: str, folder: Path | str = "0", **environment: str) -> str:
    """Run Python in a new process, and return what it printed."""
    found = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "TINYGRAD_MNIST_CACHE": str(folder), **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.returncode == 0, found.stderr[-3000:]
    return found.stdout.strip() + found.stderr


def test_case_42_machine_code_on_disk_that_is_damaged_is_a_miss(tmp_path: Path) -> None:
    first = run_script(SCRIPT, tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files, "nothing was kept on disk"
    damages: list[Any] = [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: bytes([*content[:-40], *(255 - byte for byte in content[-40:])]),
    ]
    for i, path in enumerate(files):
        path.write_bytes(damages[i % len(damages)](path.read_bytes()))
    assert run_script(SCRIPT, tmp_path) == first


@pytest.mark.slow
def test_case_42_processes_that_write_at_the_same_time_and_a_place_that_cannot_be_written(
    tmp_path: Path,
) -> None:
    with ThreadPoolExecutor(3) as pool:
        found = set(pool.map(lambda _: run_script(SCRIPT, tmp_path / "shared"), range(3)))
    blocked = tmp_path / "a file"
    blocked.write_text("not a folder")
    assert found == {run_script(SCRIPT, blocked)}
    assert blocked.read_text() == "not a folder"


def test_case_43_many_threads_call_one_function() -> None:
    f = jit(lambda x, y: (np.tanh(x @ y), (x * y).sum()))
    rng = np.random.default_rng(0)
    pairs = [(rng.standard_normal((n, n)), rng.standard_normal((n, n))) for n in (3, 4) * 20]
    barrier = threading.Barrier(4)

    def work(k: int) -> list[Any]:
        barrier.wait()
        return [f(*pair) for pair in pairs[k::4] * 3]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(4)))
    for k, found in enumerate(results):
        for (x, y), (out, total) in zip(pairs[k::4] * 3, found, strict=True):
            np.testing.assert_allclose(np.asarray(out), np.tanh(x @ y), rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(np.asarray(total), (x * y).sum(), rtol=1e-11)
    assert len(f.compilations) == 2


def test_case_43_two_models_train_in_two_threads_and_one_mode_stays_in_its_thread() -> None:
    def train(seed: int, decorate: Any) -> Any:
        world = trainer(decorate, network(dropout=0.2))
        world.model[0].reset_parameters(seed)
        losses = []
        for i, (x, y) in enumerate(batches(12, seed=seed)):
            if i % 3 == 2:
                with no_grad():
                    losses.append(world.model(x))
            losses.append(world.step(x, y))
        return losses, everything(world)

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda seed: train(seed, jit), range(3)))
    for seed, one in enumerate(found):
        assert_close(train(seed, identity), one, f"thread {seed}", 1e-4)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("threads", quick([1, 2], 2))
def test_case_43_a_forked_child_goes_on(threads: int) -> None:
    script = f"""
import os, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from tinygrad_mnist import jit
f = jit(lambda x, y: (x @ y, np.exp(x) + y, (x * y).sum()), threads={threads})
x, y = np.ones((300, 300)), np.full((300, 300), 2.0)
g = jit(lambda x: x * 3, threads={threads})
for _ in range(3):
    f(x, y)
child = os.fork()
for _ in range(3):
    product, other, total = f(x, y)
    assert np.all(np.asarray(product) == 600) and float(np.asarray(total)) == 180000
    assert np.all(np.asarray(g(x)) == 3)
if child:
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    print("parent")
sys.stdout.flush()
os._exit(0)
"""
    assert run_script(script).split() == ["parent"]


@jit
def doubled(x: Any) -> Any:
    """Return twice a number."""
    return x * 2


class Holder:
    def __init__(self) -> None:
        self.model = plain_network()
        self.forward = jit(self.model)


def test_case_44_a_jitted_function_is_pickled_copied_and_documented() -> None:
    x = np.arange(3.0)
    doubled(x)
    for other in (pickle.loads(pickle.dumps(doubled)), copy.deepcopy(doubled), copy.copy(doubled)):
        for _ in range(2):
            np.testing.assert_array_equal(np.asarray(other(x)), 2 * x)
    assert doubled.__name__ == "doubled"
    assert doubled.__doc__ == "Return twice a number."
    assert doubled.__wrapped__(3) == 6


def test_case_44_a_deep_copy_of_a_model_and_its_jitted_pass_has_weights_of_its_own() -> None:
    x = batches(1)[0][0]
    one = Holder()
    with no_grad():
        expected = one.model(x)
        for _ in range(2):
            assert_close(expected, one.forward(x), "before")
        two = copy.deepcopy(one)
        two.model[0].weight.data[...] = 0
        two.model[2].bias.data[...] = 5
        for _ in range(2):
            assert_close(two.model(x), two.forward(x), "the copy")
            assert_close(expected, one.forward(x), "the first")


def test_case_44_the_names_of_the_parameters_do_not_change() -> None:
    model = plain_network()
    names = list(model.state_dict())
    forward = jit(model)
    with no_grad():
        forward(batches(1)[0][0])
    assert list(model.state_dict()) == names
    loaded = pickle.loads(pickle.dumps(model))
    assert list(loaded.state_dict()) == names
    assert forward.__wrapped__ is model


# ---- cases 45 to 49: cost --------------------------------------------------------------------------------


@pytest.mark.slow
def test_cases_45_and_47_a_hundred_shapes_are_right_and_said_at_most_once() -> None:
    f = jit(lambda x: np.tanh(x) * 2 + x.sum())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for n in [*range(1, 101), *range(95, 101), 1]:
            x = np.linspace(-1, 1, n)
            np.testing.assert_allclose(np.asarray(f(x)), np.tanh(x) * 2 + x.sum(), rtol=1e-12, atol=1e-14)
    assert len(caught) <= 1, [str(one.message) for one in caught]
    assert len(f.compilations) <= 101


def test_case_45_programs_are_kept_when_others_come() -> None:
    f = jit(lambda x: x * 2)
    for n in (1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1):
        np.testing.assert_array_equal(np.asarray(f(np.ones(n))), np.full(n, 2.0))
    assert len(f.compilations) == 5


@pytest.mark.parametrize("kind", quick(["SGD", "Adam", "AdamW", "RMSprop"], "SGD", "Adam"))
def test_case_46_exactly_one_compilation(kind: str) -> None:
    options = {"momentum": 0.9} if kind in ("SGD", "RMSprop") else {"amsgrad": True}

    def make(decorate: Any) -> World:
        return trainer(
            decorate,
            network(dropout=0.1),
            lambda p: getattr(optim, kind)(p, lr=0.01, weight_decay=0.1, **options),
        )

    equal_to_eager(make, batches(6), compilations=1)


def test_case_47_what_is_dropped_is_freed() -> None:
    def use() -> list[Any]:
        world = trainer(jit, network(dropout=0.1))
        for x, y in batches(3):
            world.step(x, y)
        return [weakref.ref(world.model), weakref.ref(world.optimizer), weakref.ref(world.step)]

    references = [reference for _ in range(3) for reference in use()]
    gc.collect()
    assert [reference() for reference in references] == [None] * len(references)


def test_case_47_arguments_and_results_of_a_call_are_freed() -> None:
    f = jit(lambda x: (x * 2, x.sum()))
    x = np.ones(1000)
    reference = weakref.ref(x)
    for _ in range(3):
        out = f(x)
    del x, out
    gc.collect()
    assert reference() is None


@pytest.mark.slow
def test_case_47_memory_levels_off() -> None:
    script = """
import gc, resource
import numpy as np
from tinygrad_mnist import jit
def grown(count, k):
    for i in range(count):
        f = jit(lambda x: np.exp(x) * i + x.sum() + k)
        f(np.ones(10 + i)); f(np.ones(10 + i))
    gc.collect()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
first = grown(40, 0)
for k in range(1, 4):
    last = grown(40, k)
print(last - first)
"""
    assert float(run_script(script)) < 40  # MB, after 120 further programs


UNROLLED = """
import warnings
import numpy as np
from tinygrad_mnist import jit

def unrolled(x):
    for i in range(6000):
        x = np.sin(x) + i
    return x

f, x = jit(unrolled), np.linspace(0, 1, 4)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(3):
        np.testing.assert_allclose(np.asarray(f(x)), unrolled(x), rtol=1e-9)
assert len(caught) + len(f.compilations) == 1, (caught, f.compilations)
assert all("unrolled" in str(one.message) for one in caught), caught
print("done")
"""


def test_case_48_a_loop_that_is_too_long_runs_in_eager_and_is_said_once(tmp_path: Path) -> None:
    script = tmp_path / "unrolled.py"
    script.write_text(UNROLLED)
    assert run_script(f"import runpy; runpy.run_path({str(script)!r})") == "done"


def test_case_49_the_time_of_each_compilation_is_kept() -> None:
    f = jit(lambda x: x + 1)
    for n in (2, 3):
        f(np.ones(n))
    for one in f.compilations:
        assert 0 < one.seconds < 60
        assert isinstance(one.signature, str)
        assert isinstance(one.reason, str)
    assert f.compilations[0].reason == "first call"


# ---- what people ask to see ------------------------------------------------------------------------------


def reasons_of(world: World) -> str:
    return "\n".join(one.reason for one in world.step.compilations[1:])  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore:this Sequential computes in float64")
def test_seen_the_leaf_of_the_key_that_differs_is_named() -> None:
    world = trainer(jit, network(dropout=0.1))
    (x, y), (fewer, fewer_labels) = batches(1)[0], batches(1, rows=4)[0]
    world.step(x, y)
    world.step(fewer, fewer_labels)
    assert "(4, 5)" in reasons_of(world)
    assert "(6, 5)" in reasons_of(world)
    assert "x" in reasons_of(world)
    world.step(x.astype(np.float64), y)
    assert "float64" in world.step.compilations[2].reason  # type: ignore[attr-defined]
    world.model.eval()
    world.step(x, y)
    assert "training" in world.step.compilations[3].reason  # type: ignore[attr-defined]
    world.model.train()
    world.model[0].weight.requires_grad_(False)
    world.step(x, y)
    reason = world.step.compilations[4].reason  # type: ignore[attr-defined]
    assert "requires_grad" in reason
    assert "0.weight" in reason


def test_seen_the_closest_key_is_the_one_that_is_compared() -> None:
    f = jit(lambda x, flag=True: x * 2 if flag else x)
    f(np.ones((2, 2)))
    f(np.ones((5, 5), np.float32), flag=False)
    f(np.ones((2, 2)), flag=False)
    reason = f.compilations[2].reason
    assert "flag" in reason
    assert "(5, 5)" not in reason


def test_seen_fail_on_recompile() -> None:
    model = plain_network()
    optimizer = optim.Adam(model.parameters())

    @jit(fail_on_recompile=True)
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    for x, y in batches(3):
        step(x, y)
    before = state_of(model), state_of(optimizer)
    x, y = batches(1, rows=4)[0]
    with pytest.raises(JitError, match=r"\(4, 5\)"):
        step(x, y)
    assert_close(before, (state_of(model), state_of(optimizer)), "after the error", 0.0)
    step(*batches(1)[0])
    assert len(step.compilations) == 1


def test_seen_the_off_switch_runs_python_each_time() -> None:
    script = """
import numpy as np
from tinygrad_mnist import jit
@jit
def f(x):
    y = x * 2
    if y.sum() > 3:
        print("large")
    return y
for _ in range(3):
    f(np.ones(2))
print(len(f.compilations))
"""
    assert run_script(script, TINYGRAD_MNIST_JIT="0").split() == ["large"] * 3 + ["0"]


def test_seen_without_llvmlite_it_is_eager_and_said_once() -> None:
    script = """
import sys, warnings
sys.modules["llvmlite"] = None
import numpy as np
from tinygrad_mnist import jit, Tensor
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    f, g = jit(lambda x: x * 2), jit(lambda x: x * 3)
    for _ in range(3):
        assert np.all(np.asarray(f(np.ones(2))) == 2) and np.all(np.asarray(g(np.ones(2))) == 3)
print(len(caught), "llvmlite" in str(caught[0].message))
"""
    assert run_script(script).split() == ["1", "True"]


def test_seen_nan_in_a_gradient_runs_the_step_in_eager() -> None:
    def make(decorate: Any) -> World:
        return trainer(decorate, plain_network(), lambda p: optim.Adam(p, lr=0.01))

    calls = batches(5)
    calls[3][0][2, 1] = np.nan
    with np.errstate(all="ignore"):  # from then on all is NaN
        equal_to_eager(make, calls, replayed=False)


def test_seen_detect_anomaly_names_the_first_operation_and_nothing_is_changed() -> None:
    class Logarithm(nn.Module):
        def forward(self, x: Any) -> Any:
            return np.log(x)

    model = nn.Sequential(nn.Linear(FEATURES, CLASSES, rng=0), Logarithm())
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @jit
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    model[0].bias.data[...] = 50
    x, y = batches(1)[0]
    for _ in range(3):
        step(x, y)
    before = [p.data.copy() for p in model.parameters()]
    with np.errstate(all="ignore"), detect_anomaly(), pytest.raises(AnomalyError, match="'log'"):
        step(x - 1e4, y)
    assert_close(before, [p.data for p in model.parameters()], "after the error", 0.0)


def test_seen_elements_that_were_not_chosen_are_dead_in_a_step_and_in_a_function() -> None:
    x = np.array([-1.0, 0.0, 2.0, 4.0])
    functions = [
        lambda x: np.sum(np.where(x > 0, np.log(x), 0.0)),
        lambda x: np.sum(np.where(x > 0, np.sqrt(x), x)),
        lambda x: np.sum(np.clip(1 / x, -3, 3)),
        lambda x: np.max(np.where(x > 1, x, np.exp(1000 * np.abs(x)))[2:]),
    ]

    def make(decorate: Any) -> World:
        return World(decorate(lambda x: [grad(f)(x) for f in functions]))

    def step(decorate: Any) -> World:
        weight = nn.Parameter(x.copy())

        @decorate
        def run() -> Any:
            weight.grad = None
            loss = sum(f(weight) for f in functions)
            loss.backward()
            return loss

        return World(run, holders={"weight": weight})

    with np.errstate(all="ignore"):
        # Compiled code finds NaN among them, and leaves the call to eager.
        equal_to_eager(make, [(x,), (x + 0.5,), (x,)], replayed=False)
        equal_to_eager(step, [()] * 3, replayed=False)


def test_seen_explain_says_what_runs_and_changes_nothing() -> None:
    world = trainer(jit, network(dropout=0.3))
    x, y = batches(1)[0]
    before = everything(world)
    first = str(world.step.explain(x, y))  # type: ignore[attr-defined]
    assert_close(before, everything(world), "after explain", 0.0)
    world.step(x, y)
    world.step(x, y)
    before = everything(world)
    again = str(world.step.explain(x, y))  # type: ignore[attr-defined]
    assert_close(before, everything(world), "after explain", 0.0)
    for text in (first, again):
        assert "loop" in text
        assert "product" in text
        assert "memory" in text
        assert "test_cases" in text or "helpers" in text or "layers" in text, text
    assert world.programs == 1


def test_seen_clear_forgets_the_programs() -> None:
    f = jit(lambda x: x * 2)
    f(np.ones(2))
    f.clear()
    np.testing.assert_array_equal(np.asarray(f(np.ones(2))), [2.0, 2.0])
    assert len(f.compilations) in (1, 2)


def test_seen_options_and_wrong_ones() -> None:
    with pytest.raises(TypeError):
        jit(3)  # type: ignore[call-overload]
    with pytest.raises((TypeError, ValueError)):
        jit(lambda x: x, threads=0)
    assert np.all(np.asarray(jit()(lambda x: x * 2)(np.ones(2))) == 2)
