"""The errors of this room, and nothing else.

Every message is a sentence that names the file or the value, what was found, what was expected and what to
do.
"""


class DataError(ValueError):
    """A data set, an image or a label is not what it has to be.

    Examples
    --------
    >>> from tinygrad_mnist.data import load
    >>> load("minst")
    Traceback (most recent call last):
    tinygrad_mnist.data.errors.DataError: there is no data set and no directory called 'minst'...
    """


class DataUnavailableError(DataError):
    """A data set is not on this machine and could not be fetched, and nobody said that it was here.

    ``load("auto")`` answers this error, and only this one, with the bundled digits.

    Parameters
    ----------
    message : str
        All that is known.
    cause : str, optional
        The same in a few words, for a notice, as they stand after "because"; the message by default.
    """

    def __init__(self, message: str, cause: str | None = None) -> None:
        super().__init__(message)
        self.cause = message if cause is None else cause
