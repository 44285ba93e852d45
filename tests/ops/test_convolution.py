"""Convolutions, pools, windows and sizes of images: formulae as oracles, edges, dtypes, memory and errors.

Finite differences of each operation stand in `test_registry`; PyTorch's values in `test_convolution_peers`.
"""

from itertools import product
from typing import Any

import numpy as np
import pytest

from tests.ops.derivatives import ours
from tinygrad_mnist import Tensor, grad, jit, no_grad
from tinygrad_mnist.engine.op import REGISTRY
from tinygrad_mnist.nn import functional as F

NONE = ((0, 0), (0, 0))
conv2d, by_input, by_weight, max_pool2d, avg_pool2d, interpolate2d = (
    REGISTRY[name]
    for name in (
        "conv2d", "conv2d_by_input", "conv2d_by_weight", "max_pool2d", "avg_pool2d", "interpolate2d",
    )
)  # fmt: skip


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng((seed, *shape)).normal(size=shape)


def options(stride: Any = (1, 1), padding: Any = NONE, dilation: Any = (1, 1), groups: int = 1) -> Any:
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


# ---- convolution -----------------------------------------------------------------------------------------

CASES = [
    # channels in and out, kernel, options: few channels are convolved as planes, many as rows
    *(
        (n, kernel, options(stride, padding, dilation))
        for n, (kernel, (stride, padding, dilation)) in product(
            (2, 32),
            [
                ((3, 3), ((1, 1), NONE, (1, 1))),
                ((2, 4), ((1, 1), ((1, 0), (2, 1)), (1, 1))),
                ((1, 1), ((2, 3), NONE, (1, 1))),
                ((3, 2), ((2, 1), ((1, 1), (0, 2)), (1, 3))),
                ((2, 2), ((3, 3), ((2, 2), (2, 2)), (2, 1))),
            ],
        )
    ),
    (4, (2, 3), options(groups=2)),
    (4, (2, 2), options((2, 1), ((1, 1), (0, 0)), (1, 1), groups=4)),
    (64, (2, 2), options(groups=2)),
]
by_case = pytest.mark.parametrize(("channels", "kernel", "static"), CASES, ids=str)


@by_case
def test_a_convolution_is_its_formula_with_first_and_second_derivatives(
    channels: int, kernel: tuple[int, int], static: Any
) -> None:
    x, weight = normal(2, channels, 6, 7), normal(channels // 2 * 2, channels // static["groups"], *kernel)
    assert conv2d.formula is not None
    found = ours(lambda x, w: conv2d(x, w, **static), [x, weight])
    expected = ours(lambda x, w: conv2d.formula(x, w, **static), [x, weight])  # type: ignore[misc]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-9)


@by_case
def test_the_three_products_are_one_sum(channels: int, kernel: tuple[int, int], static: Any) -> None:
    x, weight = normal(2, channels, 6, 7), normal(channels, channels // static["groups"], *kernel)
    out = conv2d(x, weight, **static)
    g = normal(*out.shape)
    sums = [
        np.sum(out * g),
        np.sum(by_input(g, weight, size=(6, 7), **static) * x),
        np.sum(by_weight(x, g, kernel=kernel, **static) * weight),
    ]
    np.testing.assert_allclose(sums, sums[0], rtol=1e-10)


def test_a_convolution_of_more_images_than_fit_the_cache_is_that_of_each() -> None:
    x, weight, bias = normal(40, 8, 20, 20), normal(8, 8, 5, 5), normal(8)
    found = ours(lambda x, w, b: F.conv2d(x, w, b), [x, weight, bias])
    alone = F.conv2d(x[37:38], weight, bias)
    np.testing.assert_allclose(found[0][37:38], alone, rtol=1e-12)
    expected = ours(lambda x, w, b: F.conv2d(x, w) + b[:, None, None], [x, weight, bias])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-8)


def test_the_gradient_by_the_images_is_not_computed_where_nobody_asks() -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("it was computed")

    object.__setattr__(by_input, "forward", refuse)
    try:
        for bias in (None, Tensor(normal(3), requires_grad=True)):
            weight = Tensor(normal(3, 1, 2, 2), requires_grad=True)
            F.conv2d(normal(2, 1, 4, 4), weight, bias).sum().backward()
            assert weight.grad is not None
    finally:
        object.__setattr__(by_input, "forward", FORWARD)


FORWARD = by_input.forward


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64])
def test_a_convolution_keeps_the_dtype(dtype: Any) -> None:
    for channels in (3, 32):  # as planes, and as rows
        shapes = (2, channels, 5, 5), (4, channels, 2, 2)
        x, weight = (np.round(4 * normal(*shape)).astype(dtype) for shape in shapes)
        out = conv2d(x, weight, **options())
        assert out.dtype == dtype
        expected = conv2d(x.astype(float), weight.astype(float), **options())
        np.testing.assert_array_equal(out, expected.astype(dtype))


