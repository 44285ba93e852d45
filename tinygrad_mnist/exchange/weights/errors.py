"""The error of files of weights; each message is one sentence that says what to do."""


class WeightsError(ValueError):
    """Weights that a file cannot hold, or a file that cannot be read as weights or cannot be written.

    Examples
    --------
    >>> from tinygrad_mnist.exchange import load_weights
    >>> load_weights("model.bin")
    Traceback (most recent call last):
    tinygrad_mnist.exchange.weights.errors.WeightsError: model.bin has no suffix of a file of weights; ...
    """
