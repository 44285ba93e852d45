"""The strategies draw what the declarations ask for: in the domain, off kinks, in every shape and layout."""

from typing import Any

import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tinygrad_mnist.engine.op import DISTINCT, NONZERO, REGISTRY, Domain, Op, Sample
from tinygrad_mnist.testing import GradientError, check_op, properties
from tinygrad_mnist.testing.strategies import (
    LAYOUTS,
    arrays_in,
    arrays_on_kinks,
    axes,
    broadcastable,
    edge_values,
    grid,
    indices,
    laid_out,
    op_inputs,
    op_inputs_on_kinks,
    reductions,
    shapes,
    views,
)

FEW = settings(max_examples=2000, derandomize=True, database=None)
DIFFERENTIABLE = [op for op in REGISTRY.values() if op.kind != "constant"]


def is_drawn(strategy: st.SearchStrategy[Any], condition: Any) -> bool:
    find(strategy, condition, settings=FEW)
    return True


@pytest.mark.parametrize(
    "domain", [Domain(), NONZERO, Domain(0.0, 1.0, kinks=(0.3, 0.6), margin=0.05), DISTINCT]
)
def test_values_lie_in_the_domain_and_keep_the_margin_from_kinks(domain: Domain) -> None:
    values = grid(domain)
    assert np.all((values >= domain.low) & (values <= domain.high))
    for kink in domain.kinks:
        assert np.min(np.abs(values - kink)) >= domain.margin - 1e-9


@given(arrays=arrays_in([DISTINCT, DISTINCT], [(2, 3), (4,)]))
def test_distinct_values_differ_by_the_margin_across_all_arguments(arrays: Any) -> None:
    values = np.sort(np.concatenate([np.ravel(array) for array in arrays]))
    assert np.min(np.diff(values)) >= DISTINCT.margin - 1e-9


@given(arrays=arrays_on_kinks([NONZERO, Domain()], [(2, 3), (4,)]))
def test_an_element_lies_on_a_kink(arrays: Any) -> None:
    assert np.any(arrays[0] == 0)


@given(arrays=arrays_on_kinks([DISTINCT, DISTINCT], [(2,), (1,)]))
def test_two_elements_are_tied(arrays: Any) -> None:
    values = np.concatenate(arrays)
    assert len(np.unique(values)) < values.size


@given(arrays=arrays_on_kinks([NONZERO, DISTINCT, Domain()], [(0,), (1,), (2,)]))
def test_where_there_can_be_no_kink_ordinary_arrays_are_drawn(arrays: Any) -> None:
    assert [array.shape for array in arrays] == [(0,), (1,), (2,)]


@pytest.mark.parametrize("name", ["relu", "clip", "maximum", "max"])
def test_calls_on_kinks_are_drawn_of_an_operation(name: str) -> None:
    op = REGISTRY[name]

    def is_on_kink(call: Any) -> bool:
        values = np.concatenate([np.ravel(x) for x in call[0] if isinstance(x, np.ndarray)])
        kinks = op.domain.kinks if isinstance(op.domain, Domain) else ()
        return bool(np.any(np.isin(values, kinks)) or len(np.unique(values)) < values.size)

    assert is_drawn(op_inputs_on_kinks(op), is_on_kink)


# The registry's tests make such calls of each operation; here five of six run with the slow tests.
EVERY_SIXTH = [
    pytest.param(op, marks=pytest.mark.slow if i % 6 else ()) for i, op in enumerate(DIFFERENTIABLE)
]


@given(data=st.data())
@pytest.mark.parametrize("op", EVERY_SIXTH, ids=lambda op: op.name)
def test_every_call_that_is_drawn_can_be_made(op: Op, data: st.DataObject) -> None:
    arguments, static = data.draw(op_inputs(op))
    out = op(*arguments, **static)
    assert all(np.all(np.isfinite(one)) for one in (out if isinstance(out, tuple) else (out,)))


@pytest.mark.parametrize(
    "condition",
    [
        lambda s: s[0] == (), lambda s: s[0] != s[1], lambda s: 1 in s[0] and 1 not in s[1],
        lambda s: len(s[0]) > len(s[1]) > 0, lambda s: 0 in s[0], lambda s: s[0] == s[1] == (3, 3),
    ],
    ids=["0-d", "unequal", "length 1", "fewer axes", "empty", "equal"],
)  # fmt: skip
def test_every_kind_of_broadcasting_is_drawn(condition: Any) -> None:
    assert is_drawn(broadcastable(2), condition)


@given(drawn=broadcastable(3))
def test_the_shapes_broadcast(drawn: Any) -> None:
    np.broadcast_shapes(*drawn)


@pytest.mark.parametrize(
    "condition",
    [
        lambda r: r["axis"] is None, lambda r: r["axis"] == -1, lambda r: r["axis"] == 2,
        lambda r: r["axis"] == (),
        lambda r: isinstance(r["axis"], tuple) and len(r["axis"]) == 2, lambda r: r["keepdims"],
    ],
    ids=["none", "negative", "last", "no axes", "two axes", "keepdims"],
)  # fmt: skip
def test_every_kind_of_reduction_is_drawn(condition: Any) -> None:
    assert is_drawn(reductions(3), condition)


@given(data=st.data(), ndim=st.integers(0, 4))
def test_an_axis_that_is_drawn_can_be_reduced(data: st.DataObject, ndim: int) -> None:
    np.sum(np.zeros((2,) * ndim), axis=data.draw(axes(ndim)))


