"""Networks of images through `jit`: steps, states and evaluation as eager has them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.helpers import World, equal_to_eager
from tinygrad_mnist import grad, jit, nn, no_grad, optim
from tinygrad_mnist.compiler import machine

pytestmark = pytest.mark.skipif(not machine.available(), reason="needs llvmlite")

F = nn.functional


def lenet(dtype, rng):
    kwargs = {"dtype": dtype, "rng": rng}
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, bias=False, **kwargs), nn.MaxPool2d(2), nn.BatchNorm2d(4, dtype=dtype), nn.ReLU(),
        nn.Conv2d(4, 8, 3, **kwargs), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(8, dtype=dtype),
        nn.Dropout2d(0.25, rng=np.random.default_rng(1)), nn.Flatten(),
        nn.Linear(32, 16, bias=False, **kwargs), nn.BatchNorm1d(16, dtype=dtype), nn.ReLU(),
        nn.Linear(16, 10, **kwargs),
    )  # fmt: skip


def strided(dtype, rng):
    """Return a network with padding, stride, dilation and groups, and a mean over each picture."""
    kwargs = {"dtype": dtype, "rng": rng}
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding="same", **kwargs), nn.GELU(), nn.GroupNorm(2, 6, dtype=dtype),
        nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=3, **kwargs), nn.BatchNorm2d(6, dtype=dtype),
        nn.Tanh(),
        nn.Conv2d(6, 8, (3, 2), padding=((2, 1), (0, 1)), dilation=(2, 1), **kwargs), nn.LeakyReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10, **kwargs),
    )  # fmt: skip


def pools(dtype, rng):
    """Return a network whose pools overlap, are padded or leave a rest, and that makes images larger."""
    kwargs = {"dtype": dtype, "rng": rng}
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, **kwargs), nn.MaxPool2d(3, stride=2, padding=1), nn.ReLU(),
        nn.ConvTranspose2d(4, 4, 3, stride=2, **kwargs), nn.AvgPool2d(3), nn.Upsample(scale_factor=2),
        nn.BatchNorm2d(4, dtype=dtype), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(100, 10, **kwargs),
    )  # fmt: skip


NETWORKS = [lenet, strided, pools]


def training(network, dtype, *, threads=1, batch=6):
    """Return what makes a world with a step of a network."""

    def make(decorate):
        model = network(dtype, np.random.default_rng(0))
        optimizer = optim.Adam(model.parameters(), lr=1e-2, eps=1e-3)

        @decorate(threads=threads)
        def step(x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return World(step, model, optimizer)

    return make


def batches(count, dtype, batch=6, size=16):
    rng = np.random.default_rng(7)
    return [
        (rng.standard_normal((batch, 1, size, size)).astype(dtype), rng.integers(0, 10, batch))
        for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("network", "steps"),
    [
        (lenet, 20),
        pytest.param(strided, 5, marks=pytest.mark.slow),
        pytest.param(pools, 5, marks=pytest.mark.slow),
    ],
)
def test_steps_are_those_of_eager(network, steps):
    world = equal_to_eager(training(network, np.float64), batches(steps, np.float64), rtol=1e-9)
    program = world.step.explain(*batches(1, np.float64)[0]).program
    assert any(instruction.name == "convolution" for instruction in program.instructions)


def test_steps_in_float32_are_those_of_eager():
    equal_to_eager(training(lenet, np.float32), batches(20, np.float32), rtol=2e-3)


@pytest.mark.parametrize("network", NETWORKS)
def test_evaluation_is_that_of_eager(network):
    def make(decorate):
        model = network(np.float64, np.random.default_rng(0))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean += 0.5
        model.eval()

        @decorate
        @no_grad()
        def predict(x):
            return F.softmax(model(x), -1)

        return World(predict, model)

    equal_to_eager(make, [(x,) for x, _ in batches(3, np.float64)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_two_threads_compute_the_bits_of_one(dtype):
    """The images are so many that sums over pixels are shared, too."""

    def trained(threads):
        world = training(lenet, dtype, threads=threads)(jit)
        losses = [world.step(x, y).item() for x, y in batches(4, dtype, batch=128)]
        return losses, world.model.state_dict()

    (losses, state), (others, other_state) = trained(1), trained(2)
    assert losses == others
    for name, value in state.items():
        np.testing.assert_array_equal(value, other_state[name], err_msg=name)


def test_no_image_is_copied_between_the_layers():
    world = training(lenet, np.float32)(jit)
    x, y = batches(1, np.float32)[0]
    world.step(x, y)
    text = str(world.step.explain(x, y))
    assert "call of NumPy" not in text
    moves = [line for line in text.splitlines() if "identity" in line]
    assert len(moves) <= 5, moves  # weights, and the images before they become rows


def test_the_first_layer_computes_no_gradient_of_its_images():
    world = training(lenet, np.float32)(jit)
    x, y = batches(1, np.float32)[0]
    world.step(x, y)
    names = [instruction.name for instruction in world.step.explain(x, y).program.instructions]
    assert names.count("convolution_by_input") == 1
    assert names.count("convolution_by_weight") == 2


@pytest.mark.parametrize("bad", [np.inf, np.nan])
@pytest.mark.parametrize("channels", [1, 16])  # of 16, eager computes the gradient as a convolution
def test_a_weight_that_is_not_finite_is_multiplied_by_padding_as_in_eager(bad, channels):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, channels, 3, 3)), rng.standard_normal((channels, channels, 3, 3))
    for of in (
        lambda x, w: F.conv2d(x, w, padding=1),
        lambda x, w: grad(lambda x: np.sum(F.conv2d(x, w, padding=1)))(x),
    ):
        compiled = jit(of)
        broken = w.copy()
        broken[0, 0, 0, 0] = bad
        with np.errstate(invalid="ignore"):  # around all calls, as others would be compiled anew
            for _ in range(2):
                np.testing.assert_allclose(compiled(x, w), of(x, w), rtol=1e-12)
            expected = of(x, broken)
            assert not np.isfinite(expected).all()
            np.testing.assert_allclose(compiled(x, broken), expected, rtol=1e-12)
        assert len(compiled.compilations) == 1


@pytest.mark.parametrize("side", [4, 200])  # the code copies small pictures with padding, large ones not
def test_a_cotangent_that_is_not_finite_is_multiplied_by_padding_as_in_eager(side):
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((1, 1, side, side)), rng.standard_normal((1, 3, side, side))
    w = np.ones((3, 1, 3, 3))
    of = lambda g: grad(lambda w: np.sum(g * F.conv2d(x, w, padding=1)))(w)
    compiled = jit(of)
    broken = g.copy()
    broken[0, 0, 0, 0] = np.inf  # the first row and column of the filter meet padding there
    with np.errstate(invalid="ignore"):
        for _ in range(2):
            np.testing.assert_allclose(compiled(g), of(g), rtol=1e-10)
        expected = of(broken)
        assert np.isnan(expected).any()
        np.testing.assert_allclose(compiled(broken), expected, rtol=1e-10)
    assert len(compiled.compilations) == 1