def test_float16_adds_up_in_float32() -> None:
    x, weight = np.ones((1, 100, 5, 5), np.float16), np.ones((1, 100, 5, 5), np.float16)
    leaves = [Tensor(x, requires_grad=True), Tensor(weight, requires_grad=True)]
    out = F.conv2d(*leaves)
    assert out.dtype == np.float16
    assert out.item() == 2500  # in float16 sums of ones end at 2048
    out.backward()
    assert all(leaf.grad is not None and leaf.grad.dtype == np.float16 for leaf in leaves)


def test_a_convolution_of_no_images_has_gradients_of_zeros() -> None:
    for groups in (1, 2):
        weight = Tensor(normal(4, 2 // groups, 3, 3), requires_grad=True)
        x = Tensor(np.ones((0, 2, 5, 5)), requires_grad=True)
        out = F.conv2d(x, weight, normal(4), groups=groups)
        assert out.shape == (0, 4, 3, 3)
        out.backward(np.ones(out.shape))
        assert x.grad is not None
        assert x.grad.shape == x.shape
        assert weight.grad is not None
        np.testing.assert_array_equal(weight.grad.data, np.zeros(weight.shape))


@pytest.mark.parametrize("kernel", [1, 2])
def test_a_sum_over_no_channels_is_0(kernel: int) -> None:
    leaves = [Tensor(np.ones(shape), requires_grad=True) for shape in ((2, 0, 4, 4), (3, 0, kernel, kernel))]
    out = F.conv2d(*leaves)
    np.testing.assert_array_equal(out.data, np.zeros((2, 3, 5 - kernel, 5 - kernel)))
    out.backward(np.ones(out.shape))
    assert [None if leaf.grad is None else leaf.grad.shape for leaf in leaves] == [x.shape for x in leaves]


def test_results_lie_channels_last_and_later_operations_keep_that() -> None:
    def is_channels_last(x: Any) -> bool:
        return bool(x.transpose(0, 2, 3, 1).flags.c_contiguous)

    x = F.conv2d(normal(4, 1, 10, 10), normal(8, 1, 3, 3), normal(8))
    assert is_channels_last(x)
    for function in (
        F.relu, lambda x: F.max_pool2d(x, 2), lambda x: F.avg_pool2d(x, 2), lambda x: x + 1,
        lambda x: F.conv2d(x, normal(8, 8, 3, 3)), lambda x: F.interpolate(x, scale_factor=2),
        lambda x: F.batch_norm(x, training=True),
    ):  # fmt: skip
        assert is_channels_last(np.asarray(function(x))), function


@pytest.mark.parametrize(("kernel", "n"), [(3, 1), (4, 1), ((2, 5), 2)])
def test_same_keeps_the_size_and_valid_pads_nothing(kernel: Any, n: int) -> None:
    kh, kw = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    x, weight = normal(1, 2, 7, 8), normal(3, 2, kh, kw)
    assert F.conv2d(x, weight, padding="same", dilation=n).shape == (1, 3, 7, 8)
    np.testing.assert_array_equal(F.conv2d(x, weight, padding="valid"), F.conv2d(x, weight))
    sided = F.conv2d(x, weight, padding=((1, 0), (2, 3)))
    np.testing.assert_allclose(sided, F.conv2d(np.pad(x, (*NONE, (1, 0), (2, 3))), weight), rtol=1e-12)


def test_one_image_is_a_batch_of_one() -> None:
    x, weight, bias = normal(2, 6, 6), normal(3, 2, 3, 3), normal(3)
    for function in (
        lambda x: F.conv2d(x, weight, bias), lambda x: F.max_pool2d(x, 2), lambda x: F.avg_pool2d(x, 2),
        lambda x: F.adaptive_avg_pool2d(x, 4), lambda x: F.conv_transpose2d(x, weight[:2, :1]),
    ):  # fmt: skip
        np.testing.assert_array_equal(function(x), function(x[None])[0])


def test_conv1d_sums_windows() -> None:
    x, weight = normal(2, 3, 9), normal(4, 3, 2)
    windows = np.lib.stride_tricks.sliding_window_view(x, 2, 2)[:, :, ::2]
    expected = np.einsum("ncli,oci->nol", windows, weight)
    np.testing.assert_allclose(F.conv1d(x, weight, stride=2), expected, rtol=1e-12, atol=1e-12)
    padded = F.conv1d(x, weight, padding=((1, 2),))
    np.testing.assert_allclose(padded, F.conv1d(np.pad(x, (*NONE, (1, 2))), weight), rtol=1e-12, atol=1e-12)


def test_a_transposed_convolution_is_the_transpose() -> None:
    for stride, padding, added, dilation in product((1, 2), (0, 1), (0, 1), (1, 2)):
        if added >= max(stride, dilation):
            continue
        weight, g = normal(4, 3, 3, 2), normal(2, 4, 3, 4)
        out = F.conv_transpose2d(g, weight, None, stride, padding, added, 1, dilation)
        x = normal(*out.shape)
        forward = F.conv2d(x, weight, None, stride, padding, dilation)[:, :, :3, :4]
        np.testing.assert_allclose(np.sum(out * x), np.sum(g * forward), rtol=1e-10)


# ---- pools -----------------------------------------------------------------------------------------------


def pool(kernel: Any, stride: Any, padding: Any = NONE, dilation: Any = (1, 1)) -> Any:
    return {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}


POOLS = [
    pool((2, 2), (2, 2)), pool((2, 3), (2, 3)), pool((3, 3), (1, 2)), pool((2, 2), (2, 2), ((1, 0), (0, 1))),
    pool((2, 2), (3, 3)), pool((2, 2), (1, 1), ((1, 1), (1, 1)), (2, 3)), pool((1, 1), (1, 1)),
]  # fmt: skip


@pytest.mark.parametrize("static", POOLS, ids=str)
@pytest.mark.parametrize("ties", [False, True])
def test_a_maximum_is_its_formula_also_where_several_are_largest(static: Any, ties: bool) -> None:
    x = normal(3, 4, 7, 8)
    x = np.round(x) if ties else x
    assert max_pool2d.formula is not None
    found = ours(lambda x: max_pool2d(x, **static), [x])
    expected = ours(lambda x: max_pool2d.formula(x, **static), [x])  # type: ignore[misc]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_what_is_largest_together_shares_evenly() -> None:
    x = Tensor(np.array([[[[1.0, 1.0], [1.0, 0.0]]]]), requires_grad=True)
    F.max_pool2d(x, 2).backward(np.full((1, 1, 1, 1), 3.0))
    assert x.grad is not None
    assert x.grad.tolist() == [[[[1.0, 1.0], [1.0, 0.0]]]]


@pytest.mark.parametrize("stride", [1, 2])
def test_what_is_not_largest_is_dead(stride: int) -> None:
    def roots(x: Any) -> Any:
        return np.sum(F.max_pool2d(np.sqrt(x), 2, stride))

    x = np.array([[[[0.0, 4.0], [1.0, 0.0]]]])
    np.testing.assert_array_equal(grad(roots)(x), [[[[0.0, 0.25], [0.0, 0.0]]]])


@pytest.mark.parametrize("stride", [1, 2])
def test_a_nan_is_the_maximum_and_stays_in_its_windows(stride: int) -> None:
    x = normal(1, 1, 4, 4)
    x[0, 0, 0, 0] = np.nan
    leaf = Tensor(x, requires_grad=True)
    out = F.max_pool2d(leaf, 2, stride)
    assert np.isnan(out.data).sum() == 1
    out.backward(np.ones(out.shape))
    assert leaf.grad is not None
    assert leaf.grad.data[0, 0, 0, 0] == 1
    assert np.all(np.isfinite(leaf.grad.data))


def test_pools_of_integers_and_float16() -> None:
    x = np.arange(-16, 0).reshape(1, 1, 4, 4)
    np.testing.assert_array_equal(F.max_pool2d(x, 2, padding=1)[0, 0, 0], [-16, -14, -13])
    np.testing.assert_array_equal(F.avg_pool2d(x, 2), [[[[-13.5, -11.5], [-5.5, -3.5]]]])
    ones = Tensor(np.ones((1, 1, 60, 60), np.float16), requires_grad=True)
    mean = F.avg_pool2d(ones, 60)
    assert mean.dtype == np.float16
    assert mean.item() == 1
    mean.backward()
    assert ones.grad is not None
    assert ones.grad.dtype == np.float16


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"])
def test_pools_of_no_images(name: str) -> None:
    x = Tensor(np.ones((0, 2, 5, 5)), requires_grad=True)
    out = getattr(F, name)(x, 2)
    assert out.shape == (0, 2, 2, 2)
    out.backward(np.ones(out.shape))
    assert x.grad is not None
    assert x.grad.shape == x.shape


# ---- other sizes -----------------------------------------------------------------------------------------

SIZES = [
    ((4, 5), (8, 10)), ((4, 5), (3, 7)), ((1, 6), (4, 6)), ((7, 3), (2, 3)), ((5, 5), (5, 5)),
]  # fmt: skip


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "area"])
@pytest.mark.parametrize(("before", "after"), SIZES, ids=str)
def test_another_size_is_a_product_with_two_matrices(before: Any, after: Any, mode: str) -> None:
    assert interpolate2d.formula is not None
    for align_corners in (False, True):
        static = {"size": after, "mode": mode, "align_corners": align_corners, "scale": (None, None)}
        found = ours(lambda x, static=static: interpolate2d(x, **static), [normal(2, 3, *before)])
        expected = ours(lambda x, static=static: interpolate2d.formula(x, **static), [normal(2, 3, *before)])
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_bilinear_interpolation_of_a_plane_is_the_plane() -> None:
    plane = np.add.outer(np.arange(5.0), 10 * np.arange(4.0))[None, None]
    out = F.interpolate(plane, (9, 7), mode="bilinear", align_corners=True)[0, 0]
    np.testing.assert_allclose(out, np.add.outer(np.arange(9) / 2, 10 * np.arange(7) / 2), rtol=1e-12)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "area"])
