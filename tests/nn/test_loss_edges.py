"""Losses where an infinity meets a 0, where rows are left out, and where what is given is no target."""

from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, grad, hessian, jvp, nn

F = nn.functional
INF, NAN = np.inf, np.nan


def derivatives(loss, values):
    """The value, the gradient, the tangent along ones and the Hessian of a loss of one input."""
    x = Tensor(values, requires_grad=True)
    out = loss(x)
    out.backward()
    tangent = jvp(loss, (values,), (np.ones_like(values),))[1]
    second = np.asarray(hessian(loss)(values)).reshape(values.size, values.size)
    return out.item(), x.grad.data, float(tangent), second


# ---- a class that is masked away -------------------------------------------------------------------------

MASKED = np.array([[0.5, -INF, 1.5]])
FORMS = {
    "label": np.array([2]),
    "one-hot": np.array([[0.0, 0.0, 1.0]]),
    "one-hot integers": np.array([[0, 0, 1]]),
    "one-hot booleans": np.array([[False, False, True]]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weight", [None, np.array([1.0, 1.0, 1.0])], ids=["plain", "weighted"])
def test_a_masked_class_of_probability_0_contributes_nothing(form: str, weight) -> None:
    found = derivatives(lambda x: F.cross_entropy(x, FORMS[form], weight), MASKED)
    rest = derivatives(lambda x: F.cross_entropy(x, np.array([1])), MASKED[:, [0, 2]])
    assert found[0] == pytest.approx(rest[0], rel=1e-15)
    np.testing.assert_allclose(found[1][:, [0, 2]], rest[1], rtol=1e-12)
    assert found[1][0, 1] == 0
    assert found[2] == pytest.approx(rest[2], abs=1e-15)
    np.testing.assert_allclose(found[3][np.ix_([0, 2], [0, 2])], rest[3], rtol=1e-12)
    assert not found[3][1].any()
    assert not found[3][:, 1].any()


def test_a_masked_class_may_have_a_share_of_0_among_soft_targets() -> None:
    soft = np.array([[0.25, 0.0, 0.75]])
    rest = F.cross_entropy(MASKED[:, [0, 2]], soft[:, [0, 2]])
    assert float(F.cross_entropy(MASKED, soft)) == pytest.approx(float(rest), rel=1e-15)


@pytest.mark.parametrize("target", [np.array([1]), np.array([[0.0, 1.0, 0.0]])], ids=["label", "one-hot"])
def test_a_masked_class_that_is_the_target_costs_infinitely_much(target) -> None:
    x = Tensor(MASKED, requires_grad=True)
    loss = F.cross_entropy(x, target)
    loss.backward()
    assert loss.item() == INF
    np.testing.assert_allclose(x.grad.data, [[0.26894142, -1, 0.73105858]], rtol=1e-7)


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_largest_logits_give_finite_losses_in_every_form(dtype: type) -> None:
    large = np.finfo(dtype).max
    logits = np.array([[large, -large, 0]], dtype)
    for target in (np.array([0]), np.array([[1, 0, 0]]), np.array([[1, 0, 0]], dtype)):
        x = Tensor(logits, requires_grad=True)
        loss = F.cross_entropy(x, target)
        loss.backward()
        assert (loss.item(), loss.dtype) == (0, dtype)
        np.testing.assert_array_equal(x.grad.data, np.zeros((1, 3), dtype), strict=True)


# ---- infinite logits and probabilities of yes or no ------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"pos_weight": 2.0}, {"weight": np.array([1.0, 3.0])}], ids=str)
def test_bce_of_a_certain_and_right_answer_is_0(options) -> None:
    def loss(x):
        return F.binary_cross_entropy_with_logits(x, np.array([0.0, 1.0]), **options)

    value, gradient, tangent, second = derivatives(loss, np.array([-INF, INF]))
    assert (value, tangent) == (0, 0)
    assert not gradient.any()
    assert not second.any()


def test_bce_of_a_certain_and_wrong_answer_is_infinite() -> None:
    x = Tensor([-INF, INF], requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(x, np.array([1.0, 0.0]), reduction="none")
    np.testing.assert_array_equal(loss.data, [INF, INF])
    loss.backward([1.0, 1.0])
    np.testing.assert_array_equal(x.grad.data, [-1, 1])


IMPOSSIBLE = np.array([[-INF, 0.0], [np.log(0.5), np.log(0.5)]])
WEIGHTED = [
    (F.cross_entropy, IMPOSSIBLE, [0, 1], [[0, 0], [0.5, -0.5]]),
    (F.nll_loss, IMPOSSIBLE, [0, 1], [[0, 0], [0, -1]]),
    (F.binary_cross_entropy_with_logits, np.array([-INF, 0.0]), [1.0, 0.0], [0, 0.5]),
]


@pytest.mark.parametrize(("loss", "values", "target", "slopes"), WEIGHTED)
def test_a_weight_of_0_outweighs_an_infinite_loss(loss, values, target, slopes) -> None:
    found = derivatives(lambda x: loss(x, np.array(target), [0.0, 1.0], reduction="sum"), values)
    assert found[0] == pytest.approx(np.log(2), rel=1e-15)
    np.testing.assert_allclose(found[1], slopes, atol=1e-15)
    assert found[2] == pytest.approx(np.sum(slopes), abs=1e-15)
    assert np.isfinite(found[3]).all()


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("log_target", [False, True])
def test_what_has_probability_0_in_both_does_not_diverge(log_target: bool) -> None:
    p = np.array([[0.0, 0.25, 0.75]])
    target = np.log(p) if log_target else p
    found = derivatives(lambda x: F.kl_div(x, target, reduction="sum", log_target=log_target), np.log(p))
    assert found[0] == pytest.approx(0, abs=1e-15)
    np.testing.assert_allclose(found[1], -p)
    assert found[2] == pytest.approx(-1)
    assert not found[3].any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_loss_of_a_probability_is_bounded_as_pytorchs(dtype: type) -> None:
    x = Tensor(np.array([0, 1, 0, 1], dtype), requires_grad=True)
    loss = F.binary_cross_entropy(x, np.array([1, 0, 0, 1]), reduction="none")
    np.testing.assert_array_equal(loss.data, np.array([100, 100, 0, 0], dtype), strict=True)
    loss.backward(np.ones(4, dtype))
    np.testing.assert_array_equal(x.grad.data, [0, 0, 1, -1])


def test_bce_of_probabilities_is_that_of_logits() -> None:
    logits, target = np.array([-3.0, 0.5, 2.0]), np.array([0.25, 1.0, 0.0])
    expected = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    found = F.binary_cross_entropy(F.sigmoid(logits), target, reduction="none")
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize(
    "loss",
    [
        lambda logs: F.nll_loss(logs, np.array([-100, 1]), reduction="sum"),
        lambda logs: F.nll_loss(logs, np.array([0, 1]), [0.0, 1.0], reduction="sum"),
        lambda logs: F.kl_div(logs, np.array([[0.0, 0.0], [0.0, 1.0]]), reduction="sum"),
        lambda logs: F.kl_div(logs, np.array([[-INF, -INF], [-INF, 0.0]]), reduction="sum", log_target=True),
    ],
    ids=["ignored", "weight 0", "probability 0", "logarithm -inf"],
)
def test_the_logarithm_of_0_that_has_no_share_leaks_nothing(loss) -> None:
    p = np.array([[0.0, 0.5], [0.0, 0.5]])
    found = derivatives(lambda p: loss(np.log(p)), p)
    assert found[0] == pytest.approx(np.log(2))
    np.testing.assert_allclose(found[1], [[0, 0], [0, -2]])
    assert found[2] == pytest.approx(-2)
    np.testing.assert_allclose(found[3], np.diag([0, 0, 0, 4.0]))


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_a_share_of_0_that_is_differentiated_keeps_its_mixed_derivative(share: float) -> None:
    def slope(target):
        return grad(lambda x: F.kl_div(x, target, reduction="sum"))(Tensor([-1.0, -2.0]))[0]

    np.testing.assert_array_equal(np.asarray(grad(slope)(np.array([share, 1.0]))), [-1, 0])


# ---- differences -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [F.huber_loss, F.smooth_l1_loss], ids=["huber", "smooth l1"])
def test_a_rounded_loss_neither_overflows_nor_loses_its_curvature(loss) -> None:
    x = Tensor([0.0, 1.0, -1e200, 1e308, INF], requires_grad=True)
    out = loss(x, np.zeros(5), reduction="none")
    np.testing.assert_array_equal(out.data, [0, 0.5, 1e200, 1e308, INF])
    out.backward(np.ones(5))
    np.testing.assert_array_equal(x.grad.data, [0, 1, -1, 1, 1])
    second = hessian(lambda x: loss(x, np.zeros(2), reduction="sum"))(np.array([0.0, 0.5]))
    np.testing.assert_array_equal(np.asarray(second), np.eye(2))


def test_the_absolute_difference_has_gradient_0_at_0() -> None:
    x = Tensor([0.0, 2.0, -3.0], requires_grad=True)
    F.l1_loss(x, np.zeros(3), reduction="sum").backward()
    np.testing.assert_array_equal(x.grad.data, [0, 1, -1])


# ---- rows that are left out ------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"weight": np.array([0.5, 2.0, 1.0])}], ids=["plain", "weighted"])
@pytest.mark.parametrize("ignored", [-100, 255, 0, -1])
@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss], ids=["cross-entropy", "nll"])
def test_an_ignored_row_changes_nothing_whatever_it_holds(loss, ignored: int, options) -> None:
    rows = np.array([[0.5, -1.0, 2.0], [NAN, INF, -INF], [1.0, 0.0, -2.0]])
    labels, kept = np.array([2, ignored, 1]), [0, 2]
    x, y = Tensor(rows, requires_grad=True), Tensor(rows[kept], requires_grad=True)
    found = loss(x, labels, ignore_index=ignored, **options)
    expected = loss(y, labels[kept], **options)
    found.backward()
    expected.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-14)
    np.testing.assert_allclose(x.grad.data[kept], y.grad.data, rtol=1e-12)
    np.testing.assert_array_equal(x.grad.data[1], [0, 0, 0])
    each = loss(rows, labels, ignore_index=ignored, reduction="none", **options)
    assert each[1] == 0


