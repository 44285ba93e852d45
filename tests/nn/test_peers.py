"""Every layer and loss against PyTorch's, in float64: outputs, gradients, state dicts."""

import numpy as np
import pytest

from tests.nn.cases import LAYERS as MORE_LAYERS
from tests.nn.cases import LOSSES, LayerCase, LossCase, reductions
from tinygrad_mnist import Tensor, nn

pytestmark = pytest.mark.peers

LAYERS = [
    ("Linear", (5, 3), {}, (4, 5)),
    ("Linear", (5, 3), {"bias": False}, (2, 4, 5)),
    ("Linear", (5, 3), {}, (5,)),
    ("BatchNorm1d", (5,), {}, (7, 5)),
    ("BatchNorm1d", (5,), {}, (3, 5, 2)),
    ("BatchNorm1d", (5,), {"momentum": None}, (7, 5)),
    ("BatchNorm1d", (5,), {"momentum": 0.4, "eps": 0.1}, (3, 5, 2)),
    ("BatchNorm1d", (5,), {"affine": False}, (7, 5)),
    ("BatchNorm1d", (5,), {"track_running_stats": False}, (7, 5)),
    ("LayerNorm", (5,), {}, (4, 5)),
    ("LayerNorm", ((3, 5),), {"eps": 0.1}, (4, 3, 5)),
    ("LayerNorm", (5,), {"bias": False}, (2, 3, 5)),
    ("LayerNorm", (5,), {"elementwise_affine": False}, (4, 5)),
    ("ReLU", (), {}, (4, 5)),
    ("LeakyReLU", (), {}, (4, 5)),
    ("LeakyReLU", (0.3,), {}, (4, 5)),
    ("GELU", (), {}, (4, 5)),
    ("GELU", (), {"approximate": "tanh"}, (4, 5)),
    ("Tanh", (), {}, (4, 5)),
    ("Sigmoid", (), {}, (4, 5)),
    ("Softmax", (1,), {}, (4, 5)),
    ("Softmax", (), {"dim": 0}, (4, 5, 2)),
    ("LogSoftmax", (-1,), {}, (4, 5)),
    ("Flatten", (), {}, (4, 5, 2)),
    ("Flatten", (0, 1), {}, (4, 5, 2)),
    ("Identity", (), {}, (4, 5)),
    ("Dropout", (0.0,), {}, (4, 5)),
]


@pytest.mark.parametrize(("name", "args", "options", "shape"), LAYERS)
def test_a_layer_agrees(name: str, args, options, shape, torch, agrees) -> None:
    agrees(getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options), shape)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # PyTorch's, of its speed
@pytest.mark.parametrize("case", MORE_LAYERS, ids=lambda case: case.id)
def test_a_further_layer_agrees(case: LayerCase, torch, agrees) -> None:
    agrees(case.build(), case.build(torch.nn), case.input.shape)


@pytest.mark.parametrize(
    "options", [{}, {"affine": False}, {"track_running_stats": False}, {"momentum": None}]
)
@pytest.mark.parametrize(
    ("name", "shape"), [("BatchNorm1d", (7, 5)), ("BatchNorm1d", (3, 5, 2)), ("BatchNorm2d", (3, 5, 2, 4))]
)
def test_batch_norm_agrees_in_evaluation(name: str, options, shape, torch, agrees) -> None:
    ours, theirs = getattr(nn, name)(5, **options), getattr(torch.nn, name)(5, **options)
    for _ in range(2):
        theirs(torch.randn(*shape) * 3 + 1)
    agrees(ours.eval(), theirs.eval(), shape)


@pytest.mark.parametrize("training", [True, False])
def test_a_convolutional_network_agrees_over_several_batches(training: bool, torch, agrees) -> None:
    def model(library):
        return library.Sequential(
            library.Conv2d(1, 4, 3, padding=1), library.MaxPool2d(2), library.BatchNorm2d(4), library.ReLU(),
            library.Conv2d(4, 6, 3, stride=2, bias=False), library.BatchNorm2d(6), library.ReLU(),
            library.Dropout2d(0.0), library.AvgPool2d(2), library.Flatten(), library.Linear(6, 3),
        ).train(training)  # fmt: skip

    agrees(model(nn), model(torch.nn), (5, 1, 12, 10), calls=3)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("case", MORE_LAYERS, ids=lambda case: case.id)
