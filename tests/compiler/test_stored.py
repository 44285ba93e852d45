"""Programs that are found on disk: by all that they compute, and without being planned again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.compiler.builder import Builder
from tests.compiler.steps import mlp_step
from tinygrad_mnist import jit, nn, optim
from tinygrad_mnist.compiler import executable, stored
from tinygrad_mnist.compiler.executable import build
from tinygrad_mnist.compiler.program import Program

pytest.importorskip("llvmlite")


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYGRAD_MNIST_CACHE", str(tmp_path))


def program(
    shape: tuple[int, ...] = (3, 4),
    dtype: Any = np.float32,
    name: str = "add",
    constant: float = 2.0,
    axis: tuple[int, ...] = (0,),
    change: Callable[[Builder], None] = lambda b: None,
) -> Program:
    b = Builder()
    x, y = b.input(np.ones(shape, dtype)), b.input(np.ones(shape, dtype))
    scaled = b.multiply(getattr(b, name)(x, y), np.full((), constant, dtype))
    b.program.outputs.append(b.sum(scaled, axis=axis))
    change(b)
    return b.program


OTHERS: dict[str, Callable[[], Program]] = {
    "another shape": lambda: program(shape=(4, 4)),
    "another dtype": lambda: program(dtype=np.float64),
    "another operation": lambda: program(name="subtract"),
    "another constant": lambda: program(constant=3.0),
    "a zero of the other sign": lambda: program(constant=-0.0),
    "another option": lambda: program(axis=(1,)),
    "another layout": lambda: program(change=lambda b: b.program.strides.__setitem__(0, (4, 12))),
    "another argument": lambda: program(
        change=lambda b: b.program.instructions[0].__setattr__("inputs", (b.program.inputs[0],) * 2)
    ),
    "one more output": lambda: program(change=lambda b: b.program.outputs.append(b.exp(b.program.inputs[0]))),
    "a write": lambda: program(
        change=lambda b: b.program.writes.append((b.program.inputs[0], b.program.inputs[1]))
    ),
    "a condition": lambda: program(change=lambda b: b.program.watched.append(b.program.inputs[0])),
}


def test_a_program_has_one_key_however_its_values_are_numbered() -> None:
    other = program()
    for value in other.inputs:
        value.number += 100
    assert stored.key_of_program(program(), 1) == stored.key_of_program(other, 1) is not None


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS.keys())
def test_what_computes_something_else_has_another_key(make: Callable[[], Program]) -> None:
    zero = program(constant=0.0)
    assert stored.key_of_program(make(), 1) not in {
        stored.key_of_program(program(), 1),
        stored.key_of_program(zero, 1),
    }


def test_the_key_holds_the_threads_and_the_source_of_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {stored.key_of_program(program(), threads) for threads in (1, 2)}
    monkeypatch.setattr(stored, "_compiler", lambda: "another")
    keys.add(stored.key_of_program(program(), 1))
    assert len(keys) == 3
    monkeypatch.setattr(stored, "_compiler", lambda: None)
    assert stored.key_of_program(program(), 1) is None


def test_a_program_with_python_in_it_has_no_key() -> None:
    b = Builder()
    x = b.input(np.ones(3))
    b.program.outputs.append(b.emit("median", [x], (), np.float64, np.median))
    assert stored.key_of_program(b.program, 1) is None


@pytest.mark.parametrize("fortran", [False, True])
def test_a_program_from_disk_is_not_planned_and_gives_the_same_bits(
    fortran: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, arrays, scalars = mlp_step([20, 16, 8, 5], 12, fortran=fortran)
    copies = [array.copy(order="K") for array in arrays]
    results = [build(made)(arrays, scalars)]
    with monkeypatch.context() as patched:
        patched.setattr(executable, "prepare", None)
        again = build(made)
        results.append(again(copies, scalars))
    (first, numbers), (second, other_numbers) = ((r[0], r[1]) for r in results if r is not None)
    assert numbers == other_numbers
    for one, other in zip([*first, *arrays], [*second, *copies], strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.strides == other.strides
    assert len(again.report()) > 1  # it is planned where somebody looks


def test_a_function_from_disk_is_explained() -> None:
    def make() -> Any:
        return jit(lambda x: np.exp(x) @ x.T + 1)

    x = np.ones((4, 5), np.float32)
    texts = []
    for _ in range(2):
        f = make()
        f(x)
        np.testing.assert_allclose(f(x), np.exp(x) @ x.T + 1, rtol=1e-6)
        lines = str(f.explain(x)).splitlines()
        texts.append([line.split()[:3] for line in lines if not line.startswith("time")])
    assert texts[0] == texts[1]


def test_constants_that_came_in_while_it_was_planned_are_found_too() -> None:
    x = np.random.default_rng(0).standard_normal((2, 1, 6, 6), np.float32)
    results = []
    for _ in range(2):
        model = nn.Sequential(nn.Conv2d(1, 4, 3, rng=0), nn.MaxPool2d(2))
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        @jit
        def step(x: Any, model: Any = model, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = np.mean(model(x) ** 2)
            loss.backward()
            optimizer.step()
            return loss

        results.append([step(x).item() for _ in range(4)])
    assert results[0] == results[1]
