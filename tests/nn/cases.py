"""Losses and layers with their options, each on fixed numbers: what the tests compare with PyTorch."""

from typing import Any, NamedTuple

import numpy as np

from tinygrad_mnist import nn

Array = np.ndarray


def numbers(*shape: int, scale: float = 3.0) -> Array:
    """Numbers between -scale and scale, none of them at a kink."""
    return scale * np.sin(1.7 * np.arange(1, np.prod(shape, dtype=int) + 1)).reshape(shape)


def shares(*shape: int, axis: int = 1) -> Array:
    """Probabilities that sum to 1 along an axis."""
    odds = np.exp(numbers(*shape, scale=1.0))
    return odds / odds.sum(axis=axis, keepdims=True)


def log_shares(*shape: int) -> Array:
    return np.log(shares(*shape))


def direction(shape: tuple[int, ...]) -> Array:
    """A direction in which derivatives are compared."""
    return np.cos(np.arange(np.prod(shape, dtype=int))).reshape(shape)


def parameter_values(shape: tuple[int, ...]) -> Array:
    return 1 + numbers(*shape, scale=0.5)


class LossCase(NamedTuple):
    """A loss, its options, and an input with its target."""

    name: str
    options: dict[str, Any]
    input: Array
    target: Array

    @property
    def id(self) -> str:
        options = ",".join(f"{key}={np.asarray(value).tolist()}" for key, value in self.options.items())
        ignored = " some ignored" if np.any(self.target == -100) else ""
        return (
            f"{self.name}({options}) {self.input.shape} {self.target.dtype.kind}{self.target.shape}{ignored}"
        )


LABELS = np.array([2, 0, 1, 2])
WEIGHT = np.array([0.5, 2.0, 1.25])
IMAGE_LABELS = np.array([[[0, 1, 2, 1], [2, 2, 0, 1]], [[1, 1, 0, 0], [2, 0, 1, 2]]])
ROWS, IMAGE = numbers(4, 3), numbers(2, 3, 2, 4)
SOFT, IMAGE_SOFT = shares(4, 3), shares(2, 3, 2, 4)

LOSSES = [
    *(
        LossCase("CrossEntropyLoss", {**weight, **ignored, **smoothing}, input, target)
        for weight in ({}, {"weight": WEIGHT})
        for ignored in ({}, {"ignore_index": 2})
        for smoothing in ({}, {"label_smoothing": 0.3})
        for input, target in (
            (ROWS, LABELS),
            (IMAGE, IMAGE_LABELS),
            (numbers(3), np.array(1)),
            *(() if ignored else ((ROWS, SOFT), (IMAGE, IMAGE_SOFT), (numbers(3), shares(3, axis=0)))),
        )
    ),
    LossCase("CrossEntropyLoss", {}, ROWS, np.array([2, -100, 1, -100])),
    LossCase(
        "CrossEntropyLoss", {"weight": WEIGHT, "label_smoothing": 0.3}, ROWS, np.array([2, -100, 1, -100])
    ),
    *(
        LossCase("NLLLoss", {**weight, **ignored}, input, target)
        for weight in ({}, {"weight": WEIGHT})
        for ignored in ({}, {"ignore_index": 2})
        for input, target in (
            (log_shares(4, 3), LABELS),
            (log_shares(2, 3, 2, 4), IMAGE_LABELS),
            (np.log(shares(3, axis=0)), np.array(1)),
        )
    ),
    LossCase("NLLLoss", {}, log_shares(4, 3), np.array([2, -100, 1, -100])),
    LossCase("MSELoss", {}, ROWS, SOFT),
    LossCase("L1Loss", {}, ROWS, SOFT),
    *(LossCase("SmoothL1Loss", options, ROWS, SOFT) for options in ({}, {"beta": 0.4}, {"beta": 0.0})),
    *(LossCase("HuberLoss", options, ROWS, SOFT) for options in ({}, {"delta": 2.5}, {"delta": 0.1})),
    *(
        LossCase("BCELoss", options, SOFT[::-1].copy(), SOFT)
        for options in ({}, {"weight": WEIGHT}, {"weight": np.arange(4.0)[:, None]})
    ),
    *(
        LossCase("BCEWithLogitsLoss", options, ROWS, SOFT)
        for options in (
            {},
            {"weight": WEIGHT},
            {"pos_weight": WEIGHT},
            {"weight": np.arange(4.0)[:, None], "pos_weight": WEIGHT},
        )
    ),
    LossCase("KLDivLoss", {}, log_shares(4, 3), shares(4, 3)[::-1].copy()),
    LossCase("KLDivLoss", {"log_target": True}, log_shares(4, 3), log_shares(4, 3)[::-1].copy()),
]


def reductions(name: str) -> tuple[str, ...]:
    return ("mean", "sum", "none", *(("batchmean",) if name == "KLDivLoss" else ()))


class LayerCase(NamedTuple):
    """A layer, its arguments, and an input."""

    name: str
    args: tuple[Any, ...]
    options: dict[str, Any]
    input: Array

    @property
    def id(self) -> str:
        return f"{self.name}{self.args}{self.options or ''} {self.input.shape}"

    def build(self, library: Any = nn) -> Any:
        return getattr(library, self.name)(*self.args, **self.options)