def test_repr_is_pytorchs(case: LayerCase, torch) -> None:
    ours, theirs = case.build().extra_repr(), case.build(torch.nn).extra_repr()
    if "Norm" in case.name:  # ours are shorter: without what is the default
        assert all(part in theirs for part in ours.split(", "))
    else:
        assert ours == theirs.removesuffix(", inplace=False")


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("Conv1d", (3, 40, 5)),
        ("Conv2d", (4, 32, (3, 5))),
        ("Conv2d", (16, 64, 3, 1, 0, 1, 4)),
        ("ConvTranspose2d", (40, 6, 4)),
        ("ConvTranspose2d", (40, 6, 4, 1, 0, 0, 2)),
    ],
)
def test_initial_values_are_of_pytorchs_distribution(name: str, args, torch) -> None:
    torch.manual_seed(0)
    ours, theirs = getattr(nn, name)(*args), getattr(torch.nn, name)(*args)
    bound = 1 / np.sqrt(np.prod(ours.weight.shape[1:]))
    for (path, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert mine.shape == tuple(other.shape)
        for values in (mine.detach().numpy(), other.detach().numpy()):  # the largest of many is at the bound
            assert bound * (1 - 10 / mine.size) < np.abs(values).max() <= bound, path


def test_a_deep_model_agrees_over_several_batches(torch, agrees) -> None:
    def model(library):
        return library.Sequential(
            library.Flatten(), library.Linear(12, 8), library.BatchNorm1d(8), library.ReLU(),
            library.Sequential(library.Linear(8, 6), library.LayerNorm(6), library.GELU()),
            library.Linear(6, 4), library.LogSoftmax(dim=1),
        )  # fmt: skip

    agrees(model(nn), model(torch.nn), (9, 3, 4), calls=3)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")  # PyTorch's advice about KLDivLoss
@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.id)
def test_a_loss_agrees(case: LossCase, torch, rng) -> None:
    theirs = {key: torch.tensor(v) if isinstance(v, np.ndarray) else v for key, v in case.options.items()}
    for reduction in reductions(case.name):
        x, tx = Tensor(case.input, requires_grad=True), torch.tensor(case.input, requires_grad=True)
        out = getattr(nn, case.name)(reduction=reduction, **case.options)(x, case.target)
        tout = getattr(torch.nn, case.name)(reduction=reduction, **theirs)(tx, torch.tensor(case.target))
        assert out.shape == tuple(tout.shape)
        np.testing.assert_allclose(out.data, tout.detach().numpy(), rtol=1e-12, atol=1e-14)
        cotangent = rng.standard_normal(out.shape)
        out.backward(cotangent)
        tout.backward(torch.tensor(cotangent))
        np.testing.assert_allclose(x.grad.data, tx.grad.numpy(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.id)
def test_a_loss_has_pytorchs_state(case: LossCase, torch) -> None:
    theirs = {key: torch.tensor(v) if isinstance(v, np.ndarray) else v for key, v in case.options.items()}
    state = getattr(torch.nn, case.name)(**theirs).state_dict()
    ours = getattr(nn, case.name)(**case.options).state_dict()
    assert list(ours) == list(state)
    for name, value in state.items():
        np.testing.assert_array_equal(ours[name], value.numpy())


@pytest.mark.parametrize("padding_idx", [None, 1, -1])
def test_an_embedding_agrees(padding_idx: int | None, torch) -> None:
    indices = np.array([[0, 1, 1], [4, 3, 0]])
    ours, theirs = nn.Embedding(5, 3, padding_idx), torch.nn.Embedding(5, 3, padding_idx)
    ours.load_state_dict(theirs.state_dict())
    out, tout = ours(indices), theirs(torch.tensor(indices))
    np.testing.assert_array_equal(out.data, tout.detach().numpy(), strict=True)
    out.backward(np.ones(out.shape, np.float32))
    tout.backward(torch.ones(tout.shape))
    np.testing.assert_array_equal(ours.weight.grad.data, theirs.weight.grad.numpy(), strict=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert ours.extra_repr() == theirs.extra_repr()


@pytest.mark.parametrize("training", [True, False])
def test_functional_batch_norm_agrees(training: bool, torch, rng) -> None:
    x = rng.standard_normal((6, 3))
    mean, var, weight, bias = rng.standard_normal(3), rng.uniform(1, 2, 3), *rng.standard_normal((2, 3))
    tensors = [torch.tensor(a.copy()) for a in (x, mean, var, weight, bias)]
    out = nn.functional.batch_norm(x, mean, var, weight, bias, training, 0.2, 1e-3)
    tout = torch.nn.functional.batch_norm(*tensors, training, 0.2, 1e-3)
    for ours, theirs in ((out, tout), (mean, tensors[1]), (var, tensors[2])):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-10)


def test_one_hot_agrees(torch) -> None:
    labels = np.array([2, 0, 1, 2])
    ours = nn.functional.one_hot(labels, 5)
    theirs = torch.nn.functional.one_hot(torch.tensor(labels), 5).numpy()
    np.testing.assert_array_equal(ours, theirs)
    assert ours.dtype == theirs.dtype
