"""Saliency: how much each pixel of an image moves the answer of a model, by the gradient of its input."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import nn
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn.module import evaluation_mode


def saliency(model: nn.Module, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the gradient of the predicted class's output by each pixel.

    The output is the logit, before the softmax: the probability of a sure answer hardly changes with
    anything. Source: K. Simonyan, A. Vedaldi and A. Zisserman, "Deep inside convolutional networks:
    visualising image classification models and saliency maps" (2014), section 3.

    Parameters
    ----------
    model : Module
        From images, as `inputs` are, to logits of shape (n, classes). It stays as it is, and is used as in
        evaluation mode.
    inputs : ndarray
        Standardised images, shape (n, ...).

    Returns
    -------
    ndarray
        The shape and dtype of `inputs`.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> weight = np.array([[1, 2, 3, 4], [0, 0, 0, 0]], np.float32)
    >>> keys = model.load_state_dict({"1.weight": weight, "1.bias": np.zeros(2, np.float32)})
    >>> saliency(model, np.ones((1, 1, 2, 2), np.float32))
    array([[[[1., 2.],
             [3., 4.]]]], dtype=float32)
    """
    twin = deepcopy(model).requires_grad_(False)  # so that the parameters of the model get no gradient
    x = Tensor(inputs, requires_grad=True)
    with evaluation_mode():
        logits = twin(x)
        predicted = logits.detach().numpy().argmax(axis=1)
        # each logit depends on its own image alone, so the gradient of their sum is that of each
        np.sum(logits[np.arange(len(predicted)), predicted]).backward()
    assert x.grad is not None
    gradient: NDArray[np.float32] = x.grad.numpy()
    return gradient
