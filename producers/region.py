"""The part of a camera's picture that is sent: a crop, and rectangles that are blackened. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Rectangle = tuple[float, float, float, float]
"""Left, top, right and bottom as shares of the whole picture, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Region:
    """What of the upright picture is kept.

    Attributes:
        crop: all that is sent; None is the whole picture.
        mask: what is blackened, as shares of the whole picture too.
    """

    crop: Rectangle | None = None
    mask: tuple[Rectangle, ...] = ()

    def __post_init__(self) -> None:
        """Check the rectangles.

        Raises:
            ValueError: names the one that is none.
        """
        crops = () if self.crop is None else (self.crop,)
        for name, rectangles in (("crop", crops), ("mask", self.mask)):
            for left, top, right, bottom in rectangles:
                if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
                    raise ValueError(
                        f"{name} [{left:g}, {top:g}, {right:g}, {bottom:g}]: want left, top, right, bottom "
                        "with 0 <= left < right <= 1 and 0 <= top < bottom <= 1"
                    )

    def __bool__(self) -> bool:
        """Whether anything is left out."""
        return self.crop is not None or bool(self.mask)

    def of(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the region of a picture (height, width, 3); the picture itself stays as it is."""
        if self.mask:
            pixels = pixels.copy()
            for rectangle in self.mask:
                pixels[_spans(rectangle, pixels.shape)] = 0
        return pixels if self.crop is None else pixels[_spans(self.crop, pixels.shape)]


WHOLE: Final = Region()
"""All of the picture."""


def _spans(rectangle: Rectangle, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and columns of a rectangle, at least one of each."""
    left, top, right, bottom = rectangle
    rows = _span(top, bottom, shape[0])
    return rows, _span(left, right, shape[1])


def _span(first: float, last: float, length: int) -> slice:
    start = min(round(first * length), length - 1)
    return slice(start, max(round(last * length), start + 1))
