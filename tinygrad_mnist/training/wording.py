"""Numbers as people read them."""

from __future__ import annotations


def percent(share: float, digits: int = 2) -> str:
    """A share of 1 in percent.

    Examples
    --------
    >>> percent(0.98254)
    '98.25 %'
    """
    return f"{100 * share:.{digits}f} %"


def name_data(name: str, source: str) -> str:
    """What a data set is called in a sentence, by its source: a directory may be called ``digits`` too.

    Examples
    --------
    >>> name_data("digits", "digits"), name_data("mnist", "mnist"), name_data("digits", "/home/me/digits")
    ('the bundled digits', 'MNIST', 'digits')
    """
    return {"digits": "the bundled digits", "mnist": "MNIST"}.get(source, name)


def count(number: float, unit: str) -> str:
    """A number of something, with two decimals at most.

    Examples
    --------
    >>> count(1, "epoch"), count(0.38882, "epoch"), count(1000, "iteration")
    ('1 epoch', '0.39 epochs', '1000 iterations')
    """
    return f"{round(number, 2):.10g} {unit}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Seconds, in minutes where they are many.

    Examples
    --------
    >>> duration(4.4), duration(250)
    ('4 s', '4 min 10 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
