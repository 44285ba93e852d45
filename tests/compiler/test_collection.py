"""What is looked into: the user's code, and what it reads by name; nothing that is installed."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import nn, optim, training
from tinygrad_mnist.compiler.collection import Collection, GroupOptions, is_library_file

RATE = 0.5


def rated(x: Any) -> Any:
    return x * RATE


def facts_of(value: Any) -> dict[str, Any]:
    """Return the facts about an object, with all attributes that code reads in it."""
    attributes: set[str] = set()
    for _ in range(3):
        found = Collection(attributes)
        found.add_root("", value)
        found.finish()
    return found.facts


@pytest.mark.parametrize(
    ("file", "is_library"),
    [
        (np.__file__, True),
        (json.__file__, True),
        (functools.__file__, True),
        (nn.__file__, True),
        (optim.__file__, True),
        ("<frozen importlib._bootstrap>", True),
        ("venv/lib/python3.12/site-packages/einops/einops.py", True),
        (training.__file__, False),
        (__file__, False),
        ("<stdin>", False),
        ("<ipython-input-1>", False),
        (str(Path.home() / "train.py"), False),
    ],
)
def test_whose_a_file_is(file: str, is_library: bool) -> None:
    assert is_library_file(file.replace("/", os.sep)) is is_library


def test_the_facts_about_a_function() -> None:
    assert list(facts_of(rated)) == ["the function", "the code", "global 'RATE'"]


def test_the_facts_about_a_layer() -> None:
    facts = facts_of(nn.Linear(2, 3))
    assert {name: repr(fact) for name, fact in facts.items() if "weight" in name} == {
        "Linear.weight": "a Parameter",
        "Linear.weight.shape": "(3, 2)",
        "Linear.weight.dtype": "float32",
        "Linear.weight: memory layout": "F",
        "Linear.weight.requires_grad": "True",
    }
    assert repr(facts["Linear.training"]) == "True"


def test_two_objects_of_a_class_share_its_facts() -> None:
    class Own(nn.Module):
        def forward(self, x: Any) -> Any:
            return rated(x)

    names = list(facts_of(nn.Sequential(Own(), Own())))
    assert [name for name in names if name.startswith("Own.")] == ["Own.forward"]
    assert names.count("global 'RATE'") == 1
    assert not [name for name in names if name.endswith("(2)")]


def test_options_count_by_their_kind() -> None:
    group: dict[str, Any] = {"params": (), "lr": 0.1, "betas": (0.9, 0.0), "nesterov": False, "mode": "a"}
    options = GroupOptions(group, ("lr", "betas", "nesterov", "mode", "missing"))
    assert options.names == ("lr", "betas", "nesterov", "mode")
    assert list(map(str, options.pattern)) == ["a number", "(nonzero, zero)", "False", "a"]
    for name, value, is_unchanged in [
        ("lr", 0.2, True),
        ("lr", np.float32(0.2), True),
        ("betas", (0.8, 0.0), True),
        ("betas", (0.8, 0.1), False),
        ("nesterov", True, False),
        ("mode", "b", False),
        ("lr", 0, True),
    ]:
        before = group[name]
        group[name] = value
        assert options.is_unchanged() is is_unchanged
        group[name] = before
        assert options.is_unchanged()
