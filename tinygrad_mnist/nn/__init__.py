"""Layers, losses and initialisers, under PyTorch's names and with its layouts; no gradient code.

Examples
--------
>>> import numpy as np
>>> from tinygrad_mnist import nn
>>> nn.manual_seed(0)
>>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
>>> loss = nn.CrossEntropyLoss()(model(np.eye(4, dtype=np.float32)), np.array([0, 1, 2, 0]))
>>> loss.backward()
>>> {name: parameter.grad.shape for name, parameter in model.named_parameters()}
{'0.weight': (8, 4), '0.bias': (8,), '1.weight': (8,), '1.bias': (8,), '3.weight': (3, 8), '3.bias': (3,)}
"""

from typing import TYPE_CHECKING, Any

from tinygrad_mnist.engine.pytorch_names import missing_name
from tinygrad_mnist.nn import functional, init
from tinygrad_mnist.nn.activations import (
    ELU,
    GELU,
    Hardtanh,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from tinygrad_mnist.nn.batch_norm import BatchNorm1d, BatchNorm2d
from tinygrad_mnist.nn.containers import ModuleDict, ModuleList, ParameterDict, ParameterList, Sequential
from tinygrad_mnist.nn.convolution_layers import Conv1d, Conv2d, ConvTranspose2d
from tinygrad_mnist.nn.embedding import Embedding
from tinygrad_mnist.nn.init import manual_seed
from tinygrad_mnist.nn.layers import Dropout, Dropout2d, Flatten, Identity, LayerNorm, Linear, Unflatten
from tinygrad_mnist.nn.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from tinygrad_mnist.nn.module import Module
from tinygrad_mnist.nn.normalization_layers import GroupNorm, RMSNorm
from tinygrad_mnist.nn.parameter import Parameter
from tinygrad_mnist.nn.pooling_layers import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d, Upsample
from tinygrad_mnist.nn.stateless import functional_call

__all__ = [
    "L1Loss",
    "Softplus",
    "ModuleDict",
    "Module",
    "ELU",
    "init",
    "Embedding",
    "Softmax",
    "ParameterDict",
    "AvgPool2d",
    "Dropout",
    "LeakyReLU",
    "MaxPool2d",
    "Upsample",
    "Tanh",
    "NLLLoss",
    "BatchNorm2d",
    "ConvTranspose2d",
    "HuberLoss",
    "Sigmoid",
    "functional_call",
    "MSELoss",
    "manual_seed",
    "Flatten",
    "Conv1d",
    "LayerNorm",
    "BCEWithLogitsLoss",
    "SmoothL1Loss",
    "BCELoss",
    "CrossEntropyLoss",
    "SiLU",
    "AdaptiveAvgPool2d",
    "BatchNorm1d",
    "Sequential",
    "Linear",
    "GroupNorm",
    "ReLU",
    "Parameter",
    "Conv2d",
    "Unflatten",
    "ParameterList",
    "RMSNorm",
    "Identity",
    "functional",
    "ModuleList",
    "Dropout2d",
    "Hardtanh",
    "LogSoftmax",
    "KLDivLoss",
    "GELU",
]


if not TYPE_CHECKING:  # to a type checker an unknown name stays an error

    def __getattr__(name: str) -> Any:
        raise missing_name(__name__, name)
