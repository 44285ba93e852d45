"""Draw docs/images/augmentation.png: two digits of MNIST, changed by each range of an augmentation alone.

python scripts/make_augmentation_picture.py
"""

from pathlib import Path

import numpy as np
from PIL import Image

from tinygrad_mnist.data import Augmenter, find_augmentation, load
from tinygrad_mnist.plots import plot_augmentation, save

ROWS = (
    *("rotation 10", "scale 0.1", "shear 0.1", "shift 1", "elastic 15", "erasing 1"),
    *("rotation 30", "scale 0.3", "shear 0.5", "shift 4", "elastic 40", "elastic 15 elastic_sigma 2"),
    *("affine", "elastic"),
)
DIGITS, VERSIONS = (5, 2), 6


def main() -> None:
    """Each row changes the same two digits, by the same random numbers."""
    mnist = load("mnist")
    chosen = np.array([np.flatnonzero(mnist.train_labels == digit)[0] for digit in DIGITS])
    images = mnist.train_images[chosen]
    versions = []
    for text in ROWS:
        augment = Augmenter(find_augmentation(text), mnist.image_shape, seed=1)
        versions.append(np.stack([augment(images, chosen, epoch) for epoch in range(VERSIONS)], axis=1))
    target = Path(__file__).parents[1] / "docs" / "images" / "augmentation.png"
    figure = plot_augmentation(
        np.tile(images, (len(ROWS), 1, 1)),
        np.concatenate(versions),
        np.repeat(np.arange(len(ROWS)), len(DIGITS)),
        names=ROWS,
        title="What each range does",
        below="framed: the image as it is; beside it, the augmentation on the left in six epochs",
    )
    save(figure, target)
    with Image.open(target) as picture:  # half as large, and nobody sees it
        picture.convert("RGB").quantize(64).save(target, optimize=True)


if __name__ == "__main__":
    main()
