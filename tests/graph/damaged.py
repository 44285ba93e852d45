"""Graphs in JSON with something wrong in them: mutations of real ones, of their values and of their text."""

import copy
import json
from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tinygrad_mnist import Tensor, checkpoint, graph, nn


@cache
def seeds() -> tuple[str, ...]:
    """Small graphs of every kind: modules, loops, several results, gradients, costs, masks, names, NaN."""
    x = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    model = nn.Sequential(
        nn.Linear(3, 3, rng=0), nn.BatchNorm1d(3), nn.ReLU(), nn.Sequential(nn.Linear(3, 2, rng=0))
    )
    with graph.record(model, {'x <&> "x"': x}) as tape:
        for _ in range(2):
            np.sum(model(x)).backward()
    leaf = Tensor(np.array([[2.0, 0.5], [0.0, 1.0]]), requires_grad=True)
    with np.errstate(all="ignore"), graph.record(names={"ключ": leaf}) as spoiled:
        q, r = np.linalg.qr(leaf)
        y = np.where([True, False], np.log(leaf), -np.inf)
        for _ in range(6):
            y = np.tanh(y @ q + r)
        np.sum(checkpoint(np.sin)(y)).backward()
    profile = graph.profile(model, x, np.array([0, 1]), repeats=1, warmup=0)
    return tuple(found.json() for found in (tape.graph(), spoiled.graph(), profile, (leaf * 2 + 1).graph()))


VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 2**31, 2**63 - 1, 2**63, 10**30, 10**400, 0.0, -0.0, 0.5, -1.5, 1e308,
    -1e308, 5e-324, float("nan"), float("inf"), "", "x", "model", "model/0", "model@2", "sum#1", "/", "#1",
    "a\nb", "\x00", "\x1b[31m", "\ud800", "\ufdd0", "<b>&amp;\"'", "}]", "%s{0}", "\\N\\l", "x" * 300,
    [], {}, [[]], [0], [1, 2], [-1], [None], [0] * 70, [2**62, 2**62], {"id": "x"}, "·", "operation",
    "parameter", "buffer", "input",
]  # fmt: skip


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of each value inside another."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(found for key, each in inner for found in places(each, (*place, key)))]


def at(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """Text of a graph with some values replaced, removed, repeated or exchanged, or some characters."""
    seed = draw(st.sampled_from(seeds()))
    data = json.loads(seed)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        if not isinstance(data, dict):
            break
        *around, key = draw(st.sampled_from(places(data)[1:]))
        holder, other = at(data, tuple(around)), at(data, draw(st.sampled_from(places(data))))
        ways = ["replace", "resemble", "resemble", "remove", "repeat", "exchange", "add"]
        match draw(st.sampled_from(ways)):
            case "replace":
                holder[key] = copy.deepcopy(draw(st.sampled_from(VALUES)))
            case "resemble":  # what stands there may be of this kind, so that more of these are read
                alike = [value for value in VALUES if type(value) is type(holder[key])]
                holder[key] = copy.deepcopy(draw(st.sampled_from(alike or [None])))
            case "remove":
                del holder[key]
            case "repeat" if isinstance(holder, list):
                holder.insert(draw(st.integers(0, len(holder))), copy.deepcopy(holder[key]))
            case "add" if isinstance(holder, dict):
                holder[draw(st.sampled_from(["id", "kind", "gradient", "call", "extra"]))] = copy.deepcopy(
                    other
                )
            case _:
                holder[key] = copy.deepcopy(other)
        if not places(data)[1:]:
            break
    text = json.dumps(data, ensure_ascii=draw(st.booleans()))
    if draw(st.integers(0, 9)) == 0:
        start = draw(st.integers(0, len(text)))
        text = (
            text[:start]
            + draw(st.sampled_from(["", "[", "}", '"', "\x00", "1", ",,", "[" * 5000]))
            + text[start + draw(st.integers(0, 40)) :]
        )
    return text