@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss], ids=["cross-entropy", "nll"])
def test_a_batch_of_ignored_rows_has_sum_0_and_no_mean(loss) -> None:
    rows, labels = np.zeros((2, 3)), np.array([-100, -100])
    assert float(loss(rows, labels, reduction="sum")) == 0
    with pytest.warns(RuntimeWarning, match="invalid value"):
        assert np.isnan(float(loss(rows, labels)))


def test_labels_of_every_integer_dtype_can_be_ignored() -> None:
    rows = np.array([[0.5, -1.0, 2.0], [1.0, 0.0, -2.0]])
    expected = float(F.cross_entropy(rows[:1], np.array([1])))
    for dtype, ignored in ((np.int8, -100), (np.int32, -7), (np.uint8, 255), (np.uint64, 9)):
        labels = np.array([1, ignored], dtype)
        assert float(F.cross_entropy(rows, labels, ignore_index=ignored)) == pytest.approx(expected)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_of_1_change_nothing(reduction: str, label_smoothing: float, dtype: type, rng) -> None:
    logits, labels = rng.standard_normal((5, 4)).astype(dtype), np.array([3, 0, 1, 1, 2])
    options = {"reduction": reduction, "label_smoothing": label_smoothing}
    plain, weighted = (F.cross_entropy(Tensor(logits), labels, w, **options) for w in (None, np.ones(4)))
    assert weighted.dtype == dtype
    np.testing.assert_allclose(weighted.data, plain.data, rtol=1e-6)


