"""The basics of a Tensor: a gradient, a gradient of a gradient, and an error that says what is wrong."""

import numpy as np

from tinygrad_mnist import Tensor, grad, no_grad

# A Tensor wraps an array. NumPy's own functions work on it, and each is remembered.
x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
y = np.mean(np.exp(x / 2) * x, axis=0)
print("y =", y)

# backward() walks back over what was remembered and leaves the gradient in .grad.
y.sum().backward()
print("x.grad =", x.grad)
print("on paper:", np.exp(x.data / 2) * (1 + x.data / 2) / 2)

# Arrays and numbers mix with Tensors on either side; the result is a Tensor.
print("array @ tensor =", np.array([1.0, -1.0]) @ x)

# grad(f) is a function too, so it can be differentiated again.
sine = np.sin
for order in range(4):
    print(f"derivative {order} of sin at 1:", sine(1.0))
    sine = grad(sine)

# Nothing is recorded here.
with no_grad():
    print("requires_grad under no_grad:", (x * x).requires_grad)

# An error names the operation and the shapes.
try:
    x @ np.ones((3, 3))
except ValueError as error:
    print("ValueError:", error)
