"""Make the bundled digits, `tinygrad_mnist/data/digits.npz`, from the copy in scikit-learn's package.

Run it from anywhere, with scikit-learn installed: ``python scripts/make_digits.py``. The split into training
and test part is drawn here and stored, so that it is the same whatever NumPy reads the file.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from tinygrad_mnist.data import stratified_split

TARGET = Path(__file__).parents[1] / "tinygrad_mnist" / "data" / "digits.npz"
TEST_FRACTION = 0.2
SEED = 0


def main() -> None:
    """Write the file, and say what is in it."""
    source = load_digits()
    images = source.images.astype(np.uint8)
    labels = source.target.astype(np.uint8)
    if not np.array_equal(images, source.images) or images.shape != (1797, 8, 8) or images.max() != 16:
        raise SystemExit(
            "scikit-learn's digits are no longer 1,797 images of 8 x 8 whole numbers from 0 to 16"
        )
    _, test_indices = stratified_split(labels, TEST_FRACTION, np.random.default_rng(SEED))
    in_test_part = np.zeros(len(labels), np.bool_)
    in_test_part[test_indices] = True
    np.savez_compressed(TARGET, images=images, labels=labels, in_test_part=in_test_part)
    print(
        f"{TARGET}: {len(labels)} images, {in_test_part.sum()} in the test part, {TARGET.stat().st_size:,} "
        "bytes"
    )


if __name__ == "__main__":
    main()
