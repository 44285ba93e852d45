"""Transforms of functions: gradients, Jacobians, Hessians, their products with vectors, and checkpoints.

The signatures are JAX's. Arguments and results are arrays, alone or in nested dicts, lists and (named)
tuples. On arrays the transforms return arrays. On Tensors, or of a function that uses a Tensor that requires
a gradient (a parameter of a module, say), they return Tensors that are on the tape: nothing loses its
gradient, and transforms nest.
"""

from tinygrad_mnist.transforms.checkpointing import checkpoint
from tinygrad_mnist.transforms.forward import hvp, jvp
from tinygrad_mnist.transforms.jacobians import hessian, jacobian
from tinygrad_mnist.transforms.reverse import grad, value_and_grad, vjp

__all__ = ["checkpoint", "grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"]
