"""Linear, BatchNorm1d and ReLU in a row, run by `Sequential` as one fused operation.

The values are the same, bit for bit, as those of the three modules; there is less to call and to record. This
is a shortcut for the usual hidden layer only: whatever is unusual about the modules, their parameters or the
input is left to the modules themselves, which know what it means or which error to raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.engine.shards import current as current_shard
from tinygrad_mnist.engine.tape import recording
from tinygrad_mnist.engine.tensor import Tensor, _lift, apply
from tinygrad_mnist.nn.activations import ReLU
from tinygrad_mnist.nn.batch_norm import BatchNorm1d
from tinygrad_mnist.nn.functional import statistics_updater
from tinygrad_mnist.nn.layers import Linear
from tinygrad_mnist.nn.module import Module
from tinygrad_mnist.ops.half import HALF
from tinygrad_mnist.ops.linear import block_evaluated, linear_batch_norm_relu

Array = NDArray[Any]


def fused_hidden_layer(modules: Sequence[Module], position: int, input: Any) -> Tensor | None:
    """Run the three modules from a position on as one operation, if they are a usual hidden layer.

    Parameters
    ----------
    modules : sequence of Module
        All modules of a Sequential.
    position : int
        The index of the one that might be the Linear of a hidden layer.
    input : object
        The argument that the Linear would get.

    Returns
    -------
    Tensor or None
        The output of the ReLU; None if the modules have to be called one by one.
    """
    layer = _hidden_layer_at(modules, position)
    if layer is None:
        return None
    linear, norm = layer
    arguments = (input, linear.weight, linear.bias, norm.weight, norm.bias)
    arrays = _fitting_arrays(norm.num_features, *arguments)
    if arrays is None:
        return None
    if norm.training:
        return _run_in_training(norm, arguments, len(arrays[0]))
    return _run_in_evaluation(norm, *arrays)


def _hidden_layer_at(modules: Sequence[Module], position: int) -> tuple[Linear, BatchNorm1d] | None:
    """Return the Linear and the BatchNorm1d at a position, if a ReLU follows; else None."""
    if type(modules[position]) is not Linear or len(modules) < position + 3:
        return None
    linear, norm, relu = modules[position : position + 3]
    # By type and not by isinstance: a subclass may compute something else.
    if type(linear) is not Linear or type(norm) is not BatchNorm1d or type(relu) is not ReLU:
        return None
    # Somebody may have replaced the forward of one instance, too.
    if "forward" in vars(linear) or "forward" in vars(norm) or "forward" in vars(relu):
        return None
    return linear, norm


def _fitting_arrays(
    channels: int, input: Any, weight: Tensor, bias: Tensor | None, gamma: Tensor | None, beta: Tensor | None
) -> tuple[Array, Array, Array, Array, Array] | None:
    """Return the arrays of all arguments, if none is missing and shapes and dtypes fit; else None."""
    if bias is None or gamma is None or beta is None:
        return None
    x = input._array if isinstance(input, Tensor) else input
    if type(x) is not np.ndarray:  # a list, or a masked array, for which the module raises
        return None
    if x.dtype == HALF:  # the modules compute in float32
        return None
    w, b, g, s = weight._array, bias._array, gamma._array, beta._array
    if len(x.shape) != 2 or x.shape[1:] != w.shape[1:]:
        return None
    # Equal, not merely fit to broadcast: a bias of shape (1,) is an error of the modules.
    if not (channels,) == w.shape[:1] == b.shape == g.shape == s.shape:
        return None
    # By == and not by `is`: the dtypes of unpickled arrays are objects of their own.
    if not x.dtype == w.dtype == b.dtype == g.dtype == s.dtype:
        return None
    return x, w, b, g, s


def _run_in_training(norm: BatchNorm1d, arguments: tuple[Any, ...], rows: int) -> Tensor | None:
    """Apply the fused operation and move the running statistics; None where BatchNorm1d has to decide."""
    # a plain mean over all batches; an error; statistics of the rows that other processes have, too
    if norm.momentum is None or rows < 2 or current_shard() is not None:
        return None
    # The bias of the Linear cancels as the mean is subtracted, and is added all the same: the running mean
    # contains it, and a NaN in it is seen as it is without the shortcut.
    update = statistics_updater(norm.running_mean, norm.running_var, norm.momentum, rows)
    out = apply(linear_batch_norm_relu, arguments, {"eps": norm.eps, "observe": update})
    if update is not None:
        norm.count_batch()
    return out


def _run_in_evaluation(
    norm: BatchNorm1d, x: Array, weight: Array, bias: Array, gamma: Array, beta: Array
) -> Tensor | None:
    """Normalise by the running statistics, without a tape; None where something is to be recorded."""
    mean, var = norm.running_mean, norm.running_var
    # A gradient in evaluation mode is rare, and the modules compute it: this shortcut needs no rule for it.
    if mean is None or var is None or recording.get():
        return None
    if not (mean.dtype == var.dtype == x.dtype and mean.shape == var.shape == bias.shape):
        return None
    return _lift(block_evaluated(x, weight, bias, gamma, beta, mean, var, norm.eps), None)
