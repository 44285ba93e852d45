"""Write docs/explanation/gradient_conventions.md: gradients at kinks, here, in PyTorch and in JAX.

From the repository's root, where PyTorch and JAX are installed::

    python scripts/make_conventions.py

Every cell is what the library returned, in float64 and in float32; only the remarks are written by hand.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from textwrap import fill
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tinygrad_mnist import Tensor, nn  # noqa: E402
from tinygrad_mnist.engine.op import REGISTRY  # noqa: E402

TARGET = ROOT / "docs" / "explanation" / "gradient_conventions.md"
WIDTH = 118
LIBRARIES = {"PyTorch": "torch", "JAX": "jax"}
DTYPES = ("float64", "float32")
INF = np.inf

TITLE = "Gradients at kinks, ties and poles"
PARAGRAPHS = (
    "One rule, in order of precedence: the true derivative where it exists; for a convex function the "
    "subgradient of least norm; for a concave one the supergradient of least norm; the limit by continuity; "
    "otherwise NaN. And one rule of what was left out: an element that `where`, `select`, `clip`, `maximum`, "
    "an index or a NaN-skipping function did not choose contributes nothing to any derivative, in every mode "
    "and order, whatever is computed from it and however infinite its slopes are. That is known from the "
    "structure, not guessed from a cotangent that is 0: one that happens to be 0 times an infinite slope is "
    "NaN, as in IEEE arithmetic, in both modes, never a silent 0 where the true derivative is another. "
    "Operations with a convention of their own at a singular point (`norm`, `std`, `hypot` at 0) keep it. A "
    "function of two arguments (`maximum(x, y)`, also where y is a constant) is judged as one of both; "
    "`relu`, and `clip` at constant bounds, as one of x alone. At a kink of `abs`, `relu`, `maximum` and "
    "`clip` the second derivative is 0: they are straight on both sides. Where the slope itself is infinite, "
    "as that of `norm` at 0, the second derivative is the true one or NaN, never 0.",
    "The table holds the gradients of `sum(f)` at the point that is named, one number for each element; `;` "
    "stands between the gradients of several arguments. Every cell was measured, in reverse mode, in float64 "
    "and in float32, with {peers}, on the CPU, by `scripts/make_conventions.py`. *No gradient* is a result "
    "that asks for none. `tests/engine/test_conventions.py` measures our column again in both dtypes, the "
    "others where those releases are installed, and more cases.",
)


@dataclass(frozen=True)
class Row:
    """A case: the point, the function in each library, and what there is to say about our answer."""

    case: str
    at: Sequence[Any]
    numpy: Callable[..., Any]
    """Of NumPy's names: it serves JAX too."""
    torch: Callable[..., Any]
    remark: str = ""
    shows: Callable[[Any], str] | None = None
    """A text that stands for a gradient, in place of its numbers."""
    order: int = 1
    """2 for the gradient of the sum of the gradient: the sums of the rows of the Hessian."""


Gradients = Callable[[Row, list[Any]], "list[Any] | None"]
"""A library's gradients of a row at arrays; None where its result asks for none."""

