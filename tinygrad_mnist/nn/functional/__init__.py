"""The layers and losses as functions: thin over the operations, without state and without gradient code.

On Tensors they are recorded; where all arguments are arrays, they return arrays.
"""

from tinygrad_mnist.nn.functional.activations import (
    gelu,
    leaky_relu,
    log_softmax,
    relu,
    sigmoid,
    softmax,
    tanh,
)
from tinygrad_mnist.nn.functional.layers import batch_norm, dropout, flatten, layer_norm, linear
from tinygrad_mnist.nn.functional.losses import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    mse_loss,
    nll_loss,
    one_hot,
)

__all__ = [
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "dropout",
    "flatten",
    "gelu",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "mse_loss",
    "nll_loss",
    "one_hot",
    "relu",
    "sigmoid",
    "softmax",
    "tanh",
]