@pytest.mark.parametrize(("factor", "copied"), [(1.3, (True, True)), ((2, 1.3), (False, True))])
def test_an_axis_that_keeps_its_size_is_copied(factor: Any, copied: Any, mode: str) -> None:
    down, across = np.array([1.0, 7.0]), np.array([1.0, 3.0])
    image = np.multiply.outer(down, across)[None, None]
    resized = {"nearest": [1, 1, 7, 7], "bilinear": [1, 2.5, 5.5, 7], "area": [1, 1, 7, 7]}[mode]
    expected = np.multiply.outer(down if copied[0] else resized, across)[None, None]
    for run in (F.interpolate, jit(F.interpolate)):
        np.testing.assert_allclose(run(image, scale_factor=factor, mode=mode), expected, rtol=1e-12)
        x = Tensor(image, requires_grad=True)
        run(x, scale_factor=factor, mode=mode).sum().backward()
        assert x.grad is not None
        np.testing.assert_allclose(x.grad, np.full((1, 1, 2, 2), 1.0 if copied[0] else 2.0), rtol=1e-12)


def test_a_nan_stays_where_it_is_looked_at() -> None:
    x = np.zeros((1, 1, 4, 4))
    x[0, 0, 0, 0] = np.nan
    for mode in ("nearest", "bilinear", "area"):
        out = F.interpolate(x, (6, 2) if mode == "area" else 8, mode=mode)
        assert 0 < np.isnan(out).sum() < out.size / 4, mode