def test_weights_keep_the_dtype_of_the_input() -> None:
    p = np.full((2, 2), 0.5, np.float32)
    weight = [1, 2]
    assert F.nll_loss(p, np.array([0, 1]), weight).dtype == np.float32
    assert F.binary_cross_entropy(p, p, weight).dtype == np.float32
    assert F.binary_cross_entropy_with_logits(p, p, weight, pos_weight=weight).dtype == np.float32


@pytest.mark.parametrize("labelled", [True, False], ids=["labels", "probabilities"])
def test_the_losses_of_an_image_are_those_of_its_pixels(labelled: bool, rng) -> None:
    logits = rng.standard_normal((2, 3, 2, 4))
    target = rng.integers(0, 3, (2, 2, 4)) if labelled else F.softmax(rng.standard_normal((2, 3, 2, 4)), 1)
    pixels = np.moveaxis(logits, 1, -1).reshape(-1, 3)
    flat = target.ravel() if labelled else np.moveaxis(target, 1, -1).reshape(-1, 3)
    each = F.cross_entropy(logits, target, reduction="none")
    assert each.shape == (2, 2, 4)
    np.testing.assert_allclose(each.ravel(), F.cross_entropy(pixels, flat, reduction="none"), rtol=1e-12)


def test_one_row_without_a_batch_is_a_batch_of_one() -> None:
    row = np.array([0.5, -1.0, 2.0])
    for target in (np.array(1), 1):
        for loss in (F.cross_entropy, F.nll_loss):
            assert float(loss(row, target)) == pytest.approx(float(loss(row[None], np.array([1]))))
    assert F.cross_entropy(row, np.array([0.5, 0.0, 0.5]), reduction="none").shape == ()


