"""The texts of layers, the shapes that follow from them, and the models that they build."""

import re
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_mnist import nn
from tinygrad_mnist.training import LAYERS, NORMS, RECIPES, Recipe, RecipeError
from tinygrad_mnist.training.recipe.layers import LayerError, followed, parsed
from tinygrad_mnist.training.recipe.models import build_model, costs, state_outline


def net(*layers: str, **changes: Any) -> Recipe:
    return Recipe("mine", "layers of one's own", model="layers", layers=layers, **changes)


SMALL = net("conv 4 3x3", "norm", "activation", "max-pool 2", "flatten", "linear 6", "norm", "activation")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("conv 16 5x5", {"channels": 16, "kernel": (5, 5), "stride": (1, 1), "padding": (0, 0), "groups": 1}),
        (
            "conv  8 3 stride 2x1 padding 1 dilation 2 groups 4",
            {"kernel": (3, 3), "stride": (2, 1), "groups": 4},
        ),
        ("conv 8 1x3 padding same", {"kernel": (1, 3), "padding": "same"}),
        ("max-pool 2", {"kernel": (2, 2), "stride": None}),
        ("avg-pool 3x2 stride 1 padding 1x0", {"kernel": (3, 2), "stride": (1, 1), "padding": (1, 0)}),
        ("dropout", {"p": None}),
        ("dropout 0.25", {"p": 0.25}),
        ("linear 128", {"units": 128}),
        ("norm", {}),
        ("activation", {}),
        ("flatten", {}),
    ],
)
def test_a_text_is_read(text: str, expected: dict[str, Any]) -> None:
    found = parsed(text)
    assert type(found) is LAYERS[text.split()[0]]
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "there is no layer ''; it may be conv, max-pool"),
        ("cnov 16 5x5", "there is no layer 'cnov'; did you mean conv?"),
        ("Conv 16 5x5", "there is no layer 'Conv'; did you mean conv?"),
        ("conv", "the channels of conv is missing"),
        ("conv 16", "the kernel of conv is missing"),
        ("conv 0 5x5", "the channels of conv must be a whole number above 0, not '0'"),
        ("conv 16 5y5", "the kernel of conv must be a size such as 2 or 3x5"),
        ("conv 16 0x5", "the kernel of conv must be a size such as 2 or 3x5"),
        ("conv 16 5x5 strid 2", "conv has no 'strid'; did you mean stride?"),
        ("conv 16 5x5 3", "conv has no '3'; it may be stride, padding, dilation, groups"),
        ("conv 16 5x5 stride", "the stride of conv is missing"),
        ("conv 16 5x5 stride 2 stride 2", "the stride of conv is given twice"),
        ("conv 16 5x5 padding all", "the padding of conv must be same, valid, or a size"),
        ("max-pool 2 padding same", "the padding of max-pool must be a size"),
        ("dropout 1", "the p of dropout must be a probability of at least 0 and less than 1, not '1'"),
        ("dropout nan", "the p of dropout must be a probability"),
        ("linear -1", "the units of linear must be a whole number above 0, not '-1'"),
        ("norm batch", "norm has no 'batch', nor anything else"),
        ("flatten 1", "flatten has no '1', nor anything else"),
        ("linear 9999999999", "the units of linear must be a whole number above 0"),
        ("linear ５", "the units of linear must be a whole number above 0"),
    ],
)
def test_a_text_that_is_no_layer_is_told_with_the_nearest_word(text: str, sentence: str) -> None:
    with pytest.raises(LayerError, match=re.escape(sentence)):
        parsed(text)
    with pytest.raises(
        RecipeError, match=rf"^layers must be .*but number 2, {re.escape(repr(text))}, is none: "
    ):
        net("flatten", text)


@given(st.text(max_size=30) | st.lists(st.sampled_from([*LAYERS, "2", "3x3", "stride", "0.1"])).map(" ".join))
def test_any_text_is_a_layer_or_an_error_of_ours(text: str) -> None:
    with suppress(LayerError):
        parsed(text)


