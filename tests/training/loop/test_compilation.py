import subprocess
import sys

import pytest

from tinygrad_mnist.training import JIT, RECIPES, JitChoice, Recipe, TrainingError
from tinygrad_mnist.training.loop import compilation
from tinygrad_mnist.training.loop.compilation import SWITCH, decide, require, work_a_step
from tinygrad_mnist.training.recipe.models import build_model, costs

MANY, FEW, NUMBERS = 10_000, 10, 300_000
MISSING = "there is no compiler here"


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler is there, whatever is installed."""
    monkeypatch.setattr(compilation, "_unavailable", lambda: None)
    monkeypatch.delenv(SWITCH, raising=False)


@pytest.mark.parametrize(
    ("jit", "steps", "compiled", "reason"),
    [
        ("auto", MANY, True, "10,000 steps of this size save more time than compiling takes"),
        ("auto", FEW, False, "10 steps of this size save less time than compiling takes"),
        ("on", MANY, True, "jit is on"),
        ("on", FEW, True, "jit is on"),
        ("off", MANY, False, "jit is off"),
        ("off", FEW, False, "jit is off"),
    ],
)
def test_the_decision_and_its_reason(jit: str, steps: int, compiled: bool, reason: str) -> None:
    found = decide(jit, steps, NUMBERS)
    assert (found.jit, found.compiled, found.reason, found.missed) == (jit, compiled, reason, False)
    assert str(found) == f"steps are {'' if compiled else 'not '}compiled: {reason}"


def test_larger_steps_are_worth_it_sooner() -> None:
    assert [decide("auto", 1000, numbers).compiled for numbers in (10**4, 10**5, 10**6, 10**7)] == [
        *(False, False, True, True),
    ]


def test_convolutions_are_worth_it_sooner() -> None:
    found = [decide("auto", 100, 100_000, convolved).compiled for convolved in (0, 10**7, 10**8, 10**9)]
    assert found == [False, False, True, True]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_of_the_recipes_all_but_the_perceptron_of_the_small_digits_are_compiled(recipe: Recipe) -> None:
    """On their own data, and if they are followed to their end."""
    images, shape = (1294, (8, 8)) if recipe.data == "digits" else (57_000, (28, 28))
    batch_size = recipe.batch_size or images
    model = build_model(recipe, shape, 10)
    parameters = sum(parameter.size for parameter in model.parameters())
    work = work_a_step(costs(recipe, model, shape, 10), parameters, batch_size)
    steps = round(recipe.epochs * (images // batch_size))
    assert decide("auto", steps, *work).compiled is (recipe.name != "digits")


def test_without_the_compiler_auto_does_without_and_the_user_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "_unavailable", lambda: MISSING)
    found = decide("auto", MANY, NUMBERS)
    assert (found.compiled, found.missed) == (False, True)
    assert str(found) == f"steps are not compiled: {MISSING}"
    assert not decide("auto", FEW, NUMBERS).missed
    assert not decide("off", MANY, NUMBERS).missed


def test_the_extra_is_named() -> None:
    """By the compiler, where llvmlite is not found."""
    code = (
        "import sys; sys.modules['llvmlite'] = None\n"
        "from tinygrad_mnist.training.loop.compilation import require\n"
        "require('on')\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "jit is on, but " in ran.stderr
    assert 'pip install "tinygrad_mnist[jit]"' in ran.stderr


def test_without_the_compiler_on_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "_unavailable", lambda: MISSING)
    for function in (lambda: decide("on", FEW, NUMBERS), lambda: require("on")):
        with pytest.raises(TrainingError, match=f"^jit is on, but {MISSING}$"):
            function()
    require("auto")


def test_what_the_environment_switches_off_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "0")
    assert decide("auto", MANY, NUMBERS).reason == f"{SWITCH} is 0"
    with pytest.raises(TrainingError, match=f"jit is on, but {SWITCH} is 0, .*; unset it"):
        decide("on", MANY, NUMBERS)


@pytest.mark.parametrize("jit", ["", "yes", "ON", None, True])
def test_another_answer_is_refused_with_those_that_there_are(jit: str) -> None:
    with pytest.raises(TrainingError, match=r"^jit must be one of auto, on, off, not "):
        decide(jit, MANY, NUMBERS)


def test_an_answer_of_ones_own_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(JIT, "reluctantly", JitChoice(lambda worth_it: worth_it, required=True))
    assert decide("reluctantly", MANY, NUMBERS).compiled
    assert not decide("reluctantly", FEW, NUMBERS).compiled
