import numpy as np
import pytest

from tinygrad_mnist import Tensor, nn

F = nn.functional
LABELS = np.array([2, 0, 3, 3, 1])


@pytest.fixture
def logits(rng) -> np.ndarray:
    return rng.standard_normal((5, 4)) * 3


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


REDUCE = {"mean": np.mean, "sum": np.sum, "none": lambda rows: rows}


# ---- cross-entropy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", REDUCE)
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(
    "target",
    [LABELS, LABELS.astype(np.uint8), np.eye(4)[LABELS], np.eye(4, dtype=int)[LABELS], np.full((5, 4), 0.25)],
    ids=["labels", "uint8", "one-hot", "one-hot integers", "soft"],
)
def test_cross_entropy_is_its_formula(reduction: str, label_smoothing: float, target, logits) -> None:
    rows = np.eye(4)[target] if target.ndim == 1 else target
    expected = -((1 - label_smoothing) * rows + label_smoothing / 4) * log_softmax(logits)
    loss = nn.CrossEntropyLoss(reduction=reduction, label_smoothing=label_smoothing)
    for given in (target, Tensor(target)):
        out = loss(Tensor(logits), given)
        np.testing.assert_allclose(out.data, REDUCE[reduction](expected.sum(axis=1)), rtol=1e-12)


@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss])
def test_lists_are_taken_as_arrays(loss, logits) -> None:
    assert float(loss(logits.tolist(), LABELS.tolist())) == float(loss(logits, LABELS))


@pytest.mark.parametrize("loss", [F.mse_loss, F.binary_cross_entropy_with_logits])
def test_lists_of_numbers_are_taken_as_arrays(loss) -> None:
    assert float(loss([1.5, 2], [1, 0])) == float(loss(np.array([1.5, 2]), np.array([1, 0])))


def test_the_mean_keeps_float32_and_its_gradient(logits) -> None:
    x = Tensor(logits.astype(np.float32), requires_grad=True)
    loss = F.cross_entropy(x, LABELS)
    loss.backward()
    assert (loss.dtype, loss.shape, x.grad.dtype) == (np.float32, (), np.float32)
    expected = (np.exp(log_softmax(logits)) - np.eye(4)[LABELS]) / 5
    np.testing.assert_allclose(x.grad.data, expected, atol=1e-6)


def test_the_mean_of_many_float32_losses_is_accurate() -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((60_000, 10)).astype(np.float32), rng.integers(0, 10, 60_000)
    exact = float(F.cross_entropy(x.astype(np.float64), labels))
    np.testing.assert_allclose(float(F.cross_entropy(Tensor(x), labels)), exact, rtol=2e-6)


