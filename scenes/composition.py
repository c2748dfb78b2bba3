"""Puts a place, objects and sensor noise together into one camera frame, and says what is true of it."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

from scenes.backgrounds import noise_tiles
from scenes.classes import NONE
from scenes.sprites import Look, cover_box, covered_alpha, sign_masters, sprite
from scenes.truth import CropWindow, truth_of

POLE_GREY = (96, 98, 100)
NOISE_UNIT = 16.0


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that stands in the frame: a class's object (``label`` ≥ 1) or a distractor (``NONE``).

    Centre and side of its face in frame pixels.
    """

    label: int
    masters: tuple[Image.Image, ...]
    x: float
    y: float
    side_px: float
    look: Look


class View(NamedTuple):
    """One frame with what the renderer knows of it.

    image: (height, width, 3) uint8 RGB. truth: class index, 0 = none, −1 = ignore. label: class of its object whatever the truth.
    side_px and visible: the object's in the 224 crop. mask: (height, width) uint8 alpha of its visible part, None without an object.
    """

    image: NDArray[np.uint8]
    truth: int
    label: int
    side_px: float
    visible: float
    mask: Image.Image | None


def compose(
    canvas: Image.Image,
    things: list[Thing],
    crop: CropWindow,
    *,
    noise: float,
    random: np.random.Generator,
    want_mask: bool,
) -> View:
    """Draw ``things`` onto ``canvas``, far ones first, add noise of ``noise`` grey levels, and judge the truth.

    At most one of the things is a class's object. ``canvas`` is changed.
    """
    label, side_px, visible, mask = NONE, 0.0, 0.0, None
    for thing in sorted(things, key=lambda thing: thing.side_px):
        picture = sprite(thing.masters, thing.side_px, thing.look)
        left, top = round(thing.x - picture.width / 2), round(thing.y - picture.height / 2)
        alpha = picture.getchannel("A")
        _pole(canvas, thing, top + picture.height / 2)
        canvas.paste(picture, (left, top), alpha)
        hidden = cover_box(thing.look, picture.width)
        if hidden is not None:
            box = (left + hidden[0], top + hidden[1], left + hidden[2], top + hidden[3])
            ImageDraw.Draw(canvas).rectangle(box, fill=(thing.look.cover_grey,) * 3)
        seen = covered_alpha(alpha, thing.look)
        if thing.label != NONE:
            label, side_px = thing.label, thing.side_px * crop.scale
            visible = visible_share(alpha, seen, left, top, crop)
            if want_mask:
                mask = Image.new("L", canvas.size, 0)
                mask.paste(seen, (left, top))
        elif mask is not None:  # a nearer distractor hides a part of the object
            mask.paste(0, (left, top), alpha)
            visible *= 1 - _overlap(things, thing)
    noisy = _noisy(canvas, noise, random)
    return View(np.asarray(noisy), truth_of(label, visible, side_px), label, side_px, visible, mask)


def visible_share(alpha: Image.Image, seen: Image.Image, left: int, top: int, crop: CropWindow) -> float:
    """Return the share of an object's area that is neither covered nor outside the crop."""
    whole = float(np.asarray(alpha, np.float32).sum())
    inside = (
        max(0, round(crop.left - left)),
        max(0, round(crop.top - top)),
        min(seen.width, round(crop.left + crop.side - left)),
        min(seen.height, round(crop.top + crop.side - top)),
    )
    if inside[2] <= inside[0] or inside[3] <= inside[1] or whole == 0:
        return 0.0
    return float(np.asarray(seen.crop(inside), np.float32).sum()) / whole


def _overlap(things: list[Thing], near: Thing) -> float:
    """Return the share of the object's box that a nearer thing's box covers."""
    for thing in things:
        if thing.label != NONE:
            reach = (thing.side_px + near.side_px) / 2
            across = max(0.0, min(thing.side_px, near.side_px, reach - abs(thing.x - near.x)))
            down = max(0.0, min(thing.side_px, near.side_px, reach - abs(thing.y - near.y)))
            return min(1.0, across * down / thing.side_px**2)
    return 0.0


def _pole(canvas: Image.Image, thing: Thing, middle: float) -> None:
    width = max(2, round(thing.side_px * 0.07))
    foot = middle + thing.side_px * 2.2
    ImageDraw.Draw(canvas).rectangle((thing.x - width / 2, middle, thing.x + width / 2, foot), fill=POLE_GREY)


def _noisy(canvas: Image.Image, noise: float, random: np.random.Generator) -> Image.Image:
    if noise < 0.5:
        return canvas
    tiles = noise_tiles(canvas.width, canvas.height)
    tile = tiles[random.integers(len(tiles))]
    x, y = (int(value) for value in random.integers(0, 64, 2))
    cut = tile.crop((x, y, x + canvas.width, y + canvas.height))
    share = min(noise / NOISE_UNIT, 1.0)
    cut = Image.blend(Image.new("RGB", canvas.size, (128, 128, 128)), cut, share)
    return ImageChops.add(canvas, cut, 1.0, -128)


def masters_of(label: int) -> tuple[Image.Image, ...]:
    """Return the masters of a class's object."""
    return sign_masters(label)