HALVES = np.random.default_rng(0).uniform(0.1, 0.9, (20_000, 4)).astype(np.float16)
MANY = np.random.default_rng(1).integers(0, 4, 20_000)


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: F.cross_entropy(x, MANY),
        lambda x: F.cross_entropy(x, MANY, [1.0, 2.0, 0.5, 1.0]),
        lambda x: F.nll_loss(x, MANY),
        lambda x: F.nll_loss(x, MANY, [1.0, 2.0, 0.5, 1.0]),
        lambda x: F.mse_loss(x, HALVES[::-1]),
        lambda x: F.l1_loss(x, HALVES[::-1]),
        lambda x: F.binary_cross_entropy(x, HALVES[::-1]),
        lambda x: F.binary_cross_entropy_with_logits(x[:, 0], HALVES[::-1, 0]),
        lambda x: F.kl_div(np.log(x), HALVES[::-1], reduction="batchmean"),
    ],
)
def test_float16_is_reduced_in_float32(loss) -> None:
    out = loss(Tensor(HALVES))
    assert out.dtype == np.float16
    assert float(out) == pytest.approx(float(loss(HALVES.astype(np.float64))), rel=3e-3)


# ---- what is no target -----------------------------------------------------------------------------------

ROWS = np.array([[0.5, -1.0, 2.0], [1.0, 0.0, -2.0]])
PROBABILITIES = np.full((2, 3), 0.25)
OF_CLASSES = [F.cross_entropy, F.nll_loss]
OF_PAIRS = [
    F.mse_loss, F.l1_loss, F.huber_loss, F.smooth_l1_loss, F.binary_cross_entropy,
    F.binary_cross_entropy_with_logits, F.kl_div,
]  # fmt: skip
MASK = np.array([[True, False, False], [False, False, False]])