PICTURES = numbers(2, 2, 4, 5)

LAYERS = [
    LayerCase("ELU", (), {}, ROWS),
    LayerCase("ELU", (0.3,), {}, ROWS),
    LayerCase("SiLU", (), {}, ROWS),
    LayerCase("Softplus", (), {}, ROWS),
    LayerCase("Softplus", (2.5,), {"threshold": 4.0}, ROWS),
    LayerCase("Softplus", (-1.5,), {}, ROWS),
    LayerCase("Hardtanh", (), {}, ROWS),
    LayerCase("Hardtanh", (-0.25, 2.5), {}, ROWS),
    LayerCase("RMSNorm", (3,), {}, ROWS),
    LayerCase("RMSNorm", ((2, 4),), {"eps": 0.1}, IMAGE),
    LayerCase("RMSNorm", (3,), {"elementwise_affine": False}, ROWS),
    LayerCase("GroupNorm", (2, 6), {}, numbers(2, 6)),
    LayerCase("GroupNorm", (1, 3), {"eps": 0.1}, IMAGE),
    LayerCase("GroupNorm", (3, 3), {"bias": False}, IMAGE),
    LayerCase("GroupNorm", (3, 6), {"affine": False}, numbers(2, 6, 2)),
    LayerCase("BatchNorm1d", (3,), {"bias": False}, ROWS),
    LayerCase("BatchNorm1d", (3,), {"bias": False}, numbers(2, 3, 4)),
    *(
        LayerCase("Conv1d", args, options, numbers(2, 2, 6))
        for args, options in (
            ((2, 3, 3), {}),
            ((2, 4, (2,)), {"stride": 2, "padding": 1, "groups": 2}),
            ((2, 2, 3), {"padding": "same", "dilation": 2, "bias": False}),
            ((2, 1, 3), {"padding": 2, "padding_mode": "circular"}),
        )
    ),
    *(
        LayerCase("Conv2d", args, options, PICTURES)
        for args, options in (
            ((2, 3, 3), {}),
            ((2, 2, (2, 3)), {"stride": (2, 1), "padding": (1, 2)}),
            ((2, 2, 3), {"padding": "same", "bias": False}),
            ((2, 2, (2, 4)), {"padding": "same"}),
            ((2, 2, 3), {"padding": "valid", "stride": 2}),
            ((2, 4, 2), {"dilation": (1, 3), "groups": 2}),
            ((2, 2, 1), {}),
            ((2, 2, 3), {"padding": 1, "padding_mode": "reflect"}),
            ((2, 2, 3), {"padding": (2, 1), "padding_mode": "replicate"}),
            ((2, 2, 3), {"padding": "same", "padding_mode": "circular"}),
        )
    ),
    LayerCase("Conv2d", (2, 3, 3), {}, numbers(2, 4, 5)),
    *(
        LayerCase("ConvTranspose2d", args, options, numbers(2, 2, 2, 3))
        for args, options in (
            ((2, 3, 2), {"stride": 2}),
            ((2, 1, (3, 2)), {"padding": 1, "bias": False}),
            ((2, 4, 2), {"stride": (2, 3), "output_padding": (1, 2), "groups": 2}),
            ((2, 2, 2), {"dilation": 2, "padding": (1, 0)}),
        )
    ),
    *(
        LayerCase(name, args, options, PICTURES)
        for name, args, options in (
            ("MaxPool2d", (2,), {}),
            ("MaxPool2d", ((3, 2),), {"stride": 1, "padding": 1}),
            ("MaxPool2d", (2, (1, 2)), {"dilation": (1, 2), "ceil_mode": True}),
            ("AvgPool2d", (2,), {}),
            ("AvgPool2d", ((3, 2),), {"stride": (1, 2), "padding": 1}),
            ("AvgPool2d", (2,), {"padding": 1, "count_include_pad": False}),
            ("AvgPool2d", (2,), {"ceil_mode": True}),
            ("AvgPool2d", (2,), {"divisor_override": 3}),
            ("AdaptiveAvgPool2d", (1,), {}),
            ("AdaptiveAvgPool2d", ((3, 2),), {}),
            ("AdaptiveAvgPool2d", ((None, 4),), {}),
            ("BatchNorm2d", (2,), {}),
            ("BatchNorm2d", (2,), {"eps": 0.1, "momentum": None}),
            ("BatchNorm2d", (2,), {"affine": False, "track_running_stats": False}),
            ("GroupNorm", (1, 2), {}),
            ("GroupNorm", (2, 2), {"affine": False}),
            ("Dropout2d", (0.0,), {}),
            ("Upsample", (), {"scale_factor": 2}),
            ("Upsample", ((7, 3),), {}),
            ("Upsample", (), {"scale_factor": (2, 1.5), "mode": "bilinear"}),
            ("Upsample", (7,), {"mode": "bilinear", "align_corners": True}),
            ("Unflatten", (2, (2, -1)), {}),
        )
    ),
    LayerCase("MaxPool2d", (2,), {}, numbers(2, 4, 5)),
]
