"""The protocol buffer of a file: made of what a builder holds, checked, and run by ONNX's reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist._version import __version__
from tinygrad_mnist.exchange.onnx.builder import Builder, Value
from tinygrad_mnist.exchange.onnx.errors import ExportError
from tinygrad_mnist.exchange.onnx.sizes import Size

__all__ = ["OPSET", "checked", "difference_to", "model_proto", "require_onnx"]

OPSET: Final = 20
"""The version of the operators: since 20 there is Gelu; onnxruntime has it since 1.17."""
IR_VERSION: Final = 10
"""The version of the file's layout; newer ones are not read by all tools."""


def require_onnx() -> None:
    """Raise an ImportError that names the extra if the package onnx is missing."""
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'onnx is needed to write files of ONNX: install it with pip install "tinygrad_mnist[onnx]"'
        ) from error


def model_proto(
    build: Builder, outputs: Sequence[Value], metadata: Mapping[str, str], description: str
) -> Any:
    """Return the ModelProto of a graph."""
    from onnx import helper, numpy_helper

    graph = helper.make_graph(
        [_node_proto(node) for node in build.nodes],
        "model",
        [_value_info(each) for each in build.inputs],
        [_value_info(each) for each in outputs],
        [numpy_helper.from_array(np.array(a, order="C"), name) for name, a in build.initializers.items()],
        doc_string=description,
        value_info=[_value_info(each) for each in build.values.values()],
    )
    model = helper.make_model(
        graph,
        producer_name="tinygrad_mnist",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        doc_string=description,
    )
    helper.set_model_props(model, dict(metadata))
    return model


def _node_proto(node: Any) -> Any:
    from onnx import helper

    attributes = {
        key: helper.np_dtype_to_tensor_dtype(value) if isinstance(value, np.dtype) else value
        for key, value in node.attributes.items()
    }
    return helper.make_node(
        node.kind, node.inputs, node.outputs, name=node.name, doc_string=node.doc, **attributes
    )


def _value_info(value: Value) -> Any:
    from onnx import helper

    shape = [str(n) if isinstance(n, Size) else n for n in value.shape or ()]
    return helper.make_tensor_value_info(value.name, helper.np_dtype_to_tensor_dtype(value.dtype), shape)


def checked(model: Any) -> Any:
    """Return a model that ONNX's checker has passed, with the shapes that it infers."""
    import onnx

    onnx.checker.check_model(model, full_check=True)
    return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


def difference_to(model: Any, names: Sequence[str], inputs: Sequence[Any], expected: Sequence[Any]) -> float:
    """Return the greatest difference between the outputs of ONNX's reference and those that are expected."""
    from onnx.reference import ReferenceEvaluator

    found = ReferenceEvaluator(model).run(None, dict(zip(names, inputs, strict=True)))
    return max((_difference(one, two) for one, two in zip(found, expected, strict=True)), default=0.0)


def _difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    if found.shape != expected.shape:
        raise ExportError(f"shape {found.shape} {expected.shape}")
    if not found.size:
        return 0.0
    one, two = found.astype(np.float64), expected.astype(np.float64)
    equal = (one == two) | (np.isnan(one) & np.isnan(two))
    finite = np.abs(two[np.isfinite(two)])
    scale = max(1.0, float(finite.max(initial=0.0)))
    return float(np.max(np.where(equal, 0.0, np.abs(one - two)))) / scale
