"""The results of a file, as ``onnx.reference`` computes them, beside those of the model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.exchange.onnx.errors import ExportError

__all__ = ["greatest_difference"]

Array = NDArray[Any]

_TOLERANCE: Final = {"float16": 2e-2, "float32": 1e-4, "float64": 1e-7}
"""The greatest difference that is taken, by the dtype of an output: what rounding in another order makes,
and of float64 in float32, as some operators of ``onnx.reference`` do. Of other dtypes none is."""


def greatest_difference(
    model: Any, names: Sequence[str], trials: Iterable[tuple[Sequence[Array], Sequence[Array]]]
) -> float:
    """Return the greatest difference between what a file gives and what it has to give.

    Parameters
    ----------
    model : ModelProto
        The file.
    names : sequence of str
        The names of its inputs.
    trials : iterable of pairs
        The inputs, and the outputs of our model.

    Returns
    -------
    float
        Relative to the largest number of an output, where that is above 1.

    Raises
    ------
    ExportError
        If a shape is another, a difference larger than rounding explains, or an output is NaN or infinite
        wherever it was computed, so that nothing was compared.
    """
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(model, new_ops=[_transposed_convolution()])
    greatest = 0.0
    compared: dict[str, bool] = {}  # whether an output had a finite number
    for inputs, expected in trials:
        with np.errstate(all="ignore"):
            found = evaluator.run(None, dict(zip(names, inputs, strict=True)))
        for output, one, two in zip(evaluator.output_names, found, expected, strict=True):
            difference = _difference(output, np.asarray(one), two)
            if not difference <= _TOLERANCE.get(two.dtype.name, 0.0):
                raise ExportError(
                    f"the output {output!r} of the file differs from that of the model by {difference:.2g} "
                    f"for inputs of shape {', '.join(str(each.shape) for each in inputs)}: nothing was "
                    "written; something in the model depends on the inputs, or on the size of the batch, in "
                    "a way that is not on the tape"
                )
            greatest = max(greatest, difference)
            is_known = not two.size or bool(np.isfinite(two).any())
            compared[output] = compared.get(output, False) or is_known
    unknown = [output for output, is_known in compared.items() if not is_known]
    if unknown:
        raise ExportError(
            f"every number of the output {unknown[0]!r} is NaN or infinite, on all batches that were tried: "
            "nothing was compared, and nothing was written; mend the model, or give an example for which it "
            "gives numbers"
        )
    return greatest


def _transposed_convolution() -> Any:
    """Return ONNX's transposed convolution, mended: of several groups it takes the wrong weights (1.23)."""
    from onnx.reference.ops import op_conv_transpose

    plain: Any = op_conv_transpose.ConvTranspose

    def run(self: Any, X: Array, W: Array, B: Array | None = None, **options: Any) -> tuple[Array]:
        groups = options.pop("group", None) or 1
        parts = [
            plain._run(self, images, weights, None, group=1, **options)[0]
            for images, weights in zip(np.split(X, groups, axis=1), np.split(W, groups), strict=True)
        ]
        out = np.concatenate(parts, axis=1)
        return (out if B is None else out + B.reshape(-1, *(1,) * (out.ndim - 2)),)

    return type("ConvTranspose", (plain,), {"_run": run, "op_domain": ""})


def _difference(output: str, found: Array, expected: Array) -> float:
    """Return the greatest difference; NaN and infinity have to be the same."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ExportError(
            f"the output {output!r} of the file has shape {found.shape} and dtype {found.dtype}, that of the "
            f"model {expected.shape} and {expected.dtype}: nothing was written; the shape follows from the "
            "size of the batch in a way that is not on the tape"
        )
    if not found.size:
        return 0.0
    one, two = found.astype(np.float64), expected.astype(np.float64)
    with np.errstate(invalid="ignore"):
        distance = np.where((one == two) | (np.isnan(one) & np.isnan(two)), 0.0, np.abs(one - two))
    scale = np.max(np.abs(two), where=np.isfinite(two), initial=1.0)
    return float(np.max(np.nan_to_num(distance, nan=np.inf)) / scale)
