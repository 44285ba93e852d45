import json
import tomllib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_mnist.data import AUGMENTATIONS, Augmentation, DataError, find_augmentation
from tinygrad_mnist.data.augmentation import suited_to

augmentations = st.builds(
    Augmentation,
    rotation=st.floats(0, 180),
    scale=st.floats(0, 0.99),
    shear=st.floats(0, 1),
    shift=st.floats(0, 100),
    elastic=st.floats(0, 100),
    elastic_sigma=st.floats(0.1, 100),
    erasing=st.floats(0, 1),
    erasing_size=st.floats(0.01, 1),
)


@given(augmentations)
def test_plain_data_rebuilds_it(augmentation: Augmentation) -> None:
    values = augmentation.to_dict()
    assert Augmentation.from_dict(json.loads(json.dumps(values))) == augmentation
    text = "\n".join(f"{name} = {value}" for name, value in values.items())
    assert Augmentation.from_dict(tomllib.loads(text)) == augmentation


def test_what_is_not_named_does_not_change() -> None:
    assert Augmentation.from_dict({}) == Augmentation() == AUGMENTATIONS["none"]
    assert Augmentation.from_dict({"shift": 2}) == Augmentation(shift=2.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rotation", 181),
        ("rotation", -1),
        ("scale", 1.0),
        ("shear", 1.1),
        ("shift", float("nan")),
        ("shift", float("inf")),
        ("elastic", -0.1),
        ("elastic", "15"),
        ("elastic_sigma", 0),
        ("elastic_sigma", 1000),
        ("erasing", 1.5),
        ("erasing", True),
        ("erasing_size", 0.0),
        ("erasing_size", None),
    ],
)
def test_a_value_out_of_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(DataError, match=f"^{name} of an augmentation is a number .*, not {value!r}"):
        Augmentation.from_dict({name: value})


def test_an_unknown_range_is_refused_and_the_nearest_named() -> None:
    with pytest.raises(DataError, match=r"no 'elastic_sgima'; did you mean elastic_sigma\?"):
        Augmentation.from_dict({"elastic_sgima": 4})
    with pytest.raises(DataError, match="no 'zzz'; choose among rotation, scale"):
        Augmentation.from_dict({"zzz": 4})


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_it_is_found_by_its_name(name: str) -> None:
    assert find_augmentation(name) == AUGMENTATIONS[name]


@given(augmentations)
def test_its_text_spells_it(augmentation: Augmentation) -> None:
    assert find_augmentation(str(augmentation)) == augmentation


def test_ranges_are_pairs_that_replace_those_of_a_name() -> None:
    assert find_augmentation("shift 2 rotation 5.5") == Augmentation(shift=2, rotation=5.5)
    assert find_augmentation(" affine  rotation 0 ") == replace(AUGMENTATIONS["affine"], rotation=0.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("afine", r"no augmentation 'afine'; did you mean affine\? \(all: none, "),
        ("afine shift 2", "no augmentation 'afine'"),
        ("shift 2 rotation", "no augmentation 'shift'; "),
        ("", "is an empty text; choose among none, "),
        ("affine shift far", "'shift' is followed by 'far', which is no number"),
        ("affine rotate 2", r"no 'rotate'; did you mean rotation\?"),
        ("affine rotation 200", "rotation of an augmentation is .* from 0 to 180, not 200.0"),
        ("affine shift nan", "shift of an augmentation is a number of pixels"),
    ],
)
def test_a_text_that_spells_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_augmentation(text)


def test_small_images_are_not_bent() -> None:
    assert suited_to((8, 8)).elastic == 0
    assert suited_to((28, 28)).elastic > 0
