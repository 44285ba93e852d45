"""The bundled data set: 1,797 real handwritten digits of 8 x 8 pixels, which need no download.

They are E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning
Repository, doi:10.24432/C50P49, under CC BY 4.0; `digits.txt` beside this file says more.
`scripts/make_digits.py` made the file.
"""

from importlib import resources

import numpy as np

from tinygrad_mnist.data.dataset import Dataset

FULL_INK = 16
"""The highest value in the file: the number of pixels in the 4 x 4 block that a value counts."""


def load_digits() -> Dataset:
    """Load the bundled UCI digits.

    Returns
    -------
    Dataset
        1,438 training and 359 test images of 8 x 8 pixels: a split of 80 to 20 that is stratified by label
        and always the same. The values 0 to 16 of the source are scaled to 0 to 255 (and rounded), so that
        all data sets, and a picture to be recognised, have the same scale.

    Examples
    --------
    >>> digits = load_digits()
    >>> digits
    Dataset('digits': 1,438 training and 359 test images of 8 x 8 pixels, 10 classes)
    >>> digits.train_images.dtype, int(digits.train_images.max())
    (dtype('uint8'), 255)
    """
    file = resources.files("tinygrad_mnist.data") / "digits.npz"
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        ink, labels, in_test_part = arrays["images"], arrays["labels"], arrays["in_test_part"]
    images = np.rint(ink * np.float32(255 / FULL_INK)).astype(np.uint8)
    return Dataset(
        name="digits",
        train_images=images[~in_test_part],
        train_labels=labels[~in_test_part],
        test_images=images[in_test_part],
        test_labels=labels[in_test_part],
        classes=10,
    )