def test_probabilities_get_a_gradient_too(logits, central_differences) -> None:
    target = np.full((5, 4), 0.25)
    t = Tensor(target, requires_grad=True)
    F.cross_entropy(Tensor(logits), t, label_smoothing=0.1).backward()
    numeric = central_differences(
        lambda: float(F.cross_entropy(Tensor(logits), target, label_smoothing=0.1)), target
    )
    np.testing.assert_allclose(t.grad.data, numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_that_is_no_class_is_named(label: int, logits) -> None:
    wrong = np.array([0, 1, label, 2, 3])
    for loss in (nn.CrossEntropyLoss(), nn.NLLLoss()):
        with pytest.raises(IndexError, match=f"label {label} is not one of the 4 classes 0 to 3"):
            loss(Tensor(logits), wrong)


@pytest.mark.parametrize("target", [LABELS[:4], LABELS.astype(float), np.ones((5, 3))])
def test_a_target_that_does_not_fit_is_described(target: np.ndarray, logits) -> None:
    with pytest.raises(ValueError, match=r"CrossEntropyLoss: .*expected integer labels of shape \(5,\)"):
        nn.CrossEntropyLoss()(Tensor(logits), target)


def test_label_smoothing_is_a_fraction() -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        nn.CrossEntropyLoss(label_smoothing=1.5)


@pytest.mark.parametrize("target", [LABELS, np.full((5, 4), 0.25)], ids=["labels", "soft"])
def test_the_gradient_of_the_mean_can_be_differentiated(target, logits, central_differences) -> None:
    v = np.cos(np.arange(20.0)).reshape(5, 4)

    def along(values: np.ndarray, create_graph: bool) -> tuple[Tensor, Tensor]:
        x = Tensor(values, requires_grad=True)
        F.cross_entropy(x, target, label_smoothing=0.1).backward(create_graph=create_graph)
        return x, np.sum(x.grad * v)

    x, slope = along(logits, True)
    x.grad = None
    slope.backward()
    numeric = central_differences(lambda: float(along(logits, False)[1]), logits)
    np.testing.assert_allclose(x.grad.data, numeric, rtol=1e-6, atol=1e-9)


# ---- negative log-likelihood, squares, yes or no ----------------------------------------------------------


@pytest.mark.parametrize("reduction", REDUCE)
def test_nll_after_log_softmax_is_cross_entropy(reduction: str, logits) -> None:
    x = Tensor(logits, requires_grad=True)
    y = Tensor(logits, requires_grad=True)
    nll = nn.NLLLoss(reduction=reduction)(F.log_softmax(x, dim=1), LABELS)
    cross = nn.CrossEntropyLoss(reduction=reduction)(y, LABELS)
    np.testing.assert_allclose(nll.data, cross.data)
    np.sum(nll).backward()
    np.sum(cross).backward()
    np.testing.assert_allclose(x.grad.data, y.grad.data, atol=1e-14)


def test_probabilities_are_an_error_of_nll(logits) -> None:
    with pytest.raises(ValueError, match="integer labels"):
        F.nll_loss(logits, np.eye(4)[LABELS])


@pytest.mark.parametrize("reduction", REDUCE)
def test_mse_is_its_formula(reduction: str, rng) -> None:
    x, y = rng.standard_normal((2, 3, 4))
    out = nn.MSELoss(reduction=reduction)(Tensor(x), Tensor(y))
    np.testing.assert_allclose(out.data, REDUCE[reduction]((x - y) ** 2))


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_])
@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.BCEWithLogitsLoss()], ids=repr)
@pytest.mark.parametrize("other", [np.float32, np.float64])
def test_integers_and_booleans_count_as_floats(loss: nn.Module, dtype: type, other: type) -> None:
    x, target = np.array([2, -1, 0.5, 1], other), np.array([0, 1, 1, 0])
    for wrap in (np.asarray, Tensor):
        out = loss(wrap(x), wrap(target.astype(dtype)))
        np.testing.assert_array_equal(out.data, loss(x, target.astype(other)).data, strict=True)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_squares_of_differences_of_integers_do_not_wrap(dtype: type) -> None:
    assert float(F.mse_loss(np.array([1, 0], dtype), np.array([1, 200], dtype))) == 20_000


def test_the_mean_over_integers_is_no_integer() -> None:
    assert float(F.nll_loss(np.array([[-1, -2], [-3, -4]]), np.array([0, 1]))) == 2.5


@pytest.mark.parametrize("pos_weight", [None, 3.0])
def test_bce_of_integer_logits_is_that_of_floats(pos_weight: float | None) -> None:
    x, target = np.array([2, 0, 1], np.uint8), np.array([True, False, True])
    out = F.binary_cross_entropy_with_logits(x, target, pos_weight=pos_weight)
    expected = F.binary_cross_entropy_with_logits(
        x.astype(float), target.astype(float), pos_weight=pos_weight
    )
    assert float(out) == float(expected)


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.BCEWithLogitsLoss()], ids=repr)
def test_shapes_that_would_broadcast_are_errors(loss: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"input of shape \(5, 1\) and target of shape \(5,\)"):
        loss(np.ones((5, 1)), np.ones(5))


