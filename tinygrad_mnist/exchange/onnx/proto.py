"""The protocol buffer of a file: made of what a builder holds, checked, and written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from tinygrad_mnist._version import __version__
from tinygrad_mnist.exchange.onnx.builder import Builder, Node, Value
from tinygrad_mnist.exchange.onnx.errors import ExportError
from tinygrad_mnist.exchange.onnx.sizes import Size
from tinygrad_mnist.extras import missing_package
from tinygrad_mnist.files import replacing
from tinygrad_mnist.numbers import bytes_text

__all__ = ["OPSET", "checked", "model_proto", "require_onnx", "written"]

OPSET: Final = 20
"""The version of the operators: since 20 there is Gelu; onnxruntime has it since 1.17."""
IR_VERSION: Final = 10
"""The version of the file's layout; newer ones are not read by all tools."""
_LARGEST: Final = (1 << 31) - (1 << 24)
"""Bytes of parameters at most: a protocol buffer has 2 GiB, and the nodes have to fit in, too."""


def require_onnx() -> None:
    """Raise an ImportError that names the extra if the package onnx is missing."""
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise missing_package("to write files of ONNX", "onnx", "onnx") from error


def model_proto(
    build: Builder, outputs: Sequence[Value], metadata: Mapping[str, str], description: str
) -> Any:
    """Return the ModelProto of a graph.

    Raises
    ------
    ExportError
        If the parameters are larger than a file of ONNX can be.
    """
    from onnx import helper, numpy_helper

    size = sum(array.nbytes for array in build.initializers.values())
    if size > _LARGEST:
        raise ExportError(
            f"the parameters take {bytes_text(size)}, and a file of ONNX holds 2 GB at most; save them as "
            "float16 (model.astype(np.float16)), or export parts of the model"
        )

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
    helper.set_model_props(model, {key: str(value) for key, value in metadata.items()})
    return model


def _node_proto(node: Node) -> Any:
    from onnx import helper

    attributes: dict[str, Any] = {
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
    """Return a model that ONNX's checker has passed, with the shapes that it infers.

    Raises
    ------
    ExportError
        If it did not pass: what was written is wrong, or shapes do not fit.
    """
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"onnx.checker refuses what would be written: {error}; that is a fault of this package, or of a "
            "converter that was added to it"
        ) from error


def written(model: Any, path: str | os.PathLike[str]) -> int:
    """Write a model, whole or not at all; return its size in bytes."""
    content = model.SerializeToString()
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)
    return len(content)
