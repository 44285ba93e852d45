"""Declare an operation of your own, get its gradient rule wrong, and let the check find and explain it.

    python examples/check_your_own_op.py
    tinygrad-mnist gradcheck examples/check_your_own_op.py:swish --order 2

The operation is swish(x) = x * s(x), where s is the sigmoid, 1 / (1 + exp(-x)). By the product rule its
derivative is s(x) + x * s'(x), and s' = s * (1 - s).
"""

import numpy as np

from tinygrad_mnist import Tensor
from tinygrad_mnist.op import Domain, elementwise
from tinygrad_mnist.testing import GradientError, check_op, gradcheck


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# A rule is the gradient by x, given the gradient g by the result `out`: g times the derivative.
wrong_swish = elementwise(
    lambda x: x * sigmoid(x),
    lambda g, out, x: g * sigmoid(x),  # the second term of the product rule was forgotten
    name="wrong_swish",
    domain=Domain(-4.0, 4.0),  # where it is checked
)
swish = elementwise(
    lambda x: x * sigmoid(x),
    lambda g, out, x: g * (sigmoid(x) + x * sigmoid(x) * (1 - sigmoid(x))),
    name="swish",
    domain=Domain(-4.0, 4.0),
)


def main() -> None:
    x = np.array([-1.0, 0.0, 2.0])

    print("1. A wrong rule is found. 3 results by 3 inputs are 9 entries of the Jacobian; 'analytic' is what")
    print("the rule says, 'numeric' what differences of values say:\n")
    try:
        gradcheck(wrong_swish, x, modes=["reverse"])
    except GradientError as error:
        print(error)
        entries = error.report.entries

    print("\n2. What is missing explains it. Each element of the result depends on its own x alone, so:\n")
    print("    x   numeric - analytic   x * s(x) * (1 - s(x))")
    for entry in entries:
        if entry.index == entry.output_index:
            at = x[entry.index]
            term = at * sigmoid(at) * (1 - sigmoid(at))
            print(f"{at:5.1f} {entry.numeric - entry.analytic:20.6f} {term:23.6f}")
    print(
        "\nThe columns are the same: the rule forgot x * s'(x). At 0 that term is 0, so a check there alone"
    )
    print("would pass: check at several points.")

    check_op(swish, max_examples=10)
    print(
        "\n3. The right rule passes: value, both modes, second order, float32, memory layouts, and the rest."
    )
    leaf = Tensor(x, requires_grad=True)
    np.sum(swish(leaf)).backward()
    print("Its gradient:", leaf.grad)


if __name__ == "__main__":
    main()
