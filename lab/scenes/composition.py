"""Puts a place, objects and sensor noise together into one camera frame, and says what is true of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

from lab.scenes.backgrounds import noise_tiles
from lab.scenes.classes import NONE
from lab.scenes.sprites import Look, cover_box, covered_alpha, sprite
from lab.scenes.truth import CropWindow, truth_of

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

    image: (height, width, 3) uint8 RGB. truth: class index, 0 = none, −1 = ignore. label: class of its
    object whatever the truth. side_px and visible: the object's in the 224 crop. mask: the visible part's
    alpha, an L picture of the frame's size; None without an object or where it was not asked for.
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
    """Draw ``things`` onto ``canvas``, far ones first, add noise of ``noise`` grey levels, and judge the
    truth.

    At most one of the things is a class's object. ``canvas`` is changed.
    """
    shown: _Shown | None = None
    for thing in sorted(things, key=lambda thing: thing.side_px):
        drawn = _draw(canvas, thing)
        if thing.label != NONE:
            shown = drawn
        elif shown is not None:
            shown.hide_behind(drawn)
    image = np.asarray(_noisy(canvas, noise, random))
    if shown is None:
        return View(image, NONE, NONE, 0.0, 0.0, None)
    side_px = shown.thing.side_px * crop.scale
    visible = visible_share(shown.alpha, shown.seen, shown.left, shown.top, crop)
    mask = None
    if want_mask:
        mask = Image.new("L", canvas.size, 0)
        mask.paste(shown.seen, (shown.left, shown.top))
    return View(
        image, truth_of(shown.thing.label, visible, side_px), shown.thing.label, side_px, visible, mask
    )


@dataclass(frozen=True, slots=True)
class _Shown:
    """A thing as drawn: upper left corner, whole alpha, and the part of it that is `seen`, which shrinks."""

    thing: Thing
    left: int
    top: int
    alpha: Image.Image
    seen: Image.Image

    def hide_behind(self, near: _Shown) -> None:
        """Take away what a nearer thing and its cover hide."""
        offset = (near.left - self.left, near.top - self.top)
        self.seen.paste(0, offset, near.alpha)
        hidden = cover_box(near.thing.look, near.alpha.width)
        if hidden is not None:
            moved = tuple(edge + offset[index % 2] for index, edge in enumerate(hidden))
            ImageDraw.Draw(self.seen).rectangle(moved, fill=0)


def _draw(canvas: Image.Image, thing: Thing) -> _Shown:
    """Draw the thing with its pole and cover onto the canvas."""
    picture = sprite(thing.masters, thing.side_px, thing.look)
    left, top = round(thing.x - picture.width / 2), round(thing.y - picture.height / 2)
    alpha = picture.getchannel("A")
    _pole(canvas, thing, top + picture.height / 2)
    canvas.paste(picture, (left, top), alpha)
    hidden = cover_box(thing.look, picture.width)
    if hidden is not None:
        box = (left + hidden[0], top + hidden[1], left + hidden[2], top + hidden[3])
        ImageDraw.Draw(canvas).rectangle(box, fill=(thing.look.cover_grey,) * 3)
    return _Shown(thing, left, top, alpha, covered_alpha(alpha, thing.look).copy())


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
