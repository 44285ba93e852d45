"""Every public callable of NumPy and every method of an ndarray is decided on, and does what was decided."""

import warnings
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np
import pytest

from scripts import make_coverage as coverage
from tests.ops.calls import CALLS, CONSTANT_CALLS, IN_PLACE, A, Call, call
from tinygrad_mnist import Tensor
from tinygrad_mnist.engine.op import FUNCTIONS, UFUNCS, UNSUPPORTED
from tinygrad_mnist.testing import gradcheck

TABLE = coverage.decisions()


def named(state: str, of: str = "") -> list[Any]:
    """Decisions of one state, with one parameter id a name."""
    return [
        pytest.param(decision, id=decision.name)
        for decision in TABLE
        if decision.state == state and decision.name.startswith("ndarray.") == (of == "ndarray")
    ]


def numpys(name: str) -> Any:
    """NumPy's function of that name; None where this release has none."""
    return reduce(lambda place, part: getattr(place, part, None), name.split("."), np)


def calls_of(name: str, table: dict[str, tuple[Call, ...]]) -> tuple[Call, ...]:
    """The calls of a function, also under another name of it."""
    function = numpys(name)
    for known, calls in table.items():
        if known == name or numpys(known) is function:
            return calls
    return table.get(name.removeprefix("linalg."), (call(A),))


def is_array(value: Any, kinds: str) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in kinds


def arrays_in(value: Any, kinds: str = "f") -> list[Any]:
    """The arrays of these kinds of dtype among arguments, in order."""
    if isinstance(value, (list, tuple)):
        return [part for item in value for part in arrays_in(item, kinds)]
    return [value] if is_array(value, kinds) else []


def replaced(value: Any, kinds: str, substitutes: Any) -> Any:
    """Arguments with the next substitute in the place of each of these arrays."""
    if isinstance(value, (list, tuple)):
        return type(value)(replaced(item, kinds, substitutes) for item in value)
    return next(substitutes) if is_array(value, kinds) else value


def on(function: Callable[..., Any], given: Call, kinds: str = "f") -> tuple[Callable[..., Any], list[Any]]:
    """A call as a function of its arrays of these kinds of dtype (floats), and these."""
    keys = list(given.kwargs)
    everything = [*given.args, *given.kwargs.values()]

    def of_arrays(*arrays: Any) -> Any:
        arguments = replaced(everything, kinds, iter(arrays))
        count = len(given.args)
        return function(*arguments[:count], **dict(zip(keys, arguments[count:], strict=True)))

    return of_arrays, arrays_in(everything, kinds)


def leaves_of(arrays: list[Any]) -> list[Tensor]:
    return [Tensor(value.copy(), requires_grad=value.dtype.kind == "f") for value in arrays]


def parts(result: Any) -> tuple[Any, ...]:
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def assert_same(got: Any, expected: Any) -> None:
    """Same structure, shapes, dtypes and values; a Tensor for each array."""
    assert len(parts(got)) == len(parts(expected))
    for one, other in zip(parts(got), parts(expected), strict=True):
        if isinstance(other, (list, tuple)):
            assert_same(one, other)
            continue
        if isinstance(other, (np.ndarray, np.floating)):
            assert isinstance(one, Tensor), f"{type(one).__name__} for {type(other).__name__}"
            assert one.shape == np.shape(other)
            assert one.dtype == np.asarray(other).dtype
            rtol = 1e-12 if one.dtype == np.float64 else 1e-5
            np.testing.assert_allclose(one.data, other, rtol=rtol, atol=1e-14)
        else:
            assert one == other or (isinstance(one, Tensor) and one.item() == other)


# ---- all is decided --------------------------------------------------------------------------------------


def test_nothing_is_undecided() -> None:
    assert [decision.name for decision in TABLE if decision.state == "undecided"] == []


