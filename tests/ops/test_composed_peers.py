"""PyTorch agrees on value, gradient and gradient of the gradient of what is composed of operations, too."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.make_coverage import decisions
from tests.ops.derivatives import ours, theirs
from tests.ops.test_linalg_peers import CASES
from tinygrad_mnist.engine.op import FUNCTIONS, REGISTRY, Domain, Op
from tinygrad_mnist.testing.strategies import arrays_in

pytestmark = pytest.mark.peers

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")

INDEX = np.array([[2, 0], [1, 1]])
ONCE = np.array([[2, 0], [3, 1]])
MASK = np.array([[True, False, True], [False, False, True]])
GRID = np.array([0.0, 0.5, 1.25, 3.0])
HOLES = np.where(MASK, 0.0, np.nan)


def t(array: Any) -> Any:
    return torch.tensor(array)


def joined(parts: Any) -> Any:
    """Several results as one sequence."""
    if isinstance(parts[0], torch.Tensor):
        return torch.cat([part.ravel() for part in parts])
    return np.concatenate([np.ravel(part) for part in parts])


def written(write: Any, x: Any, value: Any) -> Any:
    """A copy that a function of NumPy has written into."""
    out = x * 1
    write(out, value)
    return out


def alike(name: str, *shapes: tuple[int, ...], of: Any = np, by: Any = torch) -> tuple[Any, ...]:
    """A function that has the same name and arguments in both."""
    return getattr(of, name), getattr(by, name), *shapes


def stacked(name: str, *shapes: tuple[int, ...]) -> tuple[Any, ...]:
    """One of a sequence of arrays."""
    f, g = getattr(np, name), getattr(torch, name)
    return lambda *x: f(x), lambda *x: g(x), *shapes


def in_parts(name: str, where: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """One that returns several arrays."""
    f, g = getattr(np, name), getattr(torch, "tensor_split" if name.endswith("_split") else name)
    return lambda x: joined(f(x, where)), lambda x: joined(g(x, where)), shape


M, N, A, B, V, W = (3, 3), (2, 2), (2, 3), (2, 3), (4,), (3,)
CUBE = (2, 3, 2)

# The function, PyTorch's, and the shapes of the arguments. What follows a comma in a name tells calls apart.
PEERS: dict[str, tuple[Any, ...]] = {
    # products
    "dot": alike("dot", V, V),
    "inner": alike("inner", A, (4, 3)),
    "kron": alike("kron", A, N),
    "outer": alike("outer", V, W),
    "matvec": (np.matvec, torch.mv, A, W),
    "vecmat": (np.vecmat, lambda v, a: v @ a, (2,), A),
    "vdot": alike("vdot", V, V),
    "vecdot": (np.vecdot, torch.linalg.vecdot, A, B),
    "tensordot": alike("tensordot", (2, 3, 2), (3, 2, 2)),
    "cross": (np.cross, torch.linalg.cross, A, B),
    "correlate": (
        np.correlate, lambda x, v: torch.nn.functional.conv1d(x[None, None], v[None, None])[0, 0], V, (2,),
    ),
    "vander": (np.vander, lambda x: torch.stack([x * x, x, torch.ones_like(x)], 1), W),  # its own fails
    **{
        f"linalg.{name}": alike(name, *shapes, of=np.linalg, by=torch.linalg)
        for name, shapes in (
            ("cross", (A, B)), ("diagonal", (CUBE,)), ("vecdot", (A, B)), ("vector_norm", (A,)),
            ("matmul", (A, (3, 2))),
        )
    },
    "linalg.matrix_transpose": (np.linalg.matrix_transpose, lambda x: x.mT, CUBE),
    "linalg.multi_dot": (
        lambda *x: np.linalg.multi_dot(x), lambda *x: torch.linalg.multi_dot(x), A, (3, 4), (4, 2),
    ),
    "linalg.outer": (np.linalg.outer, torch.outer, V, W),
    "linalg.tensordot": (np.linalg.tensordot, torch.tensordot, (2, 3, 2), (3, 2, 2)),
    "linalg.tensorsolve": (
        lambda a, b: np.linalg.tensorsolve(a + 20 * np.eye(4).reshape(2, 2, 2, 2), b),
        lambda a, b: torch.linalg.tensorsolve(a + 20 * torch.eye(4).reshape(2, 2, 2, 2), b),
        (2, 2, 2, 2), N,
    ),
    "linalg.trace": (np.linalg.trace, torch.trace, M),
    # diagonals and triangles
    "diag": alike("diag", V), "diag, of a matrix": alike("diag", M),
    "diagflat": alike("diagflat", A), "diagonal": alike("diagonal", A), "trace": alike("trace", M),
    "tril": alike("tril", A), "triu": alike("triu", A),
    # shapes
    **{name: alike(name, V) for name in ("atleast_1d", "atleast_2d", "atleast_3d")},
    "broadcast_arrays": (
        lambda *x: joined(np.broadcast_arrays(*x)), lambda *x: joined(torch.broadcast_tensors(*x)), A, W,
    ),
    "expand_dims": (lambda x: np.expand_dims(x, 1), lambda x: x.unsqueeze(1), A),
    "squeeze": alike("squeeze", (2, 1, 3)),
    "ravel": alike("ravel", A),
    "real": alike("real", A),
    "copy": (np.copy, torch.clone, A),
    "moveaxis": (lambda x: np.moveaxis(x, 0, -1), lambda x: torch.moveaxis(x, 0, -1), CUBE),
    "rollaxis": (lambda x: np.rollaxis(x, 2), lambda x: torch.movedim(x, 2, 0), CUBE),
    "swapaxes": (lambda x: np.swapaxes(x, 0, 2), lambda x: torch.swapaxes(x, 0, 2), CUBE),
    "permute_dims": (
        lambda x: np.permute_dims(x, (1, 2, 0)), lambda x: torch.permute(x, (1, 2, 0)), CUBE,
    ),
    "matrix_transpose": (np.matrix_transpose, lambda x: x.mT, CUBE),
    "fliplr": alike("fliplr", A), "flipud": alike("flipud", A),
    "rot90": (lambda x: np.rot90(x, 3), lambda x: torch.rot90(x, 3), A),
    "meshgrid": (
        lambda *x: joined(np.meshgrid(*x, indexing="ij")),
        lambda *x: joined(torch.meshgrid(*x, indexing="ij")), V, W,
    ),
    **{
        name: stacked(name, A, B)
        for name in ("stack", "hstack", "vstack", "dstack", "column_stack", "concat")
    },
    "append": (lambda *x: np.append(*x, axis=0), lambda *x: torch.cat(x), A, B),
    "array_split": in_parts("array_split", 3, V),
    "hsplit": in_parts("hsplit", 3, A), "vsplit": in_parts("vsplit", 2, A),
    "dsplit": in_parts("dsplit", 2, CUBE),
    "split": (lambda x: joined(np.split(x, 2)), lambda x: joined(torch.split(x, 2)), V),
    "unstack": (lambda x: joined(np.unstack(x)), lambda x: joined(torch.unbind(x)), A),
    # moved elements
    "roll": (lambda x: np.roll(x, 1, 1), lambda x: torch.roll(x, 1, 1), A),
    "roll, of all": (lambda x: np.roll(x, -2), lambda x: torch.roll(x, -2), A),
    "repeat": (lambda x: np.repeat(x, 2, 0), lambda x: torch.repeat_interleave(x, 2, 0), A),
    "tile": (lambda x: np.tile(x, (2, 2)), lambda x: torch.tile(x, (2, 2)), A),
    "take": (lambda x: np.take(x, INDEX), lambda x: torch.take(x, t(INDEX)), A),
    "take_along_axis": (
        lambda x: np.take_along_axis(x, INDEX, 1), lambda x: torch.take_along_dim(x, t(INDEX), 1), A,
    ),
    "compress": (
        lambda x: np.compress(MASK[0], x, 1), lambda x: torch.index_select(x, 1, t([0, 2])), A,
    ),
    "extract": (lambda x: np.extract(MASK, x), lambda x: torch.masked_select(x, t(MASK)), A),
    "select": (
        lambda x, y: np.select([MASK], [x], y), lambda x, y: torch.where(t(MASK), x, y), A, B,
    ),
    # sorted
    "sort": (lambda x: np.sort(x, 0), lambda x: torch.sort(x, 0).values, A),
    "partition": (
        lambda x: np.partition(x, 1)[..., 1], lambda x: torch.kthvalue(x, 2).values, A,
    ),
    "median": (np.median, lambda x: torch.quantile(x, 0.5), (6,)),
    "median, of rows": (lambda x: np.median(x, 1), lambda x: torch.median(x, 1).values, A),
    "quantile": (lambda x: np.quantile(x, 0.3, 1), lambda x: torch.quantile(x, 0.3, 1), A),
    "percentile": (lambda x: np.percentile(x, 77), lambda x: torch.quantile(x, 0.77), A),
    "ptp": (lambda x: np.ptp(x, 1), lambda x: torch.amax(x, 1) - torch.amin(x, 1), A),
    "amax": (lambda x: np.amax(x, 1), lambda x: torch.amax(x, 1), A),
    "amin": (lambda x: np.amin(x, 1), lambda x: torch.amin(x, 1), A),
    # what is missing
    "nansum": (lambda x: np.nansum(x + HOLES, 1), lambda x: torch.nansum(x + t(HOLES), 1), A),
    "nanmean": (lambda x: np.nanmean(x + HOLES, 1), lambda x: torch.nanmean(x + t(HOLES), 1), A),
    "nanmedian": (
        lambda x: np.nanmedian(x + HOLES, 1), lambda x: torch.nanquantile(x + t(HOLES), 0.5, 1), A,
    ),
    "nanquantile": (
        lambda x: np.nanquantile(x + HOLES, 0.3, 1), lambda x: torch.nanquantile(x + t(HOLES), 0.3, 1), A,
    ),
    "nanpercentile": (
        lambda x: np.nanpercentile(x + HOLES, 30), lambda x: torch.nanquantile(x + t(HOLES), 0.3), A,
    ),
    "nan_to_num": (
        lambda x: np.nan_to_num(x + HOLES, nan=2.0), lambda x: torch.nan_to_num(x + t(HOLES), nan=2.0), A,
    ),
    # statistics, differences, sums
    "cov": alike("cov", A), "corrcoef": alike("corrcoef", (3, 4)),
    "cumulative_sum": (lambda x: np.cumulative_sum(x, axis=1), lambda x: torch.cumsum(x, 1), A),
    "cumulative_prod": (lambda x: np.cumulative_prod(x, axis=1), lambda x: torch.cumprod(x, 1), A),
    "diff": (lambda x: np.diff(x, 2), lambda x: torch.diff(x, 2), A),
    "ediff1d": (np.ediff1d, lambda x: torch.diff(x.ravel()), A),
    "gradient": (
        lambda x: np.gradient(x, GRID), lambda x: torch.gradient(x, spacing=(t(GRID),))[0], V,
    ),
    "trapezoid": alike("trapezoid", A, B),
    "trapezoid, dx": (lambda x: np.trapezoid(x, dx=0.5), lambda x: torch.trapezoid(x, dx=0.5), A),
    "float_power": (
        lambda x, y: np.float_power(x + 4, y), lambda x, y: torch.float_power(x + 4, y), A, W,
    ),
    "frexp": (lambda x: np.frexp(x)[0], lambda x: torch.frexp(x).mantissa, A),
    "modf": (lambda x: np.modf(x)[0], torch.frac, A),
    # writing
    "put": (
        lambda x, v: written(lambda y, v: np.put(y, ONCE, v), x, v),
        lambda x, v: torch.put(x, t(ONCE), v), M, N,
    ),
    "put_along_axis": (
        lambda x, v: written(lambda y, v: np.put_along_axis(y, ONCE, v, 1), x, v),
        lambda x, v: torch.scatter(x, 1, t(ONCE), v), (2, 4), N,
    ),
    "copyto": (lambda x, v: written(np.copyto, x, v), lambda x, v: x.clone().copy_(v), A, W),
    "place": (
        lambda x, v: written(lambda y, v: np.place(y, MASK, v), x, v),
        lambda x, v: torch.masked_scatter(x, t(MASK), v), A, W,
    ),
    "putmask": (
        lambda x, v: written(lambda y, v: np.putmask(y, MASK, v), x, v),
        lambda x, v: torch.where(t(MASK), v, x), A, B,
    ),
    "fill_diagonal": (
        lambda x, v: written(np.fill_diagonal, x, v), lambda x, v: torch.diagonal_scatter(x, v), M, W,
    ),
}  # fmt: skip

NO_COUNTERPART = {
    **dict.fromkeys(
        ("average", "delete", "geomspace", "insert", "interp", "polyval", "piecewise", "resize", "trim_zeros",
         "unwrap", "bincount", "choose", "block", "apply_over_axes", "apply_along_axis", "real_if_close",
         "full_like", "heaviside", "nanprod", "nancumsum", "nancumprod", "nanmax", "nanmin", "nanvar",
         "nanstd"),
        "PyTorch has none, or none that it differentiates",
    ),
    **dict.fromkeys(("linspace", "logspace"), "PyTorch's loses the graph"),
    "divmod": "its second part is remainder, its first piecewise constant",
}  # fmt: skip


def composed() -> set[str]:
    """Functions of NumPy that are differentiable without being an operation themselves."""
    found = set()
    for one in decisions():
        module, _, name = one.name.rpartition(".")
        if one.state != "differentiable" or module == "ndarray" or name in REGISTRY:
            continue
        implementation = FUNCTIONS.get(getattr(np.linalg if module else np, name))
        if implementation is not None and not isinstance(implementation, Op):
            found.add(one.name)
    return found


def test_every_composed_function_has_a_counterpart_or_a_reason() -> None:
    compared = {name.split(",")[0] for name in PEERS}
    compared |= {f"linalg.{case.split(',')[0].split()[0]}" for case in CASES}
    assert composed() - compared == NO_COUNTERPART.keys()


@pytest.mark.parametrize("name", PEERS)
@given(data=st.data())
def test_pytorch_agrees(name: str, data: st.DataObject) -> None:
    mine, other, *shapes = PEERS[name]
    primals = data.draw(arrays_in([Domain(distinct=True)] * len(shapes), shapes))
    for found, expected in zip(ours(mine, primals), theirs(other, primals), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)