@pytest.mark.parametrize("reduction", REDUCE)
@pytest.mark.parametrize("pos_weight", [None, 3.0, [1.0, 2.0, 3.0, 0.5]])
def test_bce_is_its_formula(reduction: str, pos_weight, rng) -> None:
    x, y = rng.standard_normal((5, 4)) * 3, rng.uniform(0, 1, (5, 4))
    s = 1 / (1 + np.exp(-x))
    p = 1 if pos_weight is None else np.asarray(pos_weight)
    expected = -(p * y * np.log(s) + (1 - y) * np.log(1 - s))
    loss = nn.BCEWithLogitsLoss(reduction=reduction, pos_weight=pos_weight)
    np.testing.assert_allclose(loss(Tensor(x), y).data, REDUCE[reduction](expected))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bce_is_stable_far_out(dtype: type) -> None:
    x = Tensor(np.array([-1e4, 1e4, -1e4, 1e4, -50, 50], dtype), requires_grad=True)
    y = np.array([0, 0, 1, 1, 0, 1], dtype)
    loss = F.binary_cross_entropy_with_logits(x, y, reduction="none")
    tiny = np.log1p(np.exp(-50))
    np.testing.assert_allclose(loss.data, [0, 1e4, 1e4, 0, tiny, tiny], rtol=1e-6)
    np.sum(loss).backward()
    assert x.grad.dtype == dtype
    np.testing.assert_allclose(x.grad.data[:4], [0, 1, -1, 0], atol=1e-12)


def test_bce_at_zero_has_the_right_first_and_second_derivative() -> None:
    x = Tensor(np.zeros(2), requires_grad=True)
    F.binary_cross_entropy_with_logits(x, np.array([0.0, 1.0]), reduction="sum").backward(create_graph=True)
    first = x.grad
    np.testing.assert_allclose(first.data, [0.5, -0.5])
    x.grad = None
    np.sum(first).backward()
    np.testing.assert_allclose(x.grad.data, [0.25, 0.25])


def test_pos_weight_is_a_buffer() -> None:
    loss = nn.BCEWithLogitsLoss(pos_weight=np.array([1.0, 2.0], np.float32))
    assert list(loss.state_dict()) == ["pos_weight"]
    assert list(loss.parameters()) == []


def test_an_unknown_reduction_is_an_error(logits) -> None:
    with pytest.raises(ValueError, match="expected 'mean', 'sum' or 'none'"):
        nn.MSELoss(reduction="max")
    with pytest.raises(ValueError, match="expected 'mean', 'sum' or 'none'"):
        F.cross_entropy(logits, LABELS, reduction="average")


# ---- one_hot ---------------------------------------------------------------------------------------------


def test_one_hot_has_a_row_for_each_label() -> None:
    np.testing.assert_array_equal(F.one_hot(LABELS), np.eye(4)[LABELS])
    assert F.one_hot(LABELS, 6, np.float32).dtype == np.float32
    assert F.one_hot(LABELS, 6).shape == (5, 6)
    np.testing.assert_array_equal(F.one_hot(Tensor(LABELS)).argmax(axis=1), LABELS)
    assert F.one_hot(np.zeros((2, 3), int), 4).shape == (2, 3, 4)
    assert F.one_hot(np.zeros(0, int), 4).shape == (0, 4)


def test_what_is_no_label_is_an_error_of_one_hot() -> None:
    with pytest.raises(TypeError, match="float64"):
        F.one_hot([0.5])
    with pytest.raises(IndexError, match="label 5 is not one of the 5 classes"):
        F.one_hot([5], 5)


@pytest.mark.parametrize("dtype", [">i2", ">i8", ">u4"])
def test_labels_in_the_other_byte_order(dtype: str, logits) -> None:
    labels = np.arange(len(logits)) % logits.shape[1]
    expected = nn.functional.cross_entropy(logits, labels).item()
    assert nn.functional.cross_entropy(logits, labels.astype(dtype)).item() == expected
    with pytest.raises(IndexError, match="label -1"):
        nn.functional.cross_entropy(logits, np.full(len(logits), -1, ">i4"))
