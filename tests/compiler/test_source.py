"""What a replay would leave out is found in the source, with its line, and nothing else is."""

from __future__ import annotations

import datetime
import functools
import logging
import random
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from random import random as draw
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from numpy.random import normal

from tinygrad_mnist import Tensor, grad, nn, no_grad, optim
from tinygrad_mnist.compiler.source import find
from tinygrad_mnist.nn import functional as F

log = logging.getLogger(__name__)
rng = np.random.default_rng(0)
history: list[Any] = []
totals: dict[str, Any] = {}
seen: set[Any] = set()
count = 0
VERBOSE = False
model = nn.Sequential(nn.Linear(4, 3, rng=0), nn.BatchNorm1d(3))
optimizer = optim.SGD(model.parameters(), lr=0.1)


class Trainer:
    def __init__(self) -> None:
        self.count = 0
        self.losses: list[Any] = []
        self.verbose = False
        self.rng = np.random.default_rng(0)


trainer = Trainer()
IMPORTED: dict[str, Any] = dict(
    datetime=datetime,
    draw=draw,
    normal=normal,
    perf_counter=perf_counter,
    random=random,
    sys=sys,
    time=time,
    Tensor=Tensor,
)

# Each line is the body of a function of x and y; what is found is in the comment, or nothing.
LINES = """
print(x)                                       # print() would run only once
y = [print(y) for y in [x]]                    # print() would run only once
input()                                        # input() would run only once
log.info("loss %s", x)                         # log.info() would run only once
logging.warning("loss")                        # logging.warning() would run only once
history.append(x)                              # 'history' is changed
history.extend([x])                            # 'history' is changed
seen.add(1)                                    # 'seen' is changed
totals.update(a=x)                             # 'totals' is changed
totals["a"].append(x)                          # "totals['a']" is changed
trainer.losses.append(x)                       # 'trainer.losses' is changed
sys.stdout.write("x")                          # 'sys.stdout' is changed
h = history; h.append(x)                       # 'h' is changed
for h in totals.values(): h.append(x)          # 'h' is changed
x.append(1)                                    # 'x' is changed
totals["a"] = x                                # "totals['a']" is assigned to
totals["a"] += x                               # "totals['a']" is assigned to
history[0]: int = 3                            # 'history[0]' is assigned to
del totals["a"]                                # "totals['a']" is assigned to
trainer.count += 1                             # 'trainer.count' is assigned to
trainer.count, z = 1, 2                        # 'trainer.count' is assigned to
for trainer.count in range(3): pass            # 'trainer.count' is assigned to
x[0] = 1                                       # 'x[0]' is assigned to
for p in model.parameters(): p.tag = 1         # 'p.tag' is assigned to
for g in optimizer.param_groups: g["lr"] = 0   # "g['lr']" is assigned to
global count; count = 1                        # 'count' is assigned to
global count; count += 1                       # 'count' is assigned to
z = random.random()                            # random.random() gives a random number
z = draw()                                     # draw() gives a random number
z = np.random.rand(3)                          # np.random.rand() gives a random number
z = normal()                                   # normal() gives a random number
z = rng.normal()                               # rng.normal() gives a random number
z = trainer.rng.normal()                       # trainer.rng.normal() gives a random number
z = np.random.default_rng()                    # np.random.default_rng() gives a random number
z = time.time()                                # time.time() gives the clock
z = perf_counter()                             # perf_counter() gives the clock
z = datetime.datetime.now()                    # datetime.datetime.now() gives the clock
import random as r; z = r.random()             # r.random() gives a random number
yield x                                        # yield: a compiled function
yield from x                                   # yield: a compiled function
if not VERBOSE: print(x)                       # print() would run only once
if x is None: print(x)                         # print() would run only once
if VERBOSE: print(x)
if trainer.verbose: print(x)
z = []; z.append(x)
z = list(x); z.append(x)
z = {}; z["a"] = x; z.update(b=y)
z = [h for h in history]; z.append(1)
x = x * 1; x[0] = 1
for row in np.split(x, 2): row[0] = 1
with no_grad() as z: pass
optimizer.zero_grad(); optimizer.step()
for p in model.parameters(): p.grad = None
for p in model.parameters(): p.data = p.data * 2
for p in model.parameters(): p.data -= p.grad.data
for p in model.parameters(): p.data[...] = 0
for p in model.parameters(): p.requires_grad = False
model[0].weight.grad = None
np.add(x, y, out=None)
F.relu(x).backward()
z = np.random.default_rng(0)
z = Tensor(x); z.requires_grad = True
z = lambda h: h.append(1)
import math; z = math.sin(1)
"""


def made(line: str, folder: Path) -> Callable[..., Any]:
    """Return a function with this line as its body, which has a file, and the globals of this one."""
    path = folder / "step.py"
    path.write_text(f"def step(x, y=None):\n    z = None\n    {line}\n    return x\n", "utf-8")
    names = {**globals(), **IMPORTED}
    exec(compile(path.read_text("utf-8"), str(path), "exec"), names)
    function: Callable[..., Any] = names["step"]
    return function


