"""Write docs/explanation/onnx_coverage.md: which operations ONNX can hold, and by which operators.

From the repository's root, with the extra ``onnx`` and onnxruntime::

    python scripts/make_onnx_coverage.py

Each operation is exported with its sample calls; the page lists the operators in the file.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from textwrap import fill
from typing import Any, Final

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.exchange.onnx.operations import WRITTEN, calls_of, model_of  # noqa: E402
from tinygrad_mnist import onnx  # noqa: E402
from tinygrad_mnist.engine.op import REGISTRY  # noqa: E402
from tinygrad_mnist.exchange.onnx.refused import LIMITS, REFUSED  # noqa: E402

TARGET: Final = ROOT / "docs" / "explanation" / "onnx_coverage.md"
WIDTH: Final = 118
PASSED_ON: Final = ("Identity", "Cast")
"""Operators that change no value, or the dtype alone."""


def file_of(name: str, dtype: Any, directory: Path) -> Path:
    """Return a file with the sample calls of an operation."""
    model, inputs = model_of(name, calls_of(name, dtype))
    path = directory / f"{name}_{np.dtype(dtype).name}.onnx"
    with np.errstate(all="ignore"):
        onnx.save(model, tuple(inputs), path, dynamic=False)
    return path


def operators_of(path: Path) -> tuple[str, ...]:
    """Return the operators in a file, each once, in the order in which they are used."""
    from onnx import load

    found = dict.fromkeys(node.op_type for node in load(path).graph.node)
    return tuple(kind for kind in found if kind not in PASSED_ON) or tuple(found)


def runs(path: Path) -> bool:
    """Return whether onnxruntime has kernels for a file."""
    import onnxruntime

    try:
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
        return False
    return True


def page() -> str:
    """Return the page."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        operators = {each: operators_of(file_of(each, np.float32, directory)) for each in WRITTEN}
        narrow = [each for each in WRITTEN if not runs(file_of(each, np.float64, directory))]
    single = {each: kinds[0] for each, kinds in operators.items() if len(kinds) == 1}
    several = {each: kinds for each, kinds in operators.items() if len(kinds) > 1}
    reasons: dict[str, list[str]] = {}
    for each, reason in REFUSED.items():
        reasons.setdefault(reason, []).append(f"`{each}`")
    return f"""# What ONNX can hold

Written by `scripts/make_onnx_coverage.py` from the table of converters. A test exports every operation with
the samples of its gradient check, and compares the values of `onnx.reference` and of onnxruntime with ours.
An operation that is in no table fails that test.

| of {len(REGISTRY)} operations | |
|---|--:|
| one operator of ONNX | {len(single)} |
| several operators | {len(several)} |
| refused | {len(REFUSED)} |

NumPy's other functions are formulae of these operations. Those that look at values to choose what they
compute (`np.sort`, `np.median`, `np.interp`; `np.take` or `np.choose` by positions that are inputs) would
choose the same for all inputs, and are refused with a sentence that says where.

## One operator

{_wrapped([f"`{each}` {kind}" for each, kind in single.items()])}

## Several operators

| operation | operators |
|---|---|
{chr(10).join(f"| `{each}` | {', '.join(kinds)} |" for each, kinds in several.items())}

They are formulae that keep the digits of small results and do not overflow: `log1p` is not written as
log(1 + x). Images are resized by products with our own matrices, as ONNX's Resize finds the places of pixels
in float32.

## With limits

| operation | what is refused |
|---|---|
{chr(10).join(f"| `{each}` | {what} |" for each, what in LIMITS.items())}

## Refused

| operations | reason |
|---|---|
{chr(10).join(f"| {', '.join(names)} | {reason} |" for reason, names in reasons.items())}

## How near the values are

Within 1e-5, relative to the largest number of a result; most elementwise operations are that near relative
to each single number. Two are not, far from 0: onnxruntime computes Sigmoid below -17 and Gelu below -4 with
an error of up to 5e-7, where the true results are as small. float16 is computed in float32 and rounded once
an operation, as here. The sign of a NaN, which `copysign` and `signbit` read, is not told.

## float64

onnxruntime computes some operators in float32 alone. A model in float64 with one of these operations is a
valid file, which `onnx.reference` runs, and onnxruntime does not:

{_wrapped([f"`{each}`" for each in narrow])}
"""


def _wrapped(items: list[str]) -> str:
    return fill(", ".join(item.replace(" ", "\0") for item in items), WIDTH).replace("\0", " ")


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
