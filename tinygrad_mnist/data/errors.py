"""The errors of data sets, images and labels.

Every message is a sentence: it names the file or the value, what was found, what was expected, and what to
do.
"""


class DataError(ValueError):
    """An error in a data set, an image or a label.

    Examples
    --------
    >>> from tinygrad_mnist.data import load
    >>> load("minst")
    Traceback (most recent call last):
    tinygrad_mnist.data.errors.DataError: there is no data set and no directory called 'minst'...
    """


class DataUnavailableError(DataError):
    """An error for a data set that is not on this machine and could not be downloaded.

    It is not raised if the user named a directory. ``load("auto")`` falls back to the bundled digits for this
    error, and for no other one.

    Parameters
    ----------
    message : str
        The whole sentence.
    cause : str, optional
        The reason in a few words that can follow "because"; by default the message.
    """

    def __init__(self, message: str, cause: str | None = None) -> None:
        super().__init__(message)
        self.cause = message if cause is None else cause