def test_an_adaptive_pool_of_a_divisor_is_a_pool() -> None:
    x = normal(2, 3, 6, 8)
    np.testing.assert_array_equal(F.adaptive_avg_pool2d(x, (3, None)), F.avg_pool2d(x, (2, 1)))
    np.testing.assert_allclose(F.adaptive_avg_pool2d(x, 1)[..., 0, 0], x.mean((2, 3)), rtol=1e-12, atol=1e-12)


# ---- windows ---------------------------------------------------------------------------------------------


def test_gradients_of_windows_add_up_where_these_overlap() -> None:
    x = Tensor(np.arange(5.0), requires_grad=True)
    windows = np.lib.stride_tricks.sliding_window_view(x, 3)
    np.testing.assert_array_equal(windows.data, np.lib.stride_tricks.sliding_window_view(np.arange(5.0), 3))
    windows.backward(np.ones((3, 3)))
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.data, [1, 2, 3, 2, 1])


def test_windows_are_values() -> None:
    x = Tensor(np.arange(4.0))
    windows = np.lib.stride_tricks.sliding_window_view(x, 2)
    with pytest.raises(ValueError, match="read-only"):
        windows.data[...] = 0
    with pytest.raises(TypeError, match="does not take writeable=: leave it out: a Tensor is a value"):
        np.lib.stride_tricks.sliding_window_view(x, 2, writeable=True)
    with pytest.raises(ValueError, match=r"window_shape=\(2, 2\) was given for 1 axes"):
        np.lib.stride_tricks.sliding_window_view(x, (2, 2))


