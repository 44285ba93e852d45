"""Which images each pass goes through, in which order, and how they are changed."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist.data import load_digits
from tinygrad_mnist.training import RECIPES, Recipe
from tinygrad_mnist.training.loop.passes import Passes
from tinygrad_mnist.training.seeds import generators
from tinygrad_mnist.training.training_data import Parts, split

PLAIN = Recipe("plain", "", batch_size=64)


@pytest.fixture(scope="module")
def parts() -> Parts:
    return split(load_digits(), 0.1, generators(0)["split"])


def drawn(recipe: Recipe, parts: Parts, steps: int, seed: int = 0) -> list[tuple[Any, Any]]:
    passes = Passes(recipe, parts, recipe.batch_size or len(parts.train_images), steps, generators(seed))
    return list(itertools.islice(itertools.chain.from_iterable(itertools.repeat(passes)), steps))


def numbers(batches: list[tuple[Any, Any]], parts: Parts) -> list[int]:
    """The places of images in the training part; two that are equal count as the first."""
    places = {
        image.tobytes(): number
        for number, image in reversed(list(enumerate(parts.standardizer(parts.train_images))))
    }
    return [places[image.tobytes()] for images, _ in batches for image in images]


def test_a_pass_sees_each_image_once_and_whole_batches_alone(parts: Parts) -> None:
    whole = len(parts.train_images) // 64
    found = numbers(drawn(PLAIN, parts, 2 * whole), parts)
    for one in (found[: 64 * whole], found[64 * whole :]):
        assert len(set(one)) > 0.98 * len(one)  # a few are equal
    assert found[: 64 * whole] != found[64 * whole :]


def test_labels_go_with_their_images(parts: Parts) -> None:
    batches = drawn(PLAIN, parts, 3)
    labels = np.concatenate([labels for _, labels in batches])
    assert labels.tolist() == parts.train_labels[numbers(batches, parts)].tolist()


def test_a_part_of_a_pass_begins_as_the_whole_one(parts: Parts) -> None:
    short, long = (drawn(PLAIN, parts, steps) for steps in (3, 30))
    for (x, y), (other_x, other_y) in zip(short, long, strict=False):
        np.testing.assert_array_equal(x, other_x)
        np.testing.assert_array_equal(y, other_y)


def test_hard_images_fill_the_pass_that_is_not_whole(parts: Parts) -> None:
    """And it alone: the whole passes before it are as without."""
    whole = len(parts.train_images) // 64
    plain, hard = (drawn(PLAIN.changed(hard=value), parts, whole + 5) for value in (None, (8.0, 0.0)))
    same = [np.array_equal(a, b) for (a, _), (b, _) in zip(plain, hard, strict=True)]
    assert same == [True] * whole + [False] * 5
    found = numbers(hard[whole:], parts)
    assert len(found) == 5 * 64
    from tinygrad_mnist.data import ridge_margins

    margins = ridge_margins(parts.train_images, parts.train_labels)
    assert margins[found].mean() < np.quantile(margins, 0.3)


def test_augmented_images_depend_on_seed_epoch_and_number_alone(parts: Parts) -> None:
    """Not on the batch: an image is the same in batches of another size."""
    recipe = PLAIN.changed(augmentation="affine-8x8")
    order = numbers(drawn(PLAIN, parts, 4), parts)
    by_64, by_32, other = (
        drawn(recipe, parts, 4),
        drawn(recipe.changed(batch_size=32), parts, 8),
        drawn(recipe, parts, 4, seed=1),
    )
    images = np.concatenate([x for x, _ in by_64])
    np.testing.assert_array_equal(images, np.concatenate([x for x, _ in by_32]))
    assert not np.array_equal(images, np.concatenate([x for x, _ in other]))
    clean = parts.standardizer(parts.train_images[order])
    assert images.dtype == np.float32
    assert 0.05 < np.abs(images - clean).mean() < 1


def test_each_epoch_changes_an_image_in_another_way(parts: Parts) -> None:
    recipe = PLAIN.changed(augmentation="affine", batch_size=None)
    (first, _), (second, _) = drawn(recipe, parts, 2)
    assert sorted(map(np.sum, first)) != sorted(map(np.sum, second))


def test_a_batch_of_all_images_is_made_once(parts: Parts) -> None:
    (first, _), (second, _) = drawn(PLAIN.changed(batch_size=None), parts, 2)
    assert first is second


def test_batches_have_the_axis_of_channels_and_are_cropped(parts: Parts) -> None:
    cut = split(load_digits(), 0.1, generators(0)["split"], crop=1)
    ((images, _),) = drawn(PLAIN.changed(crop=1), cut, 1)
    assert images.shape == (64, 1, 6, 6)


def test_one_hot_labels_are_rows(parts: Parts) -> None:
    ((_, labels),) = drawn(RECIPES["mlp"].changed(one_hot=True, batch_size=64), parts, 1)
    assert labels.shape == (64, 10)
    assert labels.sum() == 64


def test_augmentation_fills_in_the_background_of_the_images() -> None:
    """So an image and its negative stay each other's negative; standardised, that is minus."""
    recipe, digits = PLAIN.changed(augmentation="affine-8x8"), load_digits()
    negative = replace(digits, train_images=255 - digits.train_images, test_images=255 - digits.test_images)
    ((x, _),), ((other, _),) = (
        drawn(recipe, split(one, 0.1, generators(0)["split"]), 1) for one in (digits, negative)
    )
    np.testing.assert_allclose(other, -x, atol=1e-4)
