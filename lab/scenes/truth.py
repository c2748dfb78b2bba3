"""Decides the truth of a view, by a rule about the 224×224 crop that the models see, not the frame."""

from dataclasses import dataclass

from lab.scenes.classes import IGNORE, NONE

CROP_PX = 224
SHORT_SIDE_PX = 256

CLEAR_VISIBLE = 0.60
CLEAR_SIDE_PX = 24.0
ABSENT_VISIBLE = 0.10
ABSENT_SIDE_PX = 10.0


def truth_of(label: int, visible: float, side_px: float) -> int:
    """Return the truth of a view with one object.

    Args:
        label: class index of the object, or ``NONE`` where the view was made without one.
        visible: share of the object's area, 0 to 1, that is inside the crop and not covered by something
        else.
        side_px: side of the object's face in the crop, pixels.

    Returns:
        ``label`` if at least 60 % is visible at a side of at least 24 px; ``NONE`` if less than 10 % is
        visible or the side is below 10 px; ``IGNORE`` between the two.

    """
    if label == NONE or visible < ABSENT_VISIBLE or side_px < ABSENT_SIDE_PX:
        return NONE
    if visible >= CLEAR_VISIBLE and side_px >= CLEAR_SIDE_PX:
        return label
    return IGNORE


@dataclass(frozen=True, slots=True)
class CropWindow:
    """Where the 224 crop lies in a camera frame, in frame pixels.

    ``scale`` is crop pixels per frame pixel; the crop covers ``left … left + side`` and ``top … top + side``.
    """

    left: float
    top: float
    side: float
    scale: float


def crop_window(width: int, height: int) -> CropWindow:
    """Return the part of a ``width`` × ``height`` frame that survives short side 256, centre crop 224."""
    scale = SHORT_SIDE_PX / min(width, height)
    side = CROP_PX / scale
    return CropWindow((width - side) / 2, (height - side) / 2, side, scale)