def test_every_public_callable_of_numpy_is_in_the_table() -> None:
    names = {decision.name for decision in TABLE}
    for prefix, module in (("", np), ("linalg.", np.linalg), ("fft.", np.fft), ("ndarray.", np.ndarray)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            public = {n for n in dir(module) if not n.startswith("_") and callable(getattr(module, n, None))}
        assert {f"{prefix}{name}" for name in public} <= names


def test_a_new_function_of_numpy_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "frobnicate", lambda x: x, raising=False)
    assert [one.name for one in coverage.decisions() if one.state == "undecided"] == ["frobnicate"]


def test_a_new_method_of_arrays_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Tensor, "sort")
    monkeypatch.delitem(UNSUPPORTED, "ndarray.sort")
    assert [one.name for one in coverage.decisions() if one.state == "undecided"] == ["ndarray.sort"]


def contradictions() -> list[str]:
    """Return names that are decided more than once, or that are refused though Tensors run them."""
    listed = [name for names in coverage.NOT_DISPATCHED.values() for name in names]
    done = {
        coverage.called(function) for function in (*FUNCTIONS, *UFUNCS) if hasattr(function, "__module__")
    }
    methods = {f"ndarray.{name}" for name in vars(Tensor)}
    refused = {name for name in UNSUPPORTED if not name.startswith("ndarray.")}
    kept = {
        name
        for name in UNSUPPORTED
        if name in methods and "Not supported" not in str(getattr(Tensor, name[8:]).__doc__)
    }
    repeated = {name for name in listed if listed.count(name) > 1}
    return sorted(repeated | (done & refused) | (refused & set(listed)) | kept)


def test_a_function_is_decided_once() -> None:
    assert contradictions() == []


def test_at_least_two_hundred_callables_are_differentiable() -> None:
    distinct = {
        numpys(one.name) for one in TABLE if one.state == "differentiable" and "ndarray" not in one.name
    }
    assert len(distinct) >= 200


def test_the_page_of_the_documentation_is_up_to_date() -> None:
    written = coverage.TARGET.read_text("utf-8")
    if f"NumPy {coverage.version()}:" not in written:
        pytest.skip("the page is about another release of NumPy")
    assert written == coverage.page(), "run scripts/make_coverage.py"


def test_every_call_in_the_tables_is_of_a_function_that_has_that_state() -> None:
    states = {decision.name: decision.state for decision in TABLE}
    assert {states.get(name) for name in (*CALLS, *IN_PLACE)} - {None} == {
        "differentiable",
        "piecewise constant",
    }
    assert {states[name] for name in CONSTANT_CALLS} == {"piecewise constant"}


NARROWER = {"vander"}
"""Functions that keep float32, which NumPy widens by an integer on its way."""

# ---- differentiable --------------------------------------------------------------------------------------

DIFFERENTIABLE = [param for param in named("differentiable") if param.values[0].name not in IN_PLACE]


@pytest.mark.parametrize("decision", DIFFERENTIABLE)
def test_a_differentiable_function_has_numpys_value(decision: coverage.Decision) -> None:
    for given in calls_of(decision.name, CALLS):
        function, floats = on(numpys(decision.name), given)
        out = function(*leaves_of(floats))
        assert_same(out, function(*floats))
        assert any(one.requires_grad for one in parts(out) if isinstance(one, Tensor))


@pytest.mark.parametrize("decision", DIFFERENTIABLE)
def test_a_differentiable_function_keeps_numpys_dtype_in_float32(decision: coverage.Decision) -> None:
    for given in calls_of(decision.name, CALLS):
        function, floats = on(numpys(decision.name), given)
        narrow = [value.astype(np.float32) for value in floats]
        leaves = leaves_of(narrow)
        out = function(*leaves)
        for one, other in zip(parts(out), parts(function(*narrow)), strict=True):
            if isinstance(one, Tensor):
                assert one.dtype == (np.float32 if decision.name in NARROWER else np.asarray(other).dtype)
        of_floats(out).backward()
        assert {leaf.grad.dtype for leaf in leaves if leaf.grad is not None} <= {np.dtype(np.float32)}


def of_floats(out: Any) -> Tensor:
    """The sum of all results that have a gradient."""
    recorded = [one for one in parts(out) if isinstance(one, Tensor) and one.requires_grad]
    return reduce(np.add, [np.sum(one) for one in recorded])