ROWS = (
    Row(
        "`maximum(x, y)` at 2, 2", (2, 2), lambda m, x, y: m.np.maximum(x, y),
        lambda t, x, y: t.maximum(x, y),
    ),
    Row(
        "`maximum(x, 0)` at 0", (0,), lambda m, x: m.np.maximum(x, 0),
        lambda t, x: t.maximum(x, t.zeros_like(x)),
        "`relu` is the one with 0",
    ),
    Row(
        "`max` along an axis, ties: 1, 3, 3 (PyTorch: `amax`)", ([1, 3, 3],),
        lambda m, x: m.np.max(x, axis=0),
        lambda t, x: t.amax(x, dim=0), "split evenly",
    ),
    Row(
        "the same (PyTorch: `max(dim=0)`)", ([1, 3, 3],), lambda m, x: m.np.max(x, axis=0),
        lambda t, x: t.max(x, dim=0).values,
    ),
    Row(
        "`max_pool2d` of a window 1, 3, 3, 2", ([[[[1, 3], [3, 2]]]],), lambda m, x: m.nn.max_pool2d(x),
        lambda t, x: t.nn.functional.max_pool2d(x, 2), "as `max`, of which it is one in each window",
    ),
    Row("`relu` at 0", (0,), lambda m, x: m.nn.relu(x), lambda t, x: t.relu(x)),
    Row("`relu` at NaN", (np.nan,), lambda m, x: m.nn.relu(x), lambda t, x: t.relu(x)),
    Row(
        "`maximum(x, 0)` at NaN", (np.nan,), lambda m, x: m.np.maximum(x, 0),
        lambda t, x: t.maximum(x, t.zeros_like(x)),
    ),
    Row("`abs` at 0", (0,), lambda m, x: m.np.abs(x), lambda t, x: t.abs(x)),
    Row("`sqrt` at 0", (0,), lambda m, x: m.np.sqrt(x), lambda t, x: t.sqrt(x)),
    Row("`0 * sqrt(x)` at 0", (0,), lambda m, x: 0 * m.np.sqrt(x), lambda t, x: 0 * t.sqrt(x), "0 by value"),
    Row(
        "`sqrt(x) ** 2` at 0", (0,), lambda m, x: m.np.sqrt(x) ** 2, lambda t, x: t.sqrt(x) ** 2,
        "0 by value; the true one is 1",
    ),
    Row(
        "`exp(sum(log(x)))` at 0, 3", ([0, 3],), lambda m, x: m.np.exp(m.np.sum(m.np.log(x))),
        lambda t, x: t.exp(t.sum(t.log(x))), "the true one is 3, 0",
    ),
    Row(
        "`where(x > 0, log(x), 0)` at -1, 0, 2", ([-1, 0, 2],),
        lambda m, x: m.np.where(x > 0, m.np.log(x), 0),
        lambda t, x: t.where(x > 0, t.log(x), 0), "not chosen",
    ),
    Row(
        "`where(x > 0, x * log(x), 0)` at 0, 1", ([0, 1],),
        lambda m, x: m.np.where(x > 0, x * m.np.log(x), 0),
        lambda t, x: t.where(x > 0, x * t.log(x), 0), "not chosen",
    ),
    Row(
        "`where(x > 0, log(x) ** 2, 0)` at 0, 1", ([0, 1],),
        lambda m, x: m.np.where(x > 0, m.np.log(x) ** 2, 0),
        lambda t, x: t.where(x > 0, t.log(x) ** 2, 0), "not chosen",
    ),
    Row(
        "`nanmean(x * x)` of NaN, 1, 3", ([np.nan, 1, 3],), lambda m, x: m.np.nanmean(x * x),
        lambda t, x: t.nanmean(x * x), "not chosen",
    ),
    Row(
        "`where(x < 10, exp(x), x)` at 2000", (2000,), lambda m, x: m.np.where(x < 10, m.np.exp(x), x),
        lambda t, x: t.where(x < 10, t.exp(x), x),
        "not chosen; `expm1`, `exp2`, `sinh`, `cosh`, `i0` likewise",
    ),
    Row(
        "`norm` at 0, 0", ([0, 0],), lambda m, x: m.np.linalg.norm(x), lambda t, x: t.linalg.vector_norm(x),
    ),
    Row(
        "`std` of constant input", ([2, 2, 2],), lambda m, x: m.np.std(x),
        lambda t, x: t.std(x, correction=0),
    ),
    Row(
        "`var(ddof=1)` of one element", ([3],), lambda m, x: m.np.var(x, ddof=1),
        lambda t, x: t.var(x, correction=1), "with a RuntimeWarning, as NumPy",
    ),
    Row("`x ** 0` at 0, d/dx", (0,), lambda m, x: x**0, lambda t, x: x**0),
    Row(
        "`0 ** y` at 2, 0, -1, d/dy", ([2, 0, -1],), lambda m, y: m.np.power(m.np.zeros(3, y.dtype), y),
        lambda t, y: t.pow(t.zeros_like(y), y),
    ),
    Row("`(-2.0) ** y` at 2, d/dy", (2,), lambda m, y: (-2.0) ** y, lambda t, y: (-2.0) ** y),
    Row(
        "`prod` of 2, 0, 3", ([2, 0, 3],), lambda m, x: m.np.prod(x),
        lambda t, x: t.prod(x), "exclusive products",
    ),
    Row("`prod` of 2, 0, 0", ([2, 0, 0],), lambda m, x: m.np.prod(x), lambda t, x: t.prod(x)),
    Row(
        "`cumprod` of 2, 0, 3", ([2, 0, 3],), lambda m, x: m.np.cumprod(x), lambda t, x: t.cumprod(x, 0),
        "without a division",
    ),
    Row(
        "`logsumexp` of -inf, -inf", ([-INF, -INF],), lambda m, x: m.nn.logsumexp(x),
        lambda t, x: t.logsumexp(x, 0),
        "the value is -inf: a masked row contributes nothing",
    ),
    Row(
        "`logsumexp` of inf, 1", ([INF, 1],), lambda m, x: m.nn.logsumexp(x), lambda t, x: t.logsumexp(x, 0),
        "the limit",
    ),
    Row(
        "`logsumexp` of inf, inf, 1", ([INF, INF, 1],), lambda m, x: m.nn.logsumexp(x),
        lambda t, x: t.logsumexp(x, 0), "no limit between the two",
    ),
    Row(
        "`logaddexp(x, y)` at -inf, -inf", (-INF, -INF), lambda m, x, y: m.np.logaddexp(x, y),
        lambda t, x, y: t.logaddexp(x, y), "as `logsumexp`",
    ),
    Row(
        "`logaddexp(x, y)` at inf, 1", (INF, 1), lambda m, x, y: m.np.logaddexp(x, y),
        lambda t, x, y: t.logaddexp(x, y), "the limit",
    ),
    Row(
        "`logaddexp(x, y)` at inf, inf", (INF, INF), lambda m, x, y: m.np.logaddexp(x, y),
        lambda t, x, y: t.logaddexp(x, y),
    ),
    *(
        Row(
            f"`{name}` at 0.5", (0.5,), lambda m, x, name=name: getattr(m.np, name)(x),
            lambda t, x, name=name: getattr(t, name)(x), "piecewise constant",
        )
        for name in ("sign", "floor", "round")
    ),
    Row(
        "comparisons: `1.0 * (x > 0)` at 0.5", (0.5,), lambda m, x: 1.0 * (x > 0), lambda t, x: 1.0 * (x > 0),
        "piecewise constant",
    ),
    Row(
        "`1.0 * argmax(x)` of 1, 2", ([1, 2],), lambda m, x: 1.0 * m.np.argmax(x),
        lambda t, x: 1.0 * t.argmax(x),
        "piecewise constant",
    ),
    Row(
        "`log_softmax` at 1e4, 0, the second", ([1e4, 0],), lambda m, x: m.nn.log_softmax(x)[1],
        lambda t, x: t.log_softmax(x, 0)[1], "stable",
    ),
    Row(
        "`clip(x, -1, 1)` at -1, 1", ([-1, 1],), lambda m, x: m.np.clip(x, -1, 1),
        lambda t, x: t.clip(x, -1, 1),
        "`x` alone moves: the least subgradient",
    ),
    Row(
        "`clip(x, low, 9)` at 1, 1", (1, 1), lambda m, x, low: m.np.clip(x, low, 9),
        lambda t, x, low: t.clip(x, low, t.full_like(x, 9)), "both may move: an even split",
    ),
    Row(
        "`sort` of 2, 1, 1, the first", ([2, 1, 1],), lambda m, x: m.np.sort(x)[0],
        lambda t, x: t.sort(x, stable=True).values[0], "the stable permutation; PyTorch with `stable=True`",
    ),
    Row(
        "`median` of 1, 1, 1", ([1, 1, 1],), lambda m, x: m.np.median(x), lambda t, x: t.median(x),
        "the element that NumPy chose",
    ),
    Row(
        "`median` of 4, 1, 2, 3", ([4, 1, 2, 3],), lambda m, x: m.np.median(x), lambda t, x: t.median(x),
        "the middle two; PyTorch's median is the lower of them",
    ),
    Row(
        "empty arrays: `exp` of shape (0, 3)", (np.zeros((0, 3)),), lambda m, x: m.np.exp(x),
        lambda t, x: t.exp(x), shows=lambda g: f"shape {tuple(g.shape)}",
    ),
    Row("`max` of an empty array", ([],), lambda m, x: m.np.max(x), lambda t, x: t.max(x), "as NumPy"),
    Row(
        "0-d arrays: `exp` of shape ()", (0.5,), lambda m, x: m.np.exp(x), lambda t, x: t.exp(x),
        shows=lambda g: f"shape {tuple(g.shape)}",
    ),
    Row(
        "repeated indices `x[[0, 0]]` of 1, 2", ([1, 2],), lambda m, x: x[np.array([0, 0])],
        lambda t, x: x[[0, 0]], "they accumulate",
    ),
    Row(
        "batch norm, batch of 1, training", ([[1, 2]],), lambda m, x: m.nn.BatchNorm1d(2)(x),
        lambda t, x: t.nn.functional.batch_norm(x, None, None, training=True),
        "it suggests `drop_last`; evaluation works",
    ),
    Row("`sinc` at 0", (0,), lambda m, x: m.np.sinc(x), lambda t, x: t.sinc(x)),
    Row(
        "`arctan2(y, x)` at 0, 0", (0, 0), lambda m, y, x: m.np.arctan2(y, x),
        lambda t, y, x: t.arctan2(y, x),
    ),
    *(
        Row(f"second derivative of {case}", at, ours, torchs, remark, order=2)
        for case, at, ours, torchs, remark in (
            (
                "`norm(x) ** 2 / 2` at 0, 0", ([0, 0],), lambda m, x: m.np.linalg.norm(x) ** 2 / 2,
                lambda t, x: t.linalg.vector_norm(x) ** 2 / 2, "the true one is 1",
            ),
            (
                "`hypot(x, y) ** 2 / 2` at 0, 0", (0, 0), lambda m, x, y: m.np.hypot(x, y) ** 2 / 2,
                lambda t, x, y: t.hypot(x, y) ** 2 / 2, "the true one is 1",
            ),
            (
                "`std(x) ** 2` of 2, 2", ([2, 2],), lambda m, x: m.np.std(x) ** 2,
                lambda t, x: t.std(x, correction=0) ** 2, "each row of the true one sums to 0",
            ),
            (
                "`sqrt(sum(x * x)) ** 2 / 2` at 0, 0", ([0, 0],),
                lambda m, x: m.np.sqrt(m.np.sum(x * x)) ** 2 / 2,
                lambda t, x: t.sqrt(t.sum(x * x)) ** 2 / 2, "the true one is 1",
            ),
            ("`abs` at 0", (0,), lambda m, x: m.np.abs(x), lambda t, x: t.abs(x), "straight on both sides"),
            (
                "`abs(x) ** 2 / 2` at 0", (0,), lambda m, x: m.np.abs(x) ** 2 / 2,
                lambda t, x: t.abs(x) ** 2 / 2, "the true one is 1; `abs` is straight, and its slope there 0",
            ),
            ("`relu` at 0", (0,), lambda m, x: m.nn.relu(x), lambda t, x: t.relu(x), "likewise"),
            (
                "`maximum(x, 0)` at 0", (0,), lambda m, x: m.np.maximum(x, 0),
                lambda t, x: t.maximum(x, t.zeros_like(x)), "likewise",
            ),
            (
                "`clip(x, -1, 1)` at 1", (1,), lambda m, x: m.np.clip(x, -1, 1),
                lambda t, x: t.clip(x, -1, 1), "likewise",
            ),
        )
    ),
    Row(
        "float32 in: `3.0 * mean(x ** 2.0)`", ([1, 2],), lambda m, x: 3.0 * m.np.mean(x**2.0),
        lambda t, x: 3.0 * t.mean(x**2.0), shows=lambda g: "the input's dtype",
    ),
)  # fmt: skip


