"""Declare an operation of your own, get its gradient rule wrong, and let the check find and explain it.

    python examples/check_your_own_op.py
    tinygrad-mnist gradcheck examples/check_your_own_op.py:RIGHT --order 2
"""

import numpy as np

from tinygrad_mnist import Tensor
from tinygrad_mnist.op import Domain, Op
from tinygrad_mnist.testing import GradientError, check_op, gradcheck


def swish(rule) -> Op:
    """x * sigmoid(x), with a gradient rule: ``rule(g, out, x)`` is the cotangent of x."""
    return Op(
        "swish",
        lambda x: x / (1 + np.exp(-x)),
        "elementwise",
        rules=(rule,),
        domain=Domain(-4.0, 4.0),
        samples="broadcast",
        broadcasts=True,
    )


# The product rule was forgotten: x's own derivative is there, the sigmoid's is not.
WRONG = swish(lambda g, out, x: g / (1 + np.exp(-x)))
RIGHT = swish(lambda g, out, x: g * (1 + out * np.exp(-x)) / (1 + np.exp(-x)))


def main() -> None:
    try:
        gradcheck(WRONG, np.array([-1.0, 0.0, 2.0]))
    except GradientError as error:
        print("The wrong rule:", error, sep="\n")

    check_op(RIGHT, max_examples=10)
    print("\nThe right rule passes: value, both modes, second order, float32, memory layouts, and the rest.")

    x = Tensor(np.array([-1.0, 0.0, 2.0]), requires_grad=True)
    np.sum(RIGHT(x)).backward()
    print("Its gradient:", x.grad)


if __name__ == "__main__":
    main()
