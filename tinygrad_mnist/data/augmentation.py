"""Augmentation as plain data: how far each image is distorted at random before it is trained on.

An `Augmentation` holds ranges. `AUGMENTATIONS` has some by name, and `find_augmentation` reads the text by
which recipes and the command line spell any other. It needs no NumPy; `augmenter` does what it says.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Self

from tinygrad_mnist.data.errors import DataError


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random changes to an image. Each image draws its own, anew in each epoch.

    All ranges are 0 by default, so what is not named does not change. Everything is drawn uniformly.

    Parameters
    ----------
    rotation : float
        Degrees. The image is turned by an angle within plus or minus this one, 180 at most.
    scale : float
        Height and width are each stretched by a factor of their own within 1 plus or minus this; below 1.
    shear : float
        The image is slanted by a slope within plus or minus this, at most 1 (45 degrees).
    shift : float
        Pixels. The image is moved up or down, and to the left or right, by this much at most.
    elastic : float
        Strength of an elastic distortion: each pixel is displaced by a smooth random field (Simard,
        Steinkraus and Platt, 2003). The field is uniform noise within plus or minus ``elastic`` pixels,
        smoothed by a Gaussian. What is left of the noise is a displacement of about
        ``0.163 * elastic / elastic_sigma`` pixels (root mean square) in each direction.
    elastic_sigma : float
        Pixels, above 0 and at most 100. The standard deviation of that Gaussian: the greater, the smoother.
    erasing : float
        The probability with which a rectangle of the image becomes background, between 0 and 1.
    erasing_size : float
        The longest sides of the rectangle, as a share of those of the image, above 0 and at most 1.

    Raises
    ------
    DataError
        A value is no number, or out of its range.

    Examples
    --------
    >>> print(Augmentation(rotation=10, shift=1.5))
    rotation 10 shift 1.5
    >>> Augmentation(scale=1.0)
    Traceback (most recent call last):
    tinygrad_mnist.data.errors.DataError: scale of an augmentation is a number of at least 0 and below 1, ...
    """

    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    elastic: float = 0.0
    elastic_sigma: float = 4.0
    erasing: float = 0.0
    erasing_size: float = 0.3

    def __post_init__(self) -> None:
        for name, (expected, least, most) in _RANGES.items():
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not least <= value <= most:
                raise DataError(f"{name} of an augmentation is a number {expected}, not {value!r}")
            object.__setattr__(self, name, float(value))

    def __str__(self) -> str:
        """Return the text that `find_augmentation` reads: a word and a number for each range in use."""
        unchanged = AUGMENTATIONS["none"]
        words = [
            f"{name} {repr(value).removesuffix('.0')}"
            for name, value in self.to_dict().items()
            if value != getattr(unchanged, name)
        ]
        return " ".join(words) or "none"

    def to_dict(self) -> dict[str, float]:
        """Return the ranges as plain data that JSON and TOML can hold.

        Examples
        --------
        >>> Augmentation.from_dict(AUGMENTATIONS["affine"].to_dict()) == AUGMENTATIONS["affine"]
        True
        """
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build an augmentation from its ranges by name; those that are missing take their defaults.

        Raises
        ------
        DataError
            A name is unknown (the nearest is suggested), or a value is out of range.

        Examples
        --------
        >>> Augmentation.from_dict({"rotate": 10})
        Traceback (most recent call last):
        tinygrad_mnist.data.errors.DataError: an augmentation has no 'rotate'; did you mean rotation? ...
        """
        names = [field.name for field in fields(cls)]
        for name in values:
            if name not in names:
                raise DataError(f"an augmentation has no {name!r}; {_hint(name, names)}")
        return cls(**values)


def find_augmentation(text: str) -> Augmentation:
    """Return the augmentation that a text spells: a name in `AUGMENTATIONS`, or ranges, or both.

    Ranges are pairs of a word and a number. After a name they replace its own. So "elastic" is a name, and
    "elastic 8" a range alone.

    Raises
    ------
    DataError
        A word is unknown (the nearest is suggested), has no number, or its number is out of range.

    Examples
    --------
    >>> find_augmentation("affine") == AUGMENTATIONS["affine"]
    True
    >>> print(find_augmentation("affine shift 2 elastic 8"))
    rotation 10 scale 0.1 shear 0.1 shift 2 elastic 8
    >>> find_augmentation("elastik")
    Traceback (most recent call last):
    tinygrad_mnist.data.errors.DataError: there is no augmentation 'elastik'; did you mean elastic? ...
    """
    words = text.split()
    values: dict[str, float] = {}
    if len(words) % 2:
        name = words.pop(0)
        if name not in AUGMENTATIONS:
            raise DataError(f"there is no augmentation {name!r}; {_hint(name, list(AUGMENTATIONS))}")
        values = AUGMENTATIONS[name].to_dict()
    elif not words:
        raise DataError(f"the augmentation is an empty text; {_hint('', list(AUGMENTATIONS))}")
    for name, number in zip(words[::2], words[1::2], strict=True):
        try:
            values[name] = float(number)
        except ValueError:
            raise DataError(
                f"in the augmentation {text!r}, {name!r} is followed by {number!r}, which is no number; "
                "write a name, or ranges as in 'rotation 10 shift 1', or both"
            ) from None
    return Augmentation.from_dict(values)


def suited_to(image_shape: tuple[int, int]) -> Augmentation:
    """Return the augmentation by which images of this size can be trained on, if nothing else is known.

    Examples
    --------
    >>> suited_to((28, 28)) == AUGMENTATIONS["elastic"]
    True
    """
    return AUGMENTATIONS["elastic" if min(image_shape) >= 16 else "affine-8x8"]


def _hint(name: str, names: list[str]) -> str:
    """Return the nearest of some names, and all of them."""
    near = difflib.get_close_matches(str(name).lower(), names, n=1)
    listed = ", ".join(names)
    return f"did you mean {near[0]}? (all: {listed})" if near else f"choose among {listed}"


_PIXELS: Final = ("of pixels from 0 to 1000", 0.0, 1000.0)
_ABOVE_0: Final = 1e-6

_RANGES: Final[dict[str, tuple[str, float, float]]] = {
    "rotation": ("of degrees from 0 to 180", 0.0, 180.0),
    "scale": ("of at least 0 and below 1", 0.0, math.nextafter(1.0, 0.0)),
    "shear": ("from 0 to 1", 0.0, 1.0),
    "shift": _PIXELS,
    "elastic": _PIXELS,
    "elastic_sigma": ("of pixels above 0 and at most 100", _ABOVE_0, 100.0),
    "erasing": ("from 0 to 1", 0.0, 1.0),
    "erasing_size": ("above 0 and at most 1", _ABOVE_0, 1.0),
}
"""Of each field of an `Augmentation`: the range in words, its least and its greatest value."""

_AFFINE: Final = {"rotation": 10.0, "scale": 0.1, "shear": 0.1, "shift": 1.0}

AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(),
    "affine": Augmentation.from_dict(_AFFINE),
    "affine-8x8": Augmentation.from_dict({**_AFFINE, "shift": 0.5}),
    "elastic": Augmentation.from_dict({**_AFFINE, "elastic": 15.0}),
}
"""The augmentations by name.

``affine`` turns, scales, slants and shifts, and ``affine-8x8`` is the same for images as small as the bundled
digits, where elastic fields do harm; ``elastic`` is ``affine``, and bends, too.
"""
