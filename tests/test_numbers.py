"""Numbers as text where a unit or a digit ends; the usual ones are in the examples of the functions."""

import pytest

from tinygrad_mnist.numbers import bytes_text, count_text, duration_text, math_text, number_text, seconds_text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 epochs"),
        (1, "1 epoch"),
        (1.0, "1 epoch"),
        (1.5, "1.5 epochs"),
        (1234.5, "1,234.5 epochs"),
    ],
)
def test_counts(number: float, text: str) -> None:
    assert count_text(number, "epoch") == text


@pytest.mark.parametrize(
    ("noun", "plural"),
    [("class", "classes"), ("axis", "axes"), ("entry", "entries"), ("batch", "batches"), ("byte", "bytes")],
)
def test_plurals(noun: str, plural: str) -> None:
    assert (count_text(1, noun), count_text(2, noun)) == (f"1 {noun}", f"2 {plural}")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599.0, "59 min 59 s"), (7530.0, "2 h 5 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 µs"),
        (999e-6, "999 µs"),
        (999.4e-6, "999 µs"),
        (999.9e-6, "1 ms"),
        (0.9999, "1 s"),
        (999.0, "999 s"),
        (1234.0, "1234 s"),
    ],
)
def test_times(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1000 * 1024, "1000 KiB"),
        (1023 * 1024, "1023 KiB"),
        (1024**2 - 1, "1 MiB"),
        (5000 * 1024**3, "5000 GiB"),
    ],
)
def test_bytes(count: int, text: str) -> None:
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("x", "plain", "mathematical"),
    [
        (1e-9, "1e-09", "1e−09"),
        (1e5, "1e+05", "1e5"),
        (-0.5, "-0.5", "−0.5"),
        (float("nan"), "nan", "NaN"),
        (float("inf"), "inf", "∞"),
    ],
)
def test_numbers(x: float, plain: str, mathematical: str) -> None:
    assert (number_text(x), math_text(x)) == (plain, mathematical)
