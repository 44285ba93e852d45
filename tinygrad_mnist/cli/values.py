"""Values of options, from text. What is in range is not decided here."""

from __future__ import annotations

import argparse


def name(text: str) -> str:
    """A name or a path, which is not empty, as that of a shell variable that is not set would be."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; is a variable not set?")
    return text


def thread_count(text: str) -> int:
    """A number of threads, 1 or more."""
    count = whole_number(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return count


def level(text: str) -> int:
    """How deep, 0 or more."""
    number = whole_number(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return number


def seed(text: str) -> int:
    """The root of all randomness, 0 or more."""
    number = whole_number(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return number


def whole_number(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


def number(text: str) -> float:
    """A number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None


def batch_size(text: str) -> int | None:
    """A number of images, or ``full`` for all of them."""
    return None if text == "full" else whole_number(text)


def hidden(text: str) -> tuple[int, ...]:
    """Units of the hidden layers, as in ``256,128``; ``none`` for no hidden layer."""
    if text == "none":
        return ()
    try:
        return tuple(int(units) for units in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers, as in 256,128") from None