@pytest.mark.parametrize("decision", DIFFERENTIABLE)
def test_a_differentiable_function_has_the_right_first_and_second_derivative(
    decision: coverage.Decision,
) -> None:
    for given in calls_of(decision.name, CALLS):
        function, floats = on(numpys(decision.name), given)
        finite = [np.where(np.isnan(value), 0.5, value) for value in floats]
        holes = [np.isnan(value) for value in floats]
        which = [
            i
            for i, one in enumerate(parts(function(*leaves_of(floats))))
            if isinstance(one, Tensor) and one.requires_grad and one.dtype == np.float64
        ]
        if which:
            gradcheck(
                partial(results, function, which, holes), *finite, order=2, atol=1e-12
            )  # rounding of zeros


def results(
    function: Callable[..., Any], which: list[int], holes: list[Any], *values: Any
) -> tuple[Any, ...]:
    """Some of the results of a function, of values with holes in them."""
    given = [
        np.where(hole, np.nan, value) if hole.any() else value
        for hole, value in zip(holes, values, strict=True)
    ]
    out = parts(function(*given))
    return tuple(out[i] for i in which)


@pytest.mark.parametrize(("name", "given"), IN_PLACE.items())
def test_a_function_that_writes_is_differentiated_on_a_result(name: str, given: Call) -> None:
    def written(*floats: Any) -> Any:
        target = floats[0] * 1.0
        function, _ = on(numpys(name), given)
        assert function(target, *floats[1:]) is None
        return target

    floats = arrays_in(list(given.args))
    expected = written(*floats)
    np.testing.assert_array_equal(written(*leaves_of(floats)).data, expected)
    gradcheck(written, *floats, order=2)


@pytest.mark.parametrize(("name", "given"), IN_PLACE.items())
def test_a_function_that_writes_is_refused_on_a_leaf(name: str, given: Call) -> None:
    function, floats = on(numpys(name), given)
    with pytest.raises(TypeError, match="requires a gradient"):
        function(*leaves_of(floats))


@pytest.mark.parametrize(("name", "given"), IN_PLACE.items())
def test_a_function_that_writes_does_not_detach_into_an_array(name: str, given: Call) -> None:
    function, floats = on(numpys(name), given)
    before = floats[0].copy()
    with pytest.raises(TypeError):
        function(floats[0], *leaves_of(floats[1:]))
    np.testing.assert_array_equal(floats[0], before)


# ---- piecewise constant ----------------------------------------------------------------------------------


@pytest.mark.parametrize("decision", named("piecewise constant"))
def test_a_piecewise_constant_function_has_numpys_value_and_no_gradient(decision: coverage.Decision) -> None:
    if decision.name in ("isnat", "empty_like"):
        pytest.skip("dates are no Tensors; what is empty has no value")
    for given in calls_of(decision.name, CONSTANT_CALLS):
        function, arrays = on(numpys(decision.name), given, kinds="fbiu")
        out = function(*leaves_of(arrays))
        assert_same(out, function(*arrays))
        assert not any(isinstance(one, Tensor) and one.requires_grad for one in parts(out))


# ---- not supported ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("decision", named("not supported"))
def test_a_refused_function_raises_a_type_error_that_names_it_and_says_what_to_use(
    decision: coverage.Decision,
) -> None:
    x = Tensor(A, requires_grad=True)
    messages = []
    for arguments in ((x,), (x, x), (x, 1), ("name", x), (x, x, 2), ((2, 2), x)):
        try:
            numpys(decision.name)(*arguments)
        except TypeError as error:
            messages.append(str(error))
        except (ValueError, DeprecationWarning):  # the arguments of some other function
            continue
        else:
            pytest.fail(f"{decision.name} of {len(arguments)} arguments is not refused")
    name = coverage.called(numpys(decision.name))
    named = [message for message in messages if f"numpy.{name} has no gradient rule" in message]
    assert named, messages
    assert all(decision.note in message for message in named)