@pytest.mark.parametrize(
    "condition",
    [
        lambda x: x == 0 and np.signbit(x), lambda x: x == 0 and not np.signbit(x), np.isposinf, np.isneginf,
        np.isnan, lambda x: 0 < x < np.finfo(x.dtype).tiny, lambda x: x == np.finfo(x.dtype).tiny,
        lambda x: x == np.finfo(x.dtype).max, lambda x: x == np.finfo(x.dtype).min,
    ],
    ids=["-0", "0", "inf", "-inf", "nan", "subnormal", "smallest normal", "largest", "most negative"],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_every_edge_of_a_dtype_is_drawn(condition: Any, dtype: str) -> None:
    assert is_drawn(edge_values(dtype), lambda x: x.dtype == dtype and condition(x))


@pytest.mark.parametrize(
    "condition",
    [
        lambda a: not a.flags.writeable, lambda a: a.strides[0] < 0, lambda a: abs(a.strides[-1]) > 8,
        lambda a: a.flags.f_contiguous and not a.flags.c_contiguous, lambda a: a.flags.c_contiguous,
    ],
    ids=["read-only", "reversed", "strided", "fortran", "contiguous"],
)  # fmt: skip
def test_every_kind_of_view_is_drawn(condition: Any) -> None:
    assert is_drawn(views(st.just(np.ones((2, 3)))), condition)


def some(kind: Any) -> Any:
    return lambda index: any(kind(part) for part in (index if isinstance(index, tuple) else (index,)))


@pytest.mark.parametrize(
    "condition",
    [
        some(lambda p: isinstance(p, slice) and p.step is not None and p.step < 0),
        some(lambda p: p is None),
        some(lambda p: p is Ellipsis),
        some(lambda p: isinstance(p, np.ndarray) and p.dtype == bool),
        some(lambda p: isinstance(p, np.ndarray) and p.dtype == np.int64 and np.any(p < 0)),
        some(lambda p: isinstance(p, np.ndarray) and p.dtype == np.int64 and len(set(p.ravel())) < p.size),
        lambda index: isinstance(index, list),
        lambda index: isinstance(index, tuple) and isinstance(index[0], np.ndarray) and None in index[1:],
    ],
    ids=["negative step", "newaxis", "ellipsis", "mask", "negative", "repeated", "list", "mixed"],
)
def test_every_kind_of_index_is_drawn(condition: Any) -> None:
    assert is_drawn(indices((2, 3)), condition)


@given(data=st.data())
def test_every_index_that_is_drawn_fits_the_shape(data: st.DataObject) -> None:
    shape = data.draw(shapes())
    np.zeros(shape)[data.draw(indices(shape))]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 2)], ids=str)
def test_a_layout_has_the_same_values_in_memory_of_its_own(layout: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    view = laid_out(array, layout)
    np.testing.assert_array_equal(view, array, strict=True)
    assert not np.shares_memory(view, array)


def test_the_layouts_are_what_they_are_called() -> None:
    array = np.ones((2, 3))
    assert laid_out(array, "fortran").flags.f_contiguous
    assert laid_out(array, "strided").strides == (96, 16)
    assert laid_out(array, "reversed").strides == (-24, -8)
    assert not laid_out(array, "read-only").flags.writeable


def test_an_unknown_layout_is_an_error() -> None:
    with pytest.raises(ValueError, match="layout='odd'; expected one of contiguous"):
        laid_out(np.ones(2), "odd")


def test_samples_of_an_unknown_family_are_refused() -> None:
    op = Op("odd", np.exp, "general", rules=(None,), samples="whatever")
    with pytest.raises(ValueError, match="'odd' has samples 'whatever'"):
        find(op_inputs(op), lambda call: True)


# ---- check_op, on an operation of one's own --------------------------------------------------------------


def cube(rule: Any, samples: Any = "broadcast") -> Op:
    return Op("cube", lambda x: x**3, "elementwise", rules=(rule,), samples=samples, broadcasts=True)


def test_check_op_accepts_a_right_operation_that_is_not_registered() -> None:
    check_op(cube(lambda g, out, x: 3 * g * x**2), max_examples=10)
    assert "cube" not in REGISTRY


def test_check_op_finds_a_wrong_rule_and_names_operation_and_call(monkeypatch: Any) -> None:
    monkeypatch.setattr(properties, "PATIENCE", 0.5)
    with pytest.raises(GradientError) as caught:
        check_op(cube(lambda g, out, x: 2 * g * x**2, (Sample(((2,),)),)), max_examples=10)
    assert "while checking 'first_order' of operation 'cube'" in "\n".join(caught.value.__notes__)


def test_check_op_can_be_asked_for_one_property() -> None:
    check_op(cube(lambda g, out, x: 2 * g * x**2), max_examples=5, properties=["value", "inputs_unchanged"])


def test_check_op_is_the_same_every_time() -> None:
    seen: list[list[Any]] = [[], []]
    for calls in seen:

        def forward(x: Any, calls: list[Any] = calls) -> Any:
            calls.append(x.tolist())
            return x**3

        op = Op("cube", forward, "elementwise", rules=(lambda g, out, x: 3 * g * x**2,), samples="broadcast")
        check_op(op, max_examples=5, properties=["gradient_shapes"])
    assert seen[0] == seen[1]
