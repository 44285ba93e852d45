"""Convolutions, pools and sizes against PyTorch in float64, over its own kinds of arguments.

Value, first and second derivatives. Maxima are away from ties, where ours share evenly and PyTorch picks one.
"""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

from tests.ops.derivatives import ours, theirs
from tinygrad_mnist.nn import functional as F

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel"),
    pytest.mark.filterwarnings("ignore:.*recompute_scale_factor"),
]

Call = Callable[[Any], Callable[..., Any]]


def check(call: Call, *shapes: tuple[int, ...]) -> None:
    """Compare a call of a library of functions on distinct numbers of these shapes."""
    import torch

    rng = np.random.default_rng(0)
    primals = [rng.permutation(np.linspace(-1, 1, int(np.prod(shape)))).reshape(shape) for shape in shapes]
    found, expected = ours(call(F), primals), theirs(call(torch.nn.functional), primals)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("channels", [4, 24])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation"),
    [
        (1, 0, 1),
        (2, 1, 1),
        ((1, 3), (2, 1), 1),
        (1, 1, 2),
        ((2, 1), 0, (1, 2)),
        (1, "same", 2),
        (1, "valid", 1),
    ],
)
def test_conv2d(channels: int, stride: Any, padding: Any, dilation: Any) -> None:
    for kernel, groups in product([(1, 1), (2, 3), (3, 3)], [1, 2]):
        shapes = ((2, channels, 6, 8), (6, channels // groups, *kernel), (6,))
        check(
            lambda f, groups=groups: lambda x, w, b: f.conv2d(x, w, b, stride, padding, dilation, groups),
            *shapes,
        )


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    ("stride", "padding", "added", "dilation"),
    [(1, 0, 0, 1), (2, 1, 1, 1), ((1, 3), (0, 1), (0, 2), 1), (2, (1, 0), 0, 2), (1, 1, 2, 3), (1, 3, 1, 2)],
)
def test_conv_transpose2d(stride: Any, padding: Any, added: Any, dilation: Any, groups: int) -> None:
    check(
        lambda f: lambda x, w, b: f.conv_transpose2d(x, w, b, stride, padding, added, groups, dilation),
        (2, 4, 4, 5), (4, 6 // groups, 3, 2), (6,),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [(1, 0, 1, 1), (2, 1, 1, 2), (1, "same", 2, 1), ((3,), (2,), (2,), 1), (1, "valid", 1, 2)],
)
def test_conv1d(stride: Any, padding: Any, dilation: Any, groups: int) -> None:
    check(
        lambda f: lambda x, w, b: f.conv1d(x, w, b, stride, padding, dilation, groups),
        (2, 4, 9), (6, 4 // groups, 3), (6,),
    )  # fmt: skip


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [
        (2, None, 0, 1),
        (3, 2, 1, 1),
        ((3, 2), (1, 3), (1, 0), 1),
        (2, 1, 1, 2),
        (3, 3, 1, 1),
        (2, (2, 1), 0, 1),
    ],
)
def test_max_pool2d(kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> None:
    check(lambda f: lambda x: f.max_pool2d(x, kernel, stride, padding, dilation, ceil_mode), (2, 3, 7, 8))


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "divisor"),
    [(2, None, 0, None), (3, 2, 1, None), ((3, 2), (1, 3), (1, 0), None), (3, 3, 1, 5)],
)
def test_avg_pool2d(
    kernel: Any, stride: Any, padding: Any, divisor: int | None, counted: bool, ceil_mode: bool
) -> None:
    check(
        lambda f: lambda x: f.avg_pool2d(x, kernel, stride, padding, ceil_mode, counted, divisor),
        (2, 3, 7, 8),
    )


def test_adaptive_avg_pool2d() -> None:
    for height, size in product(range(1, 7), [1, 3, (5, 2), (None, 4)]):
        check(lambda f, size=size: lambda x: f.adaptive_avg_pool2d(x, size), (2, 3, height, 5))


@pytest.mark.parametrize(
    ("mode", "align_corners"),
    [("nearest", None), ("nearest-exact", None), ("bilinear", None), ("bilinear", True), ("area", None)],
)
def test_interpolate(mode: str, align_corners: bool | None) -> None:
    aligned = {"mode": mode, "align_corners": align_corners}
    for height, size in product((1, 3, 5), [(2, 9), 4, (7, 5)]):
        check(lambda f, size=size: lambda x: f.interpolate(x, size, **aligned), (2, 3, height, 5))
    for height, factor, recompute in product((3, 5), (0.5, 1.1, 1.5, 2, (2.3, 0.9), (1.19, 2)), (None, True)):
        given = {"scale_factor": factor, "recompute_scale_factor": recompute, **aligned}
        check(lambda f, given=given: lambda x: f.interpolate(x, **given), (2, 3, height, 5))
