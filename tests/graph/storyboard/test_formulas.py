"""The formulae of local derivatives are those of the rules."""

import re
from typing import Any

import numpy as np
import pytest

from tests.graph.storyboard.computations import wanted
from tinygrad_mnist import graph
from tinygrad_mnist.engine.op import REGISTRY
from tinygrad_mnist.graph.storyboard.formulas import FORMULAE, formula

WORDS = {"−": "-", "·": "*", "^": "**", "²": "**2", "sign": "np.sign", "ln": "np.log", "σ": "sigmoid"}
NUMERIC = sorted(
    name for name, texts in FORMULAE.items() if not any("each" in text or ":" in text for text in texts)
)
POINTS = {"log": 0.7, "arctanh": 0.3}


def evaluated(text: str, **values: Any) -> float:
    """A formula's number: its words and signs are those of Python but for a few."""
    if found := re.fullmatch(r"1 where (.*), else 0", text):
        return float(eval(found[1], {}, values))
    for sign, python in WORDS.items():
        text = text.replace(sign, python)
    text = re.sub(r"(np\.\w+|sinh|cosh|\bsin|\bcos) (\w+)", r"\1(\2)", text)
    functions = {name: getattr(np, name) for name in ("sin", "cos", "sinh", "cosh")}
    return float(eval(text, {"np": np, "sigmoid": lambda x: 1 / (1 + np.exp(-x)), **functions}, values))


@pytest.mark.parametrize("name", [name for name in NUMERIC if name not in ("astype", "getitem", "where")])
@pytest.mark.parametrize("x", [0.7, 1.3])
def test_a_formula_is_what_the_rule_computes(name: str, x: float) -> None:
    op, texts = REGISTRY[name], FORMULAE[name]
    values = [np.array(x), np.array(0.9)][: len(texts)]
    tensors = [wanted(value) for value in values]
    out = op(*tensors)
    out.backward()
    for position, tensor in enumerate(tensors):
        assert tensor.grad is not None
        text = formula(name, position, values, ["x", "y"][: len(values)], "z")
        number = evaluated(text, x=x, y=0.9, z=out.item())
        assert number == pytest.approx(tensor.grad.item(), rel=1e-12), text


@pytest.mark.parametrize(("exponent", "text"), [(3, "3 · x²"), (2, "2 · x"), (0.5, "0.5 · x^−0.5")])
def test_the_derivative_of_a_power(exponent: float, text: str) -> None:
    x = wanted(1.7)
    [step] = graph.storyboard(x**exponent, {"x": x}).steps
    assert step.contributions[0].formula == text
    (x**exponent).backward()
    assert x.grad is not None
    assert evaluated(text.replace("^−0.5", "^(−0.5)"), x=1.7) == pytest.approx(x.grad.item())


def test_every_formula_is_of_an_operation() -> None:
    assert FORMULAE.keys() <= REGISTRY.keys()