@pytest.mark.parametrize("loss", OF_CLASSES)
@pytest.mark.parametrize("mask", [False, [False, True]], ids=["empty mask", "mask"])
def test_masked_labels_are_refused_with_the_way_out(loss, mask) -> None:
    labels = np.ma.masked_array([0, 2], mask=mask)
    with pytest.raises(TypeError, match=r"masked array.*target\.filled\(ignore_index\)"):
        loss(Tensor(ROWS), labels)
    assert float(loss(ROWS, labels.filled(-100))) == float(loss(ROWS, np.where(labels.mask, -100, [0, 2])))


@pytest.mark.parametrize("loss", OF_PAIRS)
def test_masked_arrays_are_refused_on_either_side(loss) -> None:
    masked = np.ma.masked_array(PROBABILITIES, MASK)
    for pair in ((PROBABILITIES, masked), (masked, PROBABILITIES)):
        with pytest.raises(TypeError, match="masked array"):
            loss(*pair)


def test_masked_weights_are_refused() -> None:
    weight = np.ma.masked_array([1.0, 2.0, 3.0], [True, False, False])
    for loss in OF_CLASSES:
        with pytest.raises(TypeError, match="masked array"):
            loss(ROWS, np.array([0, 1]), weight)
    for loss in (F.binary_cross_entropy, F.binary_cross_entropy_with_logits):
        with pytest.raises(TypeError, match="masked array"):
            loss(PROBABILITIES, PROBABILITIES, weight)
    with pytest.raises(TypeError, match="masked array"):
        F.one_hot(np.ma.masked_array([1, 2], [True, False]))


@pytest.mark.parametrize("loss", OF_CLASSES)
@pytest.mark.parametrize(
    "labels",
    [[0.0, 1.0], [False, True], [0, 1, 2], [[0], [1]], 1],
    ids=["floats", "booleans", "too many", "a column", "one"],
)
def test_wrong_labels_are_described(loss, labels) -> None:
    for options in ({}, {"weight": np.ones(3)}, {"ignore_index": 5}):
        with pytest.raises(ValueError, match=r"expected integer labels of shape \(2,\)"):
            loss(Tensor(ROWS), np.array(labels), **options)


@pytest.mark.parametrize("loss", OF_CLASSES)
@pytest.mark.parametrize("label", [3, -1, -100])
@pytest.mark.parametrize("options", [{"ignore_index": 255}, {"ignore_index": 255, "weight": np.ones(3)}])
def test_a_label_out_of_range_is_named_beside_ignored_ones(loss, label: int, options) -> None:
    with pytest.raises(IndexError, match=f"label {label} is not one of the 3 classes 0 to 2"):
        loss(Tensor(ROWS), np.array([255, label]), **options)


@pytest.mark.parametrize("labels", [["a", "b"], [0, None], [1j, 0]])
def test_what_is_no_number_is_no_label(labels) -> None:
    for loss in OF_CLASSES:
        with pytest.raises((TypeError, ValueError), match=r"expected (real numbers|integer labels)"):
            loss(ROWS, np.array(labels))


@pytest.mark.parametrize("weight", [None, np.ones(3)], ids=["plain", "weighted"])
def test_integers_that_are_not_one_hot_are_refused(weight) -> None:
    for rows in ([[2, 0, 1], [0, 1, 2]], [[1, 1, 0], [1, 0, 0]], [[-1, 1, 0], [1, 0, 0]]):
        with pytest.raises(ValueError, match="not one-hot"):
            F.cross_entropy(ROWS, np.array(rows), weight)
    with pytest.raises(ValueError, match="not one-hot"):
        F.cross_entropy(ROWS[0], np.array([0, 2, 1]), weight)


@pytest.mark.parametrize(
    "loss", [F.cross_entropy, F.binary_cross_entropy, F.binary_cross_entropy_with_logits, F.kl_div]
)
def test_probabilities_that_are_nan_are_refused(loss) -> None:
    target = PROBABILITIES.copy()
    target[1, 1] = NAN
    with pytest.raises(ValueError, match="NaN"):
        loss(Tensor(PROBABILITIES), target)


