"""A decoded video frame as RGB pixels, as a player shows them: colours, turned, in its aspect ratio."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import ColorRange, Colorspace, Interpolation

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

HD_HEIGHT: Final = 720
"""From here on an unnamed colour matrix is BT.709, below it BT.601: what players assume."""
_MAX_STRETCH: Final = 4
_UNSPECIFIED: Final = 2
_FULL_RANGE: Final = np.clip(np.rint((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)
_EXACT: Final = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)


def _newer_kind(kinds: Any, number: object) -> Any:
    """A kind of side data that this FFmpeg gives and PyAV does not know, such as EXIF: PyAV would raise."""
    kind = object.__new__(kinds)
    kind._name_, kind._value_ = f"KIND_{number}", number
    return kind


SideDataType._missing_ = classmethod(_newer_kind)  # type: ignore[assignment]


def shown_pixels(frame: VideoFrame, aspect: Fraction | None) -> npt.NDArray[np.uint8]:
    """Return the frame as (height, width, 3) uint8 RGB, upright.

    `aspect` is the width of a pixel by its height; None or 0 is square.
    """
    width = frame.width
    if aspect and 1 / _MAX_STRETCH <= aspect <= _MAX_STRETCH:
        width = max(1, round(width * aspect))
    unnamed = frame.colorspace == _UNSPECIFIED
    hd = Colorspace.ITU709 if frame.height >= HD_HEIGHT else Colorspace.ITU601
    shown = frame.reformat(
        width=width,
        height=frame.height,
        format="rgb24",
        src_colorspace=hd if unnamed else None,
        interpolation=_EXACT,
        threads=1,
    )
    pixels = shown.to_ndarray().astype(np.uint8, copy=False)
    if frame.format.name.startswith("gray") and frame.color_range == ColorRange.MPEG:
        pixels = _FULL_RANGE[pixels]  # swscale takes grey for full range whatever the frame says
    return np.ascontiguousarray(turned(pixels, display_matrix(frame)))


def display_matrix(frame: VideoFrame) -> tuple[int, int, int, int] | None:
    """Return a, b, c, d of the frame's display matrix (ISO 14496-12: x' = ax + cy, y' = bx + dy), if it has one."""
    sides: Any = frame.side_data  # PyAV's stub gives it the keys of something else
    matrix = sides.get(SideDataType.DISPLAYMATRIX)
    if matrix is None:
        return None
    a, b, _, c, d = (int(number) for number in np.frombuffer(bytes(matrix)[:20], np.int32))
    return a, b, c, d


def turned(pixels: npt.NDArray[np.uint8], matrix: tuple[int, int, int, int] | None) -> npt.NDArray[np.uint8]:
    """Return the pixels turned and mirrored as the matrix says, by the nearest of the eight right angles."""
    if matrix is None:
        return pixels
    a, b, c, d = matrix
    if abs(a) + abs(d) >= abs(b) + abs(c):
        view = pixels[:, ::-1] if a < 0 else pixels
        return view[::-1] if d < 0 else view
    view = pixels.swapaxes(0, 1)  # x' = y, y' = x
    view = view[:, ::-1] if c < 0 else view
    return view[::-1] if b < 0 else view
