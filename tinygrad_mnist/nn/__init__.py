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
from tinygrad_mnist.nn.embedding import Embedding
from tinygrad_mnist.nn.init import manual_seed
from tinygrad_mnist.nn.layers import Dropout, Flatten, Identity, LayerNorm, Linear
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
from tinygrad_mnist.nn.stateless import functional_call

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "CrossEntropyLoss",
    "Dropout",
    "ELU",
    "Embedding",
    "Flatten",
    "GELU",
    "GroupNorm",
    "Hardtanh",
    "HuberLoss",
    "Identity",
    "KLDivLoss",
    "L1Loss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "ParameterDict",
    "ParameterList",
    "RMSNorm",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Softplus",
    "Tanh",
    "functional",
    "functional_call",
    "init",
    "manual_seed",
]


if not TYPE_CHECKING:  # to a type checker an unknown name stays an error

    def __getattr__(name: str) -> Any:
        raise missing_name(__name__, name)
