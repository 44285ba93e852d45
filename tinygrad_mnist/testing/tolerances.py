"""The tolerances of the gradient checker: every number that decides something, with its unit and its reason.

All code of ``tinygrad_mnist.testing`` reads them from :data:`TOLERANCES`. A number is *derived* where its
reason is arithmetic, and *chosen* where it is a case that has to pass or to fail, which ``tests/testing``
holds. ``eps`` is the spacing of the float64 numbers at 1, 2.2e-16; a *rounding* of a number is ``eps`` times
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True)
class Tolerances:
    """Every tolerance of the checker, in the order in which a check meets them."""

    # ---- how closely two derivatives have to agree -------------------------------------------------------

    rtol: Mapping[str, float] = field(
        default_factory=lambda: MappingProxyType({"float64": 1e-6, "float32": 1e-3, "float16": 3e-2})
    )
    """Relative error that is accepted of a derivative, by dtype.

    Derived: about ``eps ** 0.4`` of the dtype. Measured: of all operations, 30 calls each, half are off by
    less than 1e-11, and all by less than 6e-7; in float32, by 4e-8 and 1e-3. Wrong rules are off by 1 % and
    more.
    """

    narrow_rounding: float = 64.0
    """Roundings of the narrow dtype, at the largest derivative, that are accepted of float32 and float16.

    Chosen: a sum of some dozens of terms loses 6 bits.
    """

    safety: float = 10.0
    """Factor on the uncertainty of a numeric derivative.

    Measured: the error of 12 smooth functions at 400 points each is at most 2.3 times the estimated
    uncertainty.
    """

    decisive: float = 3e-3
    """Relative uncertainty of a numeric derivative up to which it decides.

    Derived: a rule that is wrong by 1 % has to be found, so the doubt is kept at a third of that.
    """

    negligible: float = 1e-6
    """Uncertainty, as a part of the function's values, up to which two hidden derivatives count as 0.

    Chosen: the `rtol` of float64 once more.
    """

    resolved: float = 1e-8
    """Uncertainty, as a part of the function's values, up to which two derivatives that agree are right.

    Derived: about ``sqrt(eps)``, the resolution of a plain difference quotient of such values.
    """

    zero_rounding: float = 64.0
    """Roundings of the largest value that are accepted where the numeric derivative is hidden by its doubt.

    Chosen, as `narrow_rounding`.
    """

    repeated_roundings: float = 64.0
    """Roundings of the largest value up to which a function counts as having computed the same twice.

    Chosen, as `narrow_rounding`: a function that is compiled sums in another order than on the tape.
    """

    rounded_zero: Mapping[int, float] = field(
        default_factory=lambda: MappingProxyType({1: 1.5e-17, 2: 1e-13})
    )
    """Part of the steepest derivative by the same input below which a derivative is a rounded 0, by order.

    Derived at order 1: a fifteenth of ``eps``, less than one rounding. Chosen at order 2: there the function
    is a gradient, a sum of terms that cancel.
    """

    # ---- central differences and their steps -------------------------------------------------------------

    richardson_levels: int = 3
    """Differences at h, h/2 and h/4: extrapolated, their error is of order ``h ** 6``.

    Chosen: each further level halves the smallest step, and so doubles the rounding.
    """

    first_step: float = 2.0**-7
    """Step that is tried first, and the largest one that is believed without being seen again.

    Derived: the error ``h ** 6`` and the rounding ``eps * 2 ** levels / h`` are both 2.3e-13 there.
    """

    close_steps: tuple[float, ...] = (2.0**-7, 2.0**-11, 2.0**-15)
    """Steps from the likeliest on; also in proportion to an argument outside of `ordinary_arguments`.

    Chosen: a factor of 16 is less than the range of good steps that extrapolation leaves.
    """

    ordinary_arguments: tuple[float, float] = (0.1, 10.0)
    """Sizes of an argument between which steps in proportion to it would be those of `close_steps` again."""

    small_steps: tuple[float, float] = (2.0**-20, 2.0**-26)
    """Steps for functions that oscillate or have a pole nearby; the second is about ``sqrt(eps)``.

    The second is left out for arguments below `ordinary_arguments`, which have smaller ones in proportion.
    """

    large_steps: tuple[float, ...] = (1.0, 2.0**7, 2.0**14, 2.0**20)
    """Steps for functions that hardly move, as ``1e-8 * x + 1``: they lift the slope above the rounding."""

    settled: float = 1e-7
    """Relative uncertainty at which no other step is tried.

    Derived: ``safety`` times it is the `rtol` of float64.
    """

    far: float = 2.0**10
    """Distance at which a function is evaluated before a hidden derivative is called 0.

    Chosen: a function that has the same value there, here and at all steps is constant, so that its 0 is
    certain. One that moves may have a slope that only larger steps see.
    """

    no_slope: float = 1e-12
    """Part of the function's values below which an uncertainty that hides the derivative leaves a 0.

    Derived: four times the rounding of a difference at `first_step`.
    """

    kink_bend: float = 0.45
    """Part of the gap between both slopes, left at a quarter of the step, above which there may be a kink.

    Derived: a smooth function keeps 1/4, ``|x| ** 1.5`` keeps 1/2, a kink keeps all.
    """

    jump_growth: float = 2.4
    """Growth of that gap, at a quarter of the step, above which there is a jump or a pole.

    Derived: the gap of ``sqrt(|x|)`` doubles; that of a jump grows to four times its size.
    """

    jump_share: float = 0.25
    """Part of the rise from left to right that 4 times the second difference of a jump exceeds.

    Chosen: at a jump the second difference is as large as the rise, on a steep slope much smaller.
    """

    jump_size: float = 1e-9
    """Part of the largest value of the function that a jump exceeds.

    Chosen: a smaller one is the rounding of an entry that is 0 beside large ones.
    """

    bend_noise: float = 100.0
    """Roundings of the function's values that a second difference has to exceed to say anything.

    Chosen: it is a difference of differences, and sums in the function have roundings of their own.
    """

    straight: float = 1e-4
    """Relative uncertainty at which a straight slope is preferred to a bent one, which saw a kink nearby.

    Chosen: far below `decisive`, far above `settled`.
    """

    other_steps: tuple[float, float] = (0.73, 0.59)
    """Parts of a large step over which its slope has to be seen again.

    Chosen: no halves, since rounding repeats itself from a step to its half.
    """

    seen_again: float = 0.1
    """Relative difference up to which two slopes count as the same.

    Chosen: slopes over different large steps differ by the curvature, those of rounding by their own size.
    """

    confirming_step: float = 2.0**-24
    """Much smaller step that confirms the estimate, beside the argument, if that is below 1.

    Derived: four times ``sqrt(eps)``; a plain quotient is certain to 4e-9 there.
    """

    confirming_at_zero: float = 0.25
    """Size that stands for an argument of 0 in `confirming_step`.

    Chosen: the step is 1.5e-8 then, about ``sqrt(eps)``.
    """

    confirming_roundings: float = 2.0**8
    """Least step that confirms, in roundings of the argument.

    Derived: its own rounding is then below 1/256.
    """

    confirming_again: float = 0.37
    """Part of that step at which the other slope has to be seen again.

    Chosen: no power of 2, as `other_steps`.
    """

    refuted: float = 1e-2
    """Relative difference from which the slope at the much smaller step refutes the estimate.

    Chosen: faster oscillations that change the slope by less are not looked for.
    """

    refuting_doubt: float = 100.0
    """Factor on the uncertainties of both slopes that their difference has to exceed to refute one.

    Chosen: ten times `safety`, since a refuted slope leaves the entry undecided.
    """

    # ---- one-sided differences, for kinks and the edges of domains ---------------------------------------

    aitken_shrink: float = 0.98
    """Ratio of successive differences of slopes up to which Aitken's rule finds a limit.

    Derived: the slopes of ``x ** (1 + p)`` have the ratio ``2 ** -p``, so that p may be as small as 0.03. A
    ratio of 1 has no limit.
    """

    aitken_rounding: float = 8.0
    """Times the rounding of Richardson's estimate that Aitken's has.

    Chosen: it divides by small differences.
    """

    one_sided_slack: float = 10.0
    """Times `rtol` that a subgradient may lie outside of both one-sided derivatives.

    Derived: one-sided differences leave an error of order ``h ** levels``, not ``h ** (2 * levels)``.
    """

    steep_steps: tuple[float, float, float] = (2.0**-7, 2.0**-15, 2.0**-23)
    """Steps over which the slope of ``sqrt`` at 0 grows by 16 each time. Derived: they shrink by 256."""

    steep_growth: float = 2.0
    """Growth per step of `steep_steps` from which a slope has no bound. Derived: ``x ** 0.875`` grows so."""

    # ---- whether a kink is at the point itself -----------------------------------------------------------

    kink_step: float = 2.0**9
    """Smallest step at which a kink is looked for, in roundings of the argument.

    Derived: a rounding of the argument changes a slope over this step by 1/512, well below `gap_kept`.
    """

    kink_step_at_zero: float = 2.0**-100
    """Smallest step beside an argument of 0. Chosen: squares of it do not underflow."""

    kink_step_factor: float = 4.0
    """Ratio of successive steps at which a kink is looked for. Chosen: some 20 steps in all."""

    gap_noise: float = 8.0
    """Roundings of a value by which it may change a slope over such a step. Chosen, as `ordinary_noise`."""

    gap_told: float = 0.05
    """Largest part of the gap that this noise may be, for a step to count. Chosen: half of `gap_kept`."""

    gap_kept: float = 0.1
    """Part of the gap by which it may differ from step to step.

    Chosen: an oscillation changes it by its own size.
    """

    gap_steps: int = 4
    """Number of the smallest steps that count at which the gap has to be there.

    Chosen: a factor of 64 in the step; an oscillation shows the same gap at two steps by chance.
    """

    # ---- the noise of a function -------------------------------------------------------------------------

    noise_points: int = 9
    """Values in a difference table. Chosen: ECnoise, the program of Moré and Wild, recommends at least 7."""

    noise_alike: float = 4.0
    """Factor within which three orders of differences agree if they are noise.

    Chosen: that of ECnoise (Moré and Wild 2011).
    """

    noise_spacings: tuple[float, ...] = tuple(2.0**k for k in range(-4, -48, -4))
    """Distances of the points, as parts of the argument.

    Chosen: many, since rounding may repeat itself over many neighbouring numbers.
    """

    noise_resolution: float = 8.0
    """Least distance of the points, in roundings of the argument.

    Chosen: so that each point is another number.
    """

    ordinary_noise: float = 8.0
    """Roundings of argument and value that are usual; only more is called noise.

    Chosen: NumPy's functions are right to 4 units in the last place, and are composed.
    """

    stair_spacing: float = 0.9
    """Factor on the distances of points that look for stairs. Chosen: sums with powers of 2 are exact."""

    stair_resolution: float = 4.0
    """Distance of two points, in roundings, at which the search for a jump between them stops.

    Chosen: points that are nearer share a rounding, or a computed middle.
    """

    stair_share: float = 0.5
    """Part of the noise that is left of a jump at that distance.

    Chosen: of a smooth function, or an oscillation, nothing is left.
    """

    stair_reach: float = 2.0**-6
    """Step, beside the argument or 1, up to which a slope may be that of one stair.

    Derived: twice `first_step`.
    """

    second_opinion_stretch: float = 1.37
    """Factor on the steps of a second opinion. Chosen: between powers of 2, so that roundings differ."""

    second_opinion_step: float = 2.0
    """Step up to which a second opinion counts. Derived: ``1.37 * 1``; larger steps see another part of f."""

    # ---- tiny derivatives, whether rounding or wrong -----------------------------------------------------

    tiny: float = 1e-10
    """Part of the function's values, or of its steepest derivative, below which an error may be rounding.

    Chosen: the differences alone decide about larger errors.
    """

    nudges: int = 12
    """Points on a short line, at which both derivatives are taken.

    Chosen: three for each coefficient of the curve.
    """

    nudge: float = 2.0**10
    """Half the length of that line, in roundings of the inputs. Chosen: each sum of them is rounded anew."""

    nudge_degree: int = 3
    """Degree of a curve beside which scatter is rounding.

    Chosen: over such a line all smooth functions are that.
    """

    # ---- the linearity of a rule -------------------------------------------------------------------------

    together_size: float = 1e3
    """About the size of the cotangents of all outputs at once.

    Chosen: 1,000 times those of one output, so that what clips, or divides by a norm, is found.
    """

    together_rounding: float = 1e-10
    """Part of the largest value or derivative by which the sum of all outputs may be off.

    Chosen, as `tiny`: less is the rounding of the sum.
    """

    together_noise: float = 0.01
    """Part of the sum of the sizes of all terms by which the sum may be off.

    Chosen: the terms of a right rule may cancel and leave noise; a rule that clips at 1 is off by nearly all.
    """

    stretches: tuple[float, ...] = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9)
    """Factors on the cotangents that show the rounding of a gradient.

    Derived: powers of 2 would round nothing.
    """

    linear_rounding: float = 1e-12
    """Part of the cotangents below which the change of a gradient by `stretches` is its rounding.

    Chosen: more is a rule that is not linear.
    """

    # ---- large functions, looked at along random directions ----------------------------------------------

    full_jacobian: int = 4096
    """Entries of a Jacobian up to which all are compared. Chosen: it costs a walk a row, and 64 are quick."""

    missed: float = 0.75
    """Largest probability that one product with random signs from both sides misses a wrong Jacobian.

    Derived: each side halves it at worst, so 1 - 1/2 * 1/2 (Freivalds 1977).
    """

    huge: float = 2.0**500
    """Outputs beyond this get small cotangents. Derived: below ``2 ** 512``, whose square overflows."""

    few: int = 8
    """Number of rows, or columns, up to which each is compared by itself.

    Chosen: it is the cost of a few strata.
    """

    stratum: int = 7
    """Sizes within one stratum differ by less than this power of 2.

    Chosen: 128 of `rtol` is still below 1/1000.
    """

    least_size: float = 1e-40
    """Part of the largest size below which a size counts as 0.

    Chosen: products with it keep clear of underflow.
    """

    probes: int = 4
    """Sums with random weights that show a size. Chosen: terms that cancel in one of them do not in all."""

    size_directions: int = 4
    """Directions along which the sizes of rows are measured. Chosen, as `probes`."""

    size_step: float = 2.0**-20
    """Step of those differences. Chosen: a power of 2 suffices as a size, so rounding does not matter."""

    size_floor: float = 2.0**-10
    """Least size of a row, beside its value.

    Chosen: a slope below is still told from the rounding of the value.
    """

    size_range: float = 2.0**100
    """Largest size, and its inverse the least. Chosen: products of a size and a weight stay finite."""

    kink_search: int = 2
    """Directions in which a kink is looked for.

    Chosen: all inputs move in each, so one would do but for chance.
    """

    kink_search_steps: tuple[float, float] = (2.0**-16, 2.0**-21)
    """Steps, beside the argument, between which the gap of a kink stays.

    Derived: a smooth one shrinks to 1/32.
    """

    kink_search_kept: float = 0.5
    """Part of the gap that is left at the smaller step of a kink. Derived: between 1/32 and 1."""

    kink_search_noise: float = 16.0
    """Roundings of the values that the gap exceeds. Chosen, as `ordinary_noise`, of both sides."""

    # ---- what kind of mistake ----------------------------------------------------------------------------

    diagnosis_rtol: float = 1e-4
    """Relative difference up to which the factors, or the shifts, of wrong entries count as the same.

    Chosen: numeric derivatives of wrong entries are certain to `decisive`, most of them to far less than
    this.
    """

    diagnosis_atol: float = 1e-8
    """Absolute difference up to which sorted entries count as the same numbers in other places.

    Chosen: zeros among them differ by a rounding.
    """

    # ---- check_op: values and gradients of two ways of computing the same --------------------------------

    same_rtol: float = 1e-10
    """Relative difference of two formulae of one value or gradient. Chosen: `tiny` once more."""

    reordered_rtol: float = 1e-12
    """Relative difference of one formula computed twice, in another order of sums.

    Chosen: some 5,000 roundings.
    """

    same_share: float = 0.1
    """Absolute difference, as a part of the relative one of the largest value.

    Chosen: large terms may cancel.
    """

    check_op_float32_rtol: float = 1e-4
    """Relative difference of a float32 value or gradient from that in float64.

    Chosen: some 800 roundings of float32; the entries of `rtol` are for differences, this is for the tape
    alone.
    """

    check_op_float32_atol: float = 2e-5
    """Absolute difference of the same, beside the largest value. Chosen: some 170 roundings of float32."""


TOLERANCES: Final = Tolerances()
"""The tolerances that all checks use."""