def ours() -> Gradients:
    names = SimpleNamespace(
        np=np,
        nn=SimpleNamespace(
            relu=REGISTRY["relu"],
            log_softmax=lambda x: REGISTRY["log_softmax"](x, axis=0),
            logsumexp=lambda x: REGISTRY["logsumexp"](x, axis=0, keepdims=False),
            BatchNorm1d=nn.BatchNorm1d,
            max_pool2d=lambda x: nn.functional.max_pool2d(x, 2),
        ),
    )

    def gradients(row: Row, arrays: list[Any]) -> list[Any] | None:
        leaves = [Tensor(array, requires_grad=True) for array in arrays]
        out = row.numpy(names, *leaves)
        if not getattr(out, "requires_grad", False):
            return None
        out.backward(np.ones(out.shape, out.dtype), create_graph=row.order == 2)
        if row.order == 2:
            total = sum(np.sum(leaf.grad) for leaf in leaves)
            for leaf in leaves:
                leaf.grad = None
            if not getattr(total, "requires_grad", False):
                return [np.zeros_like(leaf.data) for leaf in leaves]
            total.backward()
        return [np.zeros_like(leaf.data) if leaf.grad is None else leaf.grad.data for leaf in leaves]

    return gradients


def pytorchs() -> Gradients:
    torch: Any = imported("torch")

    def gradients(row: Row, arrays: list[Any]) -> list[Any] | None:
        leaves = [torch.tensor(array, requires_grad=True) for array in arrays]
        out = row.torch(torch, *leaves)
        if not out.requires_grad:
            return None
        found = torch.autograd.grad(out, leaves, torch.ones_like(out), create_graph=row.order == 2)
        if row.order == 2:
            total = sum(g.sum() for g in found)
            if not total.requires_grad:
                return [np.zeros_like(array) for array in arrays]
            found = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
        return [g.detach().numpy() for g in found]

    return gradients


