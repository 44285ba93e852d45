"""Formulae on expressions write the instructions that they say."""

from fractions import Fraction

import pytest

from tinygrad_mnist.compiler.expression import FORMATS, Body, Expression, Format, fma, polynomial, select


@pytest.fixture
def x() -> Expression:
    return Expression(Body(FORMATS["float32"]), "float", "%x")


def test_an_operator_writes_one_instruction_on_the_number_or_on_its_bits(x: Expression) -> None:
    half = (x.bits() >> 1).from_bits() * x
    assert half.type == "float"
    assert x.body.lines == [
        "  %v0 = bitcast float %x to i32",
        "  %v1 = ashr i32 %v0, 1",
        "  %v2 = bitcast i32 %v1 to float",
        "  %v3 = fmul float %v2, %x",
    ]


def test_a_number_on_the_left_is_a_constant_of_the_format(x: Expression) -> None:
    1 - x
    assert x.body.lines == ["  %v0 = fsub float 0x3FF0000000000000, %x"]
    # a tenth, rounded to float32, as the bits of the double with this value
    assert x.constant(Fraction(1, 10)).text == "0x3FB99999A0000000"


def test_comparisons_are_false_for_nan(x: Expression) -> None:
    select(x < 0, -x, x)
    assert x.body.lines[0] == "  %v0 = fcmp olt float %x, 0x0000000000000000"
    assert x.body.lines[-1] == "  %v2 = select i1 %v0, float %v1, float %x"


def test_what_is_computed_in_another_format_goes_to_the_same_body(x: Expression) -> None:
    wide = x.convert("fpext", "double", Body(FORMATS["float64"], x.body))
    fma(wide, wide, 1)
    assert x.body.lines == [
        "  %v0 = fpext float %x to double",
        "  %v1 = call double @llvm.fmuladd.f64(double %v0, double %v0, double 0x3FF0000000000000)",
    ]


@pytest.mark.parametrize("count", [2, 3, 8])
def test_a_polynomial_multiplies_and_adds_once_for_each_coefficient(count: int, x: Expression) -> None:
    polynomial(x, [1.0] * count)
    assert sum("fmuladd" in line for line in x.body.lines) == count - 1


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_a_split_number_times_an_exponent_is_exact(form: Format) -> None:
    number = Fraction("0.693147180559945309417232121458")
    high, low = map(Fraction, form.split(number))
    for exponent in (form.bias, -form.bias - form.fraction):
        assert form.round(high * exponent) == high * exponent
    assert abs(high + low - number) < abs(low) * Fraction(2) ** -form.fraction