def test_weights_that_do_not_fit_are_described() -> None:
    for loss in OF_CLASSES:
        for shape in ((2,), (), (1, 3)):
            with pytest.raises(ValueError, match=r"for 3 classes; expected \(3,\)"):
                loss(ROWS, np.array([0, 1]), np.ones(shape))
        with pytest.raises(ValueError, match="weight with NaN"):
            loss(ROWS, np.array([0, 1]), np.array([1.0, NAN, 1.0]))
    for options in ({"weight": np.ones(2)}, {"weight": np.ones((1, 2, 3))}, {"pos_weight": np.ones(2)}):
        with pytest.raises(ValueError, match=r"weight of shape .* expected a shape that broadcasts"):
            F.binary_cross_entropy_with_logits(PROBABILITIES, PROBABILITIES, **options)


def test_ignoring_among_probabilities_is_an_error() -> None:
    with pytest.raises(ValueError, match="ignore_index=1 was given with probabilities"):
        F.cross_entropy(ROWS, PROBABILITIES, ignore_index=1)


def test_an_input_that_is_no_probability_is_named() -> None:
    for wrong in (1.5, -0.5, NAN):
        with pytest.raises(ValueError, match=f"element {wrong}.*binary_cross_entropy_with_logits"):
            F.binary_cross_entropy(Tensor([0.5, wrong]), np.array([0.0, 1.0]))


def test_logarithms_as_a_target_of_probabilities_are_found() -> None:
    with pytest.raises(ValueError, match="log_target=True"):
        F.kl_div(np.log(PROBABILITIES), np.log(PROBABILITIES))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.HuberLoss(delta=0.0),
        lambda: nn.HuberLoss(delta=NAN),
        lambda: nn.SmoothL1Loss(beta=-1.0),
        lambda: F.huber_loss(ROWS, ROWS, delta=-1.0),
        lambda: F.smooth_l1_loss(ROWS, ROWS, beta=NAN),
        lambda: F.cross_entropy(ROWS, np.array([0, 1]), np.ones(3), label_smoothing=-0.1),
        lambda: nn.KLDivLoss(reduction="average"),
        lambda: nn.L1Loss(reduction="batchmean"),
        lambda: F.mse_loss(ROWS, ROWS, reduction="batchmean"),
    ],
)
def test_an_option_out_of_range_is_an_error(make) -> None:
    with pytest.raises(ValueError, match="expected"):
        make()


def test_losses_show_the_options_that_are_not_the_defaults() -> None:
    assert repr(nn.CrossEntropyLoss(ignore_index=3, label_smoothing=0.1)) == (
        "CrossEntropyLoss(ignore_index=3, label_smoothing=0.1)"
    )
    assert repr(nn.NLLLoss(ignore_index=0, reduction="sum")) == "NLLLoss(reduction='sum', ignore_index=0)"
    assert repr(nn.SmoothL1Loss(beta=0.1)) == "SmoothL1Loss(beta=0.1)"
    assert repr(nn.HuberLoss()) == "HuberLoss()"
    assert repr(nn.KLDivLoss(log_target=True)) == "KLDivLoss(log_target=True)"


@pytest.mark.parametrize("ignored", [1.5, -1.5, np.float32(1), "1", None, True])
def test_a_label_that_is_ignored_is_an_integer(ignored: Any) -> None:
    for make in (nn.CrossEntropyLoss, nn.NLLLoss):
        with pytest.raises(TypeError, match=r"ignore_index=.* was given; expected an integer"):
            make(ignore_index=ignored)
    for loss in (F.cross_entropy, F.nll_loss):
        with pytest.raises(TypeError, match=r"ignore_index=.* was given; expected an integer"):
            loss(np.zeros((2, 3)), np.array([0, 1]), ignore_index=ignored)
