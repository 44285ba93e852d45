"""Transforms of functions: gradients, Jacobians, Hessians, their products with vectors, and checkpoints.

The signatures are JAX's. Arguments and results are arrays, alone or in nested dicts, lists and (named)
tuples. On arrays the transforms return arrays; on Tensors they return Tensors that are on the tape, so that
transforms nest.
"""

from tinygrad_mnist.transforms.checkpointing import checkpoint
from tinygrad_mnist.transforms.forward import hvp, jvp
from tinygrad_mnist.transforms.jacobians import hessian, jacobian
from tinygrad_mnist.transforms.reverse import grad, value_and_grad, vjp

__all__ = ["checkpoint", "grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"]