# ---- errors ----------------------------------------------------------------------------------------------

X, W = np.ones((1, 4, 5, 6)), np.ones((2, 4, 3, 3))


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: F.conv2d(X, np.ones((2, 4, 7, 3)), padding=(0, 1)), ValueError,
         r"covers 7 x 3 pixels was .* images of 5 x 6, 5 x 8 with their padding: the .* would be -1 x 6"),
        (lambda: F.conv2d(X, W, dilation=3), ValueError, r"covers 7 x 7 .* the output would be -1 x 0"),
        (lambda: F.conv2d(X, np.ones((2, 3, 3, 3))), ValueError, r"has 4 channels; weight .* expects 3"),
        (lambda: F.conv2d(X, W, groups=3), ValueError,
         r"groups=3 .* 4 channels in and 2 out; expected a div"),
        (lambda: F.conv2d(X, W, groups=0), ValueError, r"groups=0"),
        (lambda: F.conv2d(X, W, groups=1.0), TypeError, r"groups=1.0 was given; expected an integer"),
        (lambda: F.conv2d(X, W[0]), ValueError, r"weight of shape \(4, 3, 3\) was given; expected \(out, C"),
        (lambda: F.conv2d(X[0, 0], W), ValueError, r"input of shape \(5, 6\)"),
        (lambda: F.conv2d(X, W, np.ones(3)), ValueError, r"bias of shape \(3,\) was given; expected \(2,\)"),
        (lambda: F.conv2d(X, W, stride=0), ValueError, r"stride=0 was given; expected 1 or more"),
        (lambda: F.conv2d(X, W, stride=1.5), TypeError, r"stride=1.5 was given; expected an integer"),
        (lambda: F.conv2d(X, W, stride=(1, 2, 3)), TypeError, r"stride=\(1, 2, 3\) was given"),
        (lambda: F.conv2d(X, W, padding=-1), ValueError, r"padding=-1 was given; expected 0 or more"),
        (lambda: F.conv2d(X, W, padding="full"), ValueError,
         r"padding='full' was given; expected 'same', 'v"),
        (lambda: F.conv2d(X, W, padding="same", stride=2), ValueError, r"padding='same' .* stride \(2, 2\)"),
        (lambda: F.conv2d(X, W, dilation=0), ValueError, r"dilation=0 was given; expected 1 or more"),
        (lambda: F.conv1d(X, W[0]), ValueError,
         r"expected \(N, C, L\) and \(out, C / groups, kernel length\)"),
        (lambda: F.conv_transpose2d(X, np.ones((3, 1, 2, 2))), ValueError, r"has 4 channels; .* expects 3"),
        (lambda: F.conv_transpose2d(X, np.ones((4, 1, 2, 2)), output_padding=1), ValueError,
         "less than one of"),
        (lambda: F.conv_transpose2d(X, np.ones((4, 1, 2, 2)), padding=4), ValueError, r"would be -2 x -1"),
        (lambda: F.max_pool2d(X, 7), ValueError, r"covers 7 x 7 pixels .* of 5 x 6: .* would be 0 x 0"),
        (lambda: F.max_pool2d(X, 2, padding=2), ValueError,
         r"padding=2 .* kernel_size=2; expected at most half"),
        (lambda: F.max_pool2d(X[0, 0], 2), ValueError,
         r"input of shape \(5, 6\) was given; expected \(N, C, H"),
        (lambda: F.avg_pool2d(X, 2, divisor_override=0), ValueError, r"divisor_override=0"),
        (lambda: F.adaptive_avg_pool2d(X, 0), ValueError, r"output_size=0 was given; expected 1 or more"),
        (lambda: F.interpolate(X, 3, mode="bicubic"), ValueError,
         r"mode='bicubic' .* expected one of nearest"),
        (lambda: F.interpolate(X), ValueError, r"either size or scale_factor"),
        (lambda: F.interpolate(X, scale_factor=0.1), ValueError, r"5 x 6 pixels cannot become 0 x 0"),
        (lambda: F.interpolate(X, 3, align_corners=True), ValueError, r"it belongs to 'bilinear'"),
        (lambda: F.interpolate(X, scale_factor=-1), ValueError, r"scale_factor=-1 .* expected positive"),
        (lambda: F.dropout2d(X[0, 0]), ValueError, r"input of shape \(5, 6\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(call: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_the_error_of_a_cotangent_says_the_size_that_was_computed() -> None:
    with no_grad(), pytest.raises(ValueError, match=r"result of the convolution has \(1, 2, 3, 4\)"):
        by_input(Tensor(np.ones((1, 2, 3, 3))), W, size=(5, 6), **options())


def test_dropped_channels_are_whole_and_rare_ones_are_kept() -> None:
    out = F.dropout2d(np.ones((50, 40, 3, 3)), 0.25, rng=0)
    each = out.reshape(2000, 9)
    assert set(np.unique(out)) == {0.0, 4 / 3}
    assert np.all(each == each[:, :1])
    assert abs(np.mean(each[:, 0] == 0) - 0.25) < 0.05
    assert F.dropout2d(out, 0.5, training=False) is out