@pytest.mark.parametrize("line", LINES.strip().splitlines())
def test_each_line_alone(line: str, tmp_path: Path) -> None:
    code, _, expected = (part.strip() for part in line.partition("  # "))
    findings = find(made(code, tmp_path))
    if not expected:
        assert findings == []
        return
    assert findings[0].what.startswith(expected)
    assert (findings[0].line, findings[0].function, findings[0].source) == (3, "step", code)
    assert findings[0].file == str(tmp_path / "step.py")
    assert findings[0].advice
    assert len(findings) == 1


def test_a_finding_as_a_text() -> None:
    def step(x: Any) -> Any:
        history.append(x)
        return x

    (finding,) = find(step)
    text = str(finding)
    assert text.startswith(f"{__file__}:{finding.line}, in step: history.append(x)\n")
    assert text.endswith(
        "'history' is changed, which is outside of the function; return the value, and call history.append "
        "outside of the jitted function"
    )
    assert Path(__file__).read_text("utf-8").splitlines()[finding.line - 1].strip() == "history.append(x)"


def test_a_name_of_the_function_around() -> None:
    steps = 0

    def step(x: Any) -> Any:
        nonlocal steps
        steps += 1
        return x

    assert [finding.source for finding in find(step)] == ["steps += 1"]


def shout(x: Any) -> Any:
    print(x)
    return deeper(x)


def deeper(x: Any) -> Any:
    history.append(x)
    return x


def fill(x: Any, into: Any) -> None:
    into.append(x)
    into[0] = 1
    x.shown = True


def test_helpers_are_looked_at_one_level_deep() -> None:
    assert [finding.source for finding in find(lambda x: shout(x))] == []  # a lambda has no lines of its own

    def step(x: Any) -> Any:
        return shout(x)

    assert [finding.source for finding in find(step)] == ["print(x)"]


def test_a_helper_may_fill_what_it_is_given() -> None:
    def step(x: Any) -> Any:
        found: list[Any] = []
        fill(x, found)
        return found

    assert find(step) == []
    assert len(find(fill)) == 3


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.register_buffer("mean", np.zeros(3))

    def forward(self, x: Any) -> Any:
        self.mean = 0.9 * self.mean + 0.1 * x
        self.mean[...] = 0.9 * self.mean
        self.calls += 1
        return x


def test_modules_of_the_user_are_looked_at() -> None:
    net = nn.Sequential(nn.Linear(3, 3), Counting())

    def step(x: Any) -> Any:
        return net(x)

    for function in (step, net, net.forward, net[1]):
        lines = [finding.source for finding in find(function)]
        assert lines == (["self.calls += 1"] if function != net.forward else [])


class Runner:
    def __init__(self) -> None:
        self.count = 0

    def step(self, x: Any) -> Any:
        self.note(x)
        return x

    def note(self, x: Any) -> None:
        self.count += 1

    def __call__(self, x: Any) -> Any:
        self.count -= 1
        return x


def test_methods_and_callable_objects() -> None:
    assert [finding.source for finding in find(Runner().step)] == ["self.count += 1"]
    assert [finding.source for finding in find(Runner())] == ["self.count -= 1"]


def ends_with_a_bracket(x: Any) -> Any:
    history.append(x)
    return np.add(
        x, (
            1
        )
    )  # fmt: skip


def test_a_function_whose_last_line_has_no_code() -> None:
    assert [finding.source for finding in find(ends_with_a_bracket)] == ["history.append(x)"]


def decorated(function: Any) -> Any:
    @functools.wraps(function)
    def call(*args: Any) -> Any:
        print("before")
        return function(*args)

    return call


@pytest.mark.parametrize(
    "wrap", [no_grad(), grad, functools.partial, functools.lru_cache, lambda f: types.MethodType(f, 1)]
)
def test_decorated_functions_are_unwrapped(wrap: Any) -> None:
    def step(x: Any) -> Any:
        history.append(x)
        return x

    assert [finding.source for finding in find(wrap(step))] == ["history.append(x)"]
    assert [finding.source for finding in find(decorated(step))] == ['print("before")', "history.append(x)"]


def test_decorators_and_other_functions_in_the_file_are_not_part_of_it() -> None:
    @decorated
    def step(x: Any) -> Any:
        """Return x; print(x) is not called."""
        return x

    assert [finding.source for finding in find(step.__wrapped__)] == []


@pytest.mark.parametrize(
    "function",
    [
        lambda x: print(x),
        print,
        np.add,
        np.mean,
        F.relu,
        nn.ReLU(),
        3,
        None,
        eval("lambda x: history.append(x)"),
    ],
)
def test_what_has_no_source_of_a_users_function_has_no_finding(function: Any) -> None:
    assert find(function) == []


def test_a_function_from_exec_has_no_finding() -> None:
    names: dict[str, Any] = {}
    exec("def step(x):\n    print(x)\n", names)
    assert find(names["step"]) == []


async def waits(x: Any) -> Any:
    await x


def steps(x: Any) -> Iterator[Any]:
    yield x


def test_a_generator_inside_is_no_finding() -> None:
    def step(x: Any) -> Any:
        def parts() -> Iterator[Any]:
            yield x

        return sum(parts()) + sum(steps(x))

    assert find(step) == []


def test_functions_that_run_in_steps() -> None:
    assert [finding.source for finding in find(waits)] == ["await x"]
    assert [finding.source for finding in find(steps)] == ["yield x"]