@pytest.mark.parametrize("decision", named("not supported", of="ndarray"))
def test_a_refused_method_raises_a_type_error_that_names_it(decision: coverage.Decision) -> None:
    method = decision.name.removeprefix("ndarray.")
    with pytest.raises(TypeError, match=rf"numpy.ndarray.{method} has no gradient"):
        getattr(Tensor(A, requires_grad=True), method)(1)


# ---- not dispatched --------------------------------------------------------------------------------------

UNSAFE = {
    "empty", "ndarray",  # what they return is whatever the memory held
    "test", "info", "show_config", "show_runtime", "seterr", "seterrcall", "setbufsize", "set_printoptions",
}  # fmt: skip


@pytest.mark.parametrize("decision", named("not dispatched"))
def test_a_function_that_numpy_does_not_dispatch_raises_or_returns_no_detached_array(
    decision: coverage.Decision,
) -> None:
    function = numpys(decision.name)
    assert not isinstance(function, np.ufunc)
    assert not hasattr(function, "_implementation"), "NumPy dispatches it"
    if decision.name in UNSAFE or decision.name.startswith(
        tuple(f"{m}.{n}" for m in ("linalg", "fft") for n in UNSAFE)
    ):
        pytest.skip("it prints, sets something for the whole process, or returns what the memory held")
    vector, scalar = Tensor(np.array([1.5, 2.5]), requires_grad=True), Tensor(1.5, requires_grad=True)
    for arguments in (
        (vector,),
        (scalar,),
        ([vector, vector],),
        ((scalar, scalar),),
        (3, scalar),
        (scalar, scalar),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                out = function(*arguments)
            except (TypeError, ValueError, AttributeError, BufferError, OSError, LookupError):
                continue
        if decision.note != coverage.AS_FLOAT:
            assert not detached(out), f"{decision.name} returned {out!r}"


def detached(out: Any) -> bool:
    """Return whether a result holds a Tensor's numbers without their gradient, or the Tensor as an object."""
    if isinstance(out, (tuple, list)):
        return any(detached(one) for one in out)
    array = isinstance(out, (np.ndarray, np.generic))
    return array and (
        out.dtype == object or (out.dtype.kind in "fc" and bool(np.any(np.isin(out, [1.5, 2.5]))))
    )


def test_where_numpy_does_not_ask_the_message_says_what_to_do() -> None:
    x = Tensor(A, requires_grad=True)
    for function in (
        np.array,
        np.asarray,
        lambda x: np.array([x, x]),
        lambda x: np.r_[x],
        lambda x: np.c_[x],
    ):
        with pytest.raises(TypeError, match=r"detach\(\).*np\.stack"):
            function(x)


# ---- methods of ndarrays and of ufuncs -------------------------------------------------------------------


@pytest.mark.parametrize(
    "ufunc", [f for f in UFUNCS if f.nin == 2 and f.signature is None], ids=lambda f: f.__name__
)
def test_outer_is_that_of_numpy(ufunc: Any) -> None:
    a, b = A, A[0] + 0.5
    if not any("d" in types for types in ufunc.types):  # of integers
        a, b = np.array([[12, 18, 7]]), np.array([2, 3])
    b = np.array([1, 2]) if ufunc is np.ldexp else b
    np.testing.assert_allclose(ufunc.outer(Tensor(a), Tensor(b)).data, ufunc.outer(a, b), rtol=1e-14)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (np.add.reduce, {}), (np.add.reduce, {"axis": None}), (np.add.reduce, {"axis": (0, 1)}),
        (np.multiply.reduce, {"axis": 1, "keepdims": True}), (np.maximum.reduce, {}),
        (np.minimum.reduce, {"axis": 1}), (np.add.accumulate, {}), (np.add.accumulate, {"axis": 1}),
        (np.multiply.accumulate, {"axis": -1}),
    ],
)  # fmt: skip
def test_reduce_and_accumulate_of_a_ufunc_are_differentiated(method: Any, options: dict[str, Any]) -> None:
    np.testing.assert_allclose(method(Tensor(A), **options).data, method(A, **options), rtol=1e-14)
    gradcheck(lambda x: method(x, **options), A, order=2)
