"""Linear, batch norm and ReLU one after the other, as one operation: the same values with less to record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_mnist.nn.activations import ReLU
from tinygrad_mnist.nn.functional.layers import observer
from tinygrad_mnist.nn.layers import Linear
from tinygrad_mnist.nn.module import Module
from tinygrad_mnist.nn.normalization import BatchNorm1d
from tinygrad_mnist.ops.normalization import linear_batch_norm_relu
from tinygrad_mnist.tensor import Tensor


def hidden_layer(modules: Sequence[Module], input: Any) -> Tensor | None:
    """What three modules make of an input, if they are such a layer in training and all fits; else None.

    What does not fit is left to the modules, which say what is wrong with it.
    """
    if type(modules[0]) is not Linear or len(modules) < 3:
        return None
    linear, norm, relu = modules
    if type(norm) is not BatchNorm1d or type(relu) is not ReLU or not norm.training:
        return None
    weight, bias, gamma, beta = linear.weight, linear.bias, norm.weight, norm.bias
    if bias is None or gamma is None or beta is None or norm.momentum is None:
        return None
    x, w, b = input._array if isinstance(input, Tensor) else np.asarray(input), weight._array, bias._array
    shape, dtype = x.shape, x.dtype
    if len(shape) != 2 or shape[0] < 2 or shape[1] != w.shape[1] or gamma._array.shape != b.shape:
        return None
    if not (dtype is w.dtype is b.dtype is gamma._array.dtype is beta._array.dtype):
        return None
    observe = observer(norm.running_mean, norm.running_var, norm.momentum, shape[0])
    if observe is not None:
        norm.count_batch()
    out: Tensor = linear_batch_norm_relu(input, weight, bias, gamma, beta, eps=norm.eps, observe=observe)
    return out
