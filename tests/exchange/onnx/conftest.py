"""Files of ONNX, run by onnxruntime and by ONNX's reference."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor
from tinygrad_mnist.engine.tree import flatten
from tinygrad_mnist.nn.module import evaluation_mode

Runner = Callable[..., list[Any]]


def by_onnxruntime(path: Path, feeds: dict[str, Any]) -> list[Any]:
    return list(session_of(path.read_bytes()).run(None, feeds))


@lru_cache(maxsize=2)
def session_of(content: bytes) -> Any:
    """Return a session of onnxruntime; a file that is run for several batches is loaded once."""
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def by_reference(path: Path, feeds: dict[str, Any]) -> list[Any]:
    from onnx import load
    from onnx.reference import ReferenceEvaluator

    return list(ReferenceEvaluator(load(path)).run(None, feeds))


RUNNERS = {"onnxruntime": by_onnxruntime, "reference": by_reference}


@pytest.fixture
def runners() -> dict[str, Runner]:
    return RUNNERS


@pytest.fixture(params=list(RUNNERS))
def run_file(request: pytest.FixtureRequest) -> Runner:
    return RUNNERS[request.param]


def arrays_of(returned: Any) -> list[Any]:
    return [np.asarray(leaf.data if isinstance(leaf, Tensor) else leaf) for leaf in flatten(returned)[0]]


@pytest.fixture
def expected() -> Callable[..., list[Any]]:
    """Return what our model gives, in evaluation mode, as arrays."""

    def run(model: Any, *arguments: Any, **options: Any) -> list[Any]:
        with evaluation_mode():
            return arrays_of(
                model(*map(Tensor, arguments), **{key: Tensor(value) for key, value in options.items()})
            )

    return run


@pytest.fixture
def close() -> Callable[[list[Any], list[Any]], None]:
    """Compare two lists of outputs: equal in shape and dtype, and within 1e-5 of the largest number."""

    def compare(found: list[Any], wanted: list[Any], tolerance: float = 1e-5) -> None:
        assert len(found) == len(wanted)
        for one, two in zip(found, wanted, strict=True):
            assert one.shape == two.shape
            assert one.dtype == two.dtype
            scale = max(1.0, np.abs(two).max(initial=0.0))
            np.testing.assert_allclose(one, two, rtol=0, atol=tolerance * scale)

    return compare