# ---- shapes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "which", "why"),
    [
        (
            ("conv 4 9x9",),
            "layer 1, 'conv 4 9x9', does not fit the 1 x 8 x 8",
            "window of 9 is wider than the 8",
        ),
        (("conv 4 3x3 dilation 4",), "layer 1", "window of 9 is wider than the 8"),
        (
            ("max-pool 4", "max-pool 3"),
            "layer 2, 'max-pool 3', does not fit the 1 x 2 x 2",
            "wider than the 2",
        ),
        (("conv 4 3x3 padding same stride 2",), "layer 1", "goes with stride 1 alone"),
        (("conv 4 3x3", "conv 6 3x3 groups 4"), "layer 2", "4 does not divide both 4 and 6"),
        (("max-pool 2 padding 2",), "layer 1", "padding is more than half of its window"),
        (("linear 5",), "layer 1, 'linear 5', does not fit the 1 x 8 x 8", "put 'flatten' before it"),
        (
            ("conv 4 3x3",),
            "the last layer, 'linear 10', does not fit the 4 x 6 x 6",
            "put 'flatten' before it",
        ),
        (("flatten", "conv 4 3x3"), "layer 2", "not 64 features; put it before 'flatten'"),
        (("flatten", "flatten"), "layer 2", "not 64 features"),
    ],
)
def test_layers_that_do_not_fit_are_refused_in_a_sentence(
    layers: tuple[str, ...], which: str, why: str
) -> None:
    with pytest.raises(RecipeError, match=rf"^layers do not fit the 8 x 8 pixels: {which}.*{why}") as caught:
        build_model(net(*layers), (8, 8), 10)
    assert caught.value.field == "layers"


def test_a_crop_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(
        RecipeError, match="crop cuts 4 pixels from each side, and leaves nothing of images of 8"
    ):
        build_model(net("flatten", crop=4), (8, 9), 10)


CONVS = st.builds(
    "conv {} {}x{} stride {} padding {} dilation {}".format,
    *(st.integers(1, 4) for _ in range(4)),
    st.integers(0, 2),
    st.integers(1, 2),
)
POOLS = st.builds(
    "{} {} stride {} padding {}".format,
    st.sampled_from(["max-pool", "avg-pool"]),
    *[st.integers(2, 3)] * 2,
    st.integers(0, 1),
)
OTHERS = st.sampled_from(["norm", "activation", "dropout", "conv 2 3 padding same"])


@given(st.lists(CONVS | POOLS | OTHERS, max_size=4), st.sampled_from(list(NORMS)))
def test_shapes_and_outline_are_those_of_the_model(layers: list[str], norm: str) -> None:
    recipe = net(*layers, "flatten", norm=norm)
    try:
        model = build_model(recipe, (9, 8), 3).eval()
    except RecipeError:
        return
    x: Any = np.zeros((2, 1, 9, 8), np.float32)
    for step, layer in zip(followed(recipe.layers, (9, 8), 3, norm), model, strict=True):
        assert x.shape[1:] == step.shape
        x = layer(x)
    expected = [(name, value.shape, value.dtype.name) for name, value in model.state_dict().items()]
    assert list(state_outline(recipe, (9, 8), 3)) == expected


def test_an_outline_takes_no_memory() -> None:
    huge = net("conv 999999999 3x3", "norm", "flatten", "linear 999999999")
    assert (
        sum(int(np.prod(shape, dtype=object)) for _, shape, _ in state_outline(huge, (999, 999), 10)) > 1e20
    )


# ---- models ----------------------------------------------------------------------------------------------


def test_the_modules_are_those_of_the_texts() -> None:
    kinds = [type(module) for module in build_model(SMALL, (8, 8), 10).children()]
    assert kinds == [
        *(nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d),
        *(nn.Flatten, nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear),
    ]