def jaxs() -> Gradients:
    jax: Any = imported("jax")
    jax.config.update("jax_enable_x64", True)

    def max_pool2d(x: Any) -> Any:
        return jax.lax.reduce_window(x, -np.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")

    names = SimpleNamespace(np=jax.numpy, nn=SimpleNamespace(**vars(jax.nn), max_pool2d=max_pool2d))

    def gradients(row: Row, arrays: list[Any]) -> list[Any] | None:
        def first(*x: Any) -> Any:
            out, pullback = jax.vjp(lambda *x: row.numpy(names, *x), *x)
            return pullback(jax.numpy.ones_like(out))

        given = [jax.numpy.asarray(array) for array in arrays]
        if row.order == 1:
            return [np.asarray(g) for g in first(*given)]
        total = jax.grad(lambda *x: sum(g.sum() for g in first(*x)), argnums=tuple(range(len(given))))
        return [np.asarray(g) for g in total(*given)]

    return gradients


def imported(name: str) -> ModuleType:
    """Import a library that the page is about, or exit with a sentence that says how to get it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"{name} is not installed, and the page says what it does: pip install {name}"
        ) from error


def cell(row: Row, gradients: Gradients) -> str:
    """Return the answer of a library to a row; both answers if the dtypes disagree."""
    said = [answer(row, gradients, dtype) for dtype in DTYPES]
    return said[0] if said[0] == said[1] else f"{said[0]} ({DTYPES[1]}: {said[1]})"


def answer(row: Row, gradients: Gradients, dtype: str) -> str:
    """Return the gradients in one dtype as text, or the name of the error that was raised."""
    arrays = [np.array(value, dtype) for value in row.at]
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = gradients(row, arrays)
    except (ValueError, RuntimeError) as error:
        return type(error).__name__
    except AttributeError:
        return "has none"
    if found is None:
        return "no gradient"
    if any(gradient.dtype != dtype for gradient in found):
        return f"{found[0].dtype} of {dtype}"
    shows = row.shows or (lambda g: ", ".join(number(value) for value in g.ravel()))
    return "; ".join(shows(gradient) for gradient in found)


def number(value: Any) -> str:
    """Return a number as text, as a fraction if it is one with a small denominator."""
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return "inf" if value > 0 else "-inf"
    fraction = Fraction(float(value)).limit_denominator(9)
    return str(fraction) if abs(fraction - value) < 1e-6 else f"{value:.4g}"


def remark(row: Row) -> str:
    return f" ({row.remark})" if row.remark else ""


def page() -> str:
    """Return the page, in Markdown."""
    columns = [pytorchs(), jaxs(), ours()]
    text = [
        fill(paragraph.format(peers=" and ".join(map(release, LIBRARIES))), WIDTH) for paragraph in PARAGRAPHS
    ]
    lines = ["| case | PyTorch | JAX | here |", "|---|---|---|---|"]
    for row in ROWS:
        cells = [cell(row, gradients) for gradients in columns]
        lines.append(f"| {row.case} | {' | '.join(cells)}{remark(row)} |")
    return "\n\n".join([f"# {TITLE}", *text, "\n".join(lines)]) + "\n"


def release(library: str) -> str:
    """Return the name of a library and its release, without the build."""
    return f"{library} {imported(LIBRARIES[library]).__version__.split('+')[0]}"


if __name__ == "__main__":
    TARGET.write_text(page(), "utf-8")
    print(f"wrote {TARGET.relative_to(ROOT)}")
