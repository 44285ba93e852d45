"""Draw docs/images/error_against_step.svg: the error of numeric derivatives against the step.

python scripts/make_gradcheck_picture.py
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

from tinygrad_mnist.testing.finite_differences import differentiate

STEPS = 2.0 ** np.arange(-40, 1)
AT = 1.0


def main() -> None:
    """Forward, central and extrapolated differences of exp at 1, and what gradcheck chooses."""
    f, exact = np.exp, np.exp(AT)
    forward = np.abs((f(AT + STEPS) - f(AT)) / STEPS / exact - 1)
    central = np.abs((f(AT + STEPS) - f(AT - STEPS)) / (2 * STEPS) / exact - 1)
    richardson = [abs(float(differentiate(f, AT, step).derivative) / exact - 1) for step in STEPS]
    chosen = differentiate(f, AT)

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for error, label, marker in (
        (forward, "forward", "^"),
        (central, "central", "o"),
        (richardson, "extrapolated", "s"),
    ):
        axes.loglog(STEPS, np.maximum(error, 1e-16), marker + "-", markersize=3, linewidth=1, label=label)
    axes.axhline(1e-6, color="grey", linestyle=":", linewidth=1)
    axes.text(4e-5, 1.4e-6, "tolerance", color="0.4", fontsize=8)
    axes.axvline(float(chosen.step), color="black", linestyle="--", linewidth=1)
    axes.text(float(chosen.step) / 1.2, 0.3, "the step that is chosen", fontsize=8, ha="right")
    axes.set(xlabel="step", ylabel="relative error of the derivative of exp at 1", ylim=(5e-17, 5))
    axes.legend(frameon=False)
    mpl.rcParams["svg.hashsalt"] = "error_against_step"
    target = Path(__file__).parents[1] / "docs" / "images" / "error_against_step.svg"
    target.parent.mkdir(exist_ok=True)
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main()