@pytest.mark.parametrize(
    ("layers", "norm", "biases"),
    [
        (("conv 2 3", "norm", "flatten"), "batch", [False, True]),
        (("conv 2 3", "max-pool 2", "flatten", "norm"), "batch", [False, True]),
        (("conv 2 3", "avg-pool 2", "norm", "flatten"), "batch", [False, True]),
        (("conv 2 3", "avg-pool 2 padding 1", "norm", "flatten"), "batch", [True, True]),
        (("conv 2 3", "max-pool 2", "dropout", "flatten", "norm"), "batch", [True, True]),
        (("conv 2 3", "activation", "norm", "flatten"), "batch", [True, True]),
        (("conv 2 3", "norm", "flatten", "linear 3", "activation"), "group", [True, True, True]),
        (("conv 2 3", "norm", "flatten", "linear 3", "norm"), "layer", [True, True, True]),
        (("conv 2 3", "norm", "flatten", "linear 3", "norm"), "none", [True, True, True]),
    ],
)
def test_a_layer_has_a_bias_unless_a_batch_norm_follows(
    layers: tuple[str, ...], norm: str, biases: list[bool]
) -> None:
    model = build_model(net(*layers, norm=norm), (8, 8), 10)
    found = [module.bias is not None for module in model if isinstance(module, nn.Conv2d | nn.Linear)]
    assert found == biases


BETWEEN = (
    *("activation", "dropout 0.5", "max-pool 2", "max-pool 3 padding 1", "max-pool 2x1"),
    *("avg-pool 2", "avg-pool 2 padding 1", "avg-pool 2 stride 1 padding 1x0"),
)


@pytest.mark.parametrize("norm", list(NORMS))
@pytest.mark.parametrize("between", [(), *((text,) for text in BETWEEN), BETWEEN[1:3], BETWEEN[2:4]])
def test_a_bias_that_is_left_out_would_do_nothing(between: tuple[str, ...], norm: str) -> None:
    """What follows a convolution is the same in training if a number is added to each of its channels."""
    layers = ("conv 3 3", *between, "norm", "flatten")
    step, *_ = followed(layers, (12, 11), 4, norm)
    rest = [*build_model(net(*layers, norm=norm), (12, 11), 4, dropout_rng=np.random.default_rng(0))][1:]
    rng = np.random.default_rng(1)
    image = rng.normal(size=(4, 3, 10, 9)).astype(np.float32)
    bias = np.array([1.5, -0.5, 0.25], np.float32)[:, None, None]
    found = []
    for x in (image, image + bias):
        for module in rest:
            if isinstance(module, nn.Dropout):
                module.rng = np.random.default_rng(2)
        found.append(nn.Sequential(*rest)(x).detach().numpy())
    assert step.bias != np.allclose(*found, atol=1e-4)


def test_a_dropout_without_a_number_has_that_of_the_recipe() -> None:
    model = build_model(net("flatten", "dropout", "dropout 0.5", dropout=0.25), (8, 8), 10)
    assert [module.p for module in model if isinstance(module, nn.Dropout)] == [0.25, 0.5]


def test_the_model_takes_what_the_crop_leaves() -> None:
    model = build_model(net("conv 2 5x5", "flatten", crop=2), (9, 11), 10)
    assert model(np.zeros((1, 1, 5, 7), np.float32)).shape == (1, 10)


@pytest.mark.parametrize(("name", "norm"), [("layer", 1), ("group", 2)])
def test_norms_of_images_scale_and_shift_by_channel(name: str, norm: int) -> None:
    (found,) = [
        m
        for m in build_model(net("conv 16 3x3", "norm", "flatten", norm=name), (8, 8), 10)
        if isinstance(m, nn.GroupNorm)
    ]
    assert (found.num_groups, found.num_channels) == (norm, 16)


def test_the_costs_are_those_of_an_image() -> None:
    found = costs(SMALL, build_model(SMALL, (8, 8), 10), (8, 8), 10)
    convolved = 4 * 6 * 6 * 9
    assert (found.convolved, found.largest) == (convolved, convolved)
    assert found.numbers == 64 + 3 * 144 + 2 * 36 + 3 * 6 + 10


def test_the_costs_of_a_model_of_ones_own_count_its_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    from tinygrad_mnist.training import MODELS

    monkeypatch.setitem(MODELS, "mine", lambda *_: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten()))
    recipe = RECIPES["mlp"].changed(model="mine")
    assert costs(recipe, build_model(recipe, (8, 8), 10), (8, 8), 10).convolved == 36 * 16


def test_the_architecture_in_short() -> None:
    assert SMALL.architecture == "c3-4, pool 2, 6"
    assert RECIPES["cnn"].architecture == "c5-24 s2, c3-48, pool 2, 128"
    assert net("flatten").architecture == "none"
