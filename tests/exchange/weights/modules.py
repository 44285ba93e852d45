"""Every module of `nn` with an example input, built of ours or of PyTorch's."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_mnist import nn

Array = np.ndarray


def numbers(*shape: int) -> Array:
    return np.sin(1.7 * np.arange(1, np.prod(shape, dtype=int) + 1)).reshape(shape).astype(np.float32)


class Case(NamedTuple):
    """A way to build a module of a library, and what it is called with."""

    build: Callable[[Any], Any]
    inputs: tuple[Array, ...]


ROWS, IMAGES = numbers(4, 3), numbers(2, 2, 3, 4)
SEQUENCES = numbers(2, 2, 6)
LABELS = np.array([2, 0, 1, 2])
SHARES = np.exp(ROWS) / np.exp(ROWS).sum(axis=1, keepdims=True)


def layer(name: str, *args: Any, inputs: tuple[Array, ...] = (ROWS,), **options: Any) -> tuple[str, Case]:
    return name, Case(lambda library: getattr(library, name)(*args, **options), inputs)


def own_module(library: Any) -> Any:
    """A module of a user's own: parameters, a buffer, tied weights, a transposed parameter."""

    class Own(library.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.encoder = library.Linear(3, 3)
            self.decoder = library.Linear(3, 3, bias=False)
            self.decoder.weight = self.encoder.weight
            self.register_buffer("mean", library.BatchNorm1d(3).running_mean)

        def forward(self, x: Any) -> Any:
            return self.decoder(self.encoder(x) - self.mean)

    return Own()


def containers(name: str, hold: Callable[[Any], Any], use: Callable[[Any, Any], Any]) -> tuple[str, Case]:
    """A module that has a container of the library, and its way to use what is in it."""

    def build(library: Any) -> Any:
        class Holder(library.Module):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.held = hold(library)

            def forward(self, x: Any) -> Any:
                return use(self.held, x)

        return Holder()

    return name, Case(build, (ROWS,))


def parameters_of(library: Any) -> list[Any]:
    return list(library.Linear(3, 3).parameters())


CASES: dict[str, Case] = dict(
    [
        ("Module", Case(own_module, (ROWS,))),
        layer("Linear", 3, 2),
        layer("Flatten", inputs=(IMAGES,)),
        layer("Unflatten", 1, (1, 3)),
        layer("Identity"),
        layer("Dropout", 0.0),
        layer("Dropout2d", 0.0, inputs=(IMAGES,)),
        layer("Conv1d", 2, 3, 3, inputs=(SEQUENCES,)),
        layer("Conv2d", 2, 4, (3, 2), padding=1, groups=2, inputs=(IMAGES,)),
        layer("ConvTranspose2d", 2, 3, 2, stride=2, inputs=(IMAGES,)),
        layer("MaxPool2d", 2, inputs=(IMAGES,)),
        layer("AvgPool2d", 2, inputs=(IMAGES,)),
        layer("AdaptiveAvgPool2d", (2, 1), inputs=(IMAGES,)),
        layer("Upsample", scale_factor=2, inputs=(IMAGES,)),
        layer("BatchNorm1d", 3),
        layer("BatchNorm2d", 2, momentum=None, inputs=(IMAGES,)),
        layer("LayerNorm", 3),
        layer("GroupNorm", 1, 3),
        layer("RMSNorm", 3),
        layer("Embedding", 3, 2, inputs=(LABELS,)),
        *(layer(name) for name in ("ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "Tanh", "Sigmoid")),
        *(layer(name) for name in ("Softplus", "Hardtanh")),
        layer("Softmax", 1),
        layer("LogSoftmax", 1),
        layer("CrossEntropyLoss", inputs=(ROWS, LABELS)),
        layer("NLLLoss", inputs=(np.log(SHARES), LABELS)),
        layer("BCELoss", inputs=(SHARES, SHARES)),
        layer("BCEWithLogitsLoss", inputs=(ROWS, SHARES)),
        layer("KLDivLoss", reduction="batchmean", inputs=(np.log(SHARES), SHARES)),
        *(layer(name, inputs=(ROWS, SHARES)) for name in ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss")),
        (
            "Sequential",
            Case(
                lambda library: library.Sequential(
                    library.Conv2d(2, 3, 3, padding=1), library.BatchNorm2d(3), library.ReLU(),
                    library.Flatten(), library.Linear(36, 3), library.BatchNorm1d(3),
                ),
                (IMAGES,),
            ),
        ),
        containers(
            "ModuleList",
            lambda library: library.ModuleList([library.Linear(3, 2)]),
            lambda held, x: held[0](x),
        ),
        containers(
            "ModuleDict",
            lambda library: library.ModuleDict({"head": library.Linear(3, 2)}),
            lambda held, x: held["head"](x),
        ),
        containers(
            "ParameterList",
            lambda library: library.ParameterList(parameters_of(library)),
            lambda held, x: x @ held[0] + held[1],
        ),
        containers(
            "ParameterDict",
            lambda library: library.ParameterDict(dict(zip("wb", parameters_of(library), strict=True))),
            lambda held, x: x @ held["w"] + held["b"],
        ),
    ]
)  # fmt: skip


def everything(library: Any) -> Any:
    """All of them in one module."""
    return library.ModuleDict({name: case.build(library) for name, case in CASES.items()})


def modules_of_nn() -> set[str]:
    return {
        name
        for name in nn.__all__
        if isinstance(kind := getattr(nn, name), type) and issubclass(kind, nn.Module)
    }
