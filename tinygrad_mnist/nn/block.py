"""Linear, batch norm and ReLU one after the other, as one operation: the same values with less to record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_mnist.engine.tape import recording
from tinygrad_mnist.engine.tensor import Tensor, _lift, apply
from tinygrad_mnist.nn.activations import ReLU
from tinygrad_mnist.nn.functional.layers import observer
from tinygrad_mnist.nn.layers import Linear
from tinygrad_mnist.nn.module import Module
from tinygrad_mnist.nn.normalization import BatchNorm1d
from tinygrad_mnist.ops.linear import block_evaluated, linear_batch_norm_relu


def hidden_layer(modules: Sequence[Module], position: int, input: Any) -> Tensor | None:
    """What the three modules from a position on make of an input, if they are such a layer; else None.

    What does not fit is left to the modules, which say what is wrong with it. In evaluation this is for what
    is not recorded.
    """
    linear = modules[position]
    if type(linear) is not Linear or len(modules) < position + 3:
        return None
    norm, relu = modules[position + 1], modules[position + 2]
    if type(norm) is not BatchNorm1d or type(relu) is not ReLU:
        return None
    if "forward" in vars(linear) or "forward" in vars(norm) or "forward" in vars(relu):
        return None  # somebody put one there
    weight, bias, gamma, beta = linear.weight, linear.bias, norm.weight, norm.bias
    if bias is None or gamma is None or beta is None:
        return None
    x, w, b = input._array if isinstance(input, Tensor) else input, weight._array, bias._array
    if type(x) is not np.ndarray:  # a list, or a masked array, which is refused
        return None
    shape, dtype = x.shape, x.dtype
    if len(shape) != 2 or shape[1:] != w.shape[1:]:
        return None
    if not (norm.num_features,) == w.shape[:1] == b.shape == gamma._array.shape == beta._array.shape:
        return None
    if not dtype == w.dtype == b.dtype == gamma._array.dtype == beta._array.dtype:  # not `is`: pickled ones
        return None
    mean, var = norm.running_mean, norm.running_var
    if norm.training:
        if norm.momentum is None or shape[0] < 2:
            return None
        observe = observer(mean, var, norm.momentum, shape[0])
        arguments = (input, weight, bias, gamma, beta)
        out = apply(linear_batch_norm_relu, arguments, {"eps": norm.eps, "observe": observe})
        if observe is not None:
            norm.count_batch()
        return out
    if mean is None or var is None or recording.get():
        return None
    if not (mean.dtype == var.dtype == dtype and mean.shape == var.shape == b.shape):
        return None
    return _lift(block_evaluated(x, w, b, gamma._array, beta._array, mean, var, norm.eps), None)
