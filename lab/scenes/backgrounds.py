"""Pre-rendered places that cameras look at: sky, ground, road, buildings, trees and clutter.

Each split has places of its own, so that a model cannot know the test's backgrounds. A place is drawn once
per process and cut for every frame afterwards.
"""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from lab.scenes.seeds import Split, generator

PLACES = 96
"""Number of places of each split."""
MARGIN = 1.25
"""A place is larger than the frame by this factor, so that views of it differ."""

_SPLIT_OFFSET = {Split.TRAIN: 0, Split.CALIBRATION: 1000, Split.TEST: 2000}

Colour = tuple[int, int, int]


@cache
def place(split: Split, index: int, width: int, height: int) -> Image.Image:
    """Return place ``index`` (0 … PLACES − 1) of a split, ``MARGIN`` times ``width`` × ``height``."""
    random = generator("place", _SPLIT_OFFSET[split] + index)
    size = (round(width * MARGIN), round(height * MARGIN))
    horizon = round(size[1] * random.uniform(0.35, 0.6))
    picture = _gradient(size, random, horizon)
    pen = ImageDraw.Draw(picture)
    _buildings(pen, random, size, horizon)
    _trees(pen, random, size, horizon)
    _road(pen, random, size, horizon)
    _clutter(pen, random, size, horizon)
    if random.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(random.uniform(0.5, 1.5) * height / 480))
    return _textured(picture, random)


def _gradient(size: tuple[int, int], random: np.random.Generator, horizon: int) -> Image.Image:
    sky_top = random.uniform((90, 120, 150), (190, 210, 250))
    sky_low = sky_top + random.uniform(10, 50)
    ground = random.uniform((60, 60, 45), (150, 140, 120))
    rows = np.empty((size[1], 3))
    rows[:horizon] = np.linspace(sky_top, sky_low, horizon)
    rows[horizon:] = np.linspace(ground, ground * random.uniform(0.6, 1.2), size[1] - horizon)
    image = np.broadcast_to(rows[:, None].clip(0, 255), (size[1], size[0], 3))
    return Image.fromarray(image.astype(np.uint8))


def _colour(random: np.random.Generator, grey: float = 0.75) -> Colour:
    base = random.uniform(30, 210)
    mixed = grey * base + (1 - grey) * random.uniform(30, 210, 3)
    red, green, blue = (int(value) for value in mixed)
    return red, green, blue


def _buildings(
    pen: ImageDraw.ImageDraw, random: np.random.Generator, size: tuple[int, int], horizon: int
) -> None:
    for _ in range(random.integers(2, 9)):
        wide = size[0] * random.uniform(0.06, 0.28)
        left = random.uniform(-0.1, 1.0) * size[0]
        top = horizon - size[1] * random.uniform(0.05, 0.5)
        foot = horizon + size[1] * random.uniform(0.0, 0.12)
        wall = _colour(random)
        pen.rectangle((left, top, left + wide, foot), fill=wall)
        pane = _colour(random)
        step_x, step_y = wide / random.integers(2, 7), (foot - top) / random.integers(2, 8)
        for x in np.arange(left + 0.2 * step_x, left + wide - 0.5 * step_x, step_x):
            for y in np.arange(top + 0.2 * step_y, foot - 0.5 * step_y, step_y):
                pen.rectangle((x, y, x + 0.55 * step_x, y + 0.55 * step_y), fill=pane)


def _trees(
    pen: ImageDraw.ImageDraw, random: np.random.Generator, size: tuple[int, int], horizon: int
) -> None:
    for _ in range(random.integers(0, 9)):
        x, y = random.uniform(0, size[0]), horizon + random.uniform(-0.05, 0.15) * size[1]
        tall = size[1] * random.uniform(0.08, 0.4)
        pen.line((x, y, x, y - tall), fill=(70, 50, 35), width=max(2, round(tall / 14)))
        leaf = random.uniform((30, 60, 20), (90, 130, 70))
        for _ in range(14):
            shade = tuple(int(value) for value in leaf * random.uniform(0.7, 1.2))
            centre_x, centre_y = x + random.normal(0, tall / 5), y - tall * random.uniform(0.6, 1.1)
            radius = tall * random.uniform(0.08, 0.2)
            box = (centre_x - radius, centre_y - radius, centre_x + radius, centre_y + radius)
            pen.ellipse(box, fill=shade)


def _road(pen: ImageDraw.ImageDraw, random: np.random.Generator, size: tuple[int, int], horizon: int) -> None:
    vanish = random.uniform(0.3, 0.7) * size[0]
    left, right = random.uniform(-0.5, 0.25) * size[0], random.uniform(0.75, 1.5) * size[0]
    grey = int(random.uniform(55, 120))
    near = size[1]
    pen.polygon([(vanish - 4, horizon), (vanish + 4, horizon), (right, near), (left, near)], fill=(grey,) * 3)
    middle = (left + right) / 2
    for start in np.linspace(0.05, 0.9, 6) ** 2:
        end = min(1.0, start + 0.12 * (start + 0.1))
        ends = [(vanish + (middle - vanish) * t, horizon + (near - horizon) * t) for t in (start, end)]
        pen.line(ends, fill=(215, 215, 205), width=max(1, round(10 * start * size[1] / 600)))


def _clutter(
    pen: ImageDraw.ImageDraw, random: np.random.Generator, size: tuple[int, int], horizon: int
) -> None:
    for _ in range(random.integers(4, 16)):
        x, y = random.uniform(0, size[0]), random.uniform(0.5 * horizon, size[1])
        wide, tall = size[0] * random.uniform(0.01, 0.12), size[1] * random.uniform(0.01, 0.1)
        box = (x, y, x + wide, y + tall)
        shape = random.integers(0, 4)
        if shape == 0:
            pen.line((x, 0.2 * horizon, x, y), fill=_colour(random), width=int(random.integers(1, 6)))
        elif shape == 1:
            pen.ellipse(box, fill=_colour(random))
        else:
            pen.rectangle(box, fill=_colour(random, grey=0.5))


def _textured(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """Return the picture with grain at several scales: real surfaces are never flat."""
    grain = np.zeros((picture.height, picture.width), np.float32)
    for scale, strength in ((2, 5.0), (8, 7.0), (32, 9.0)):
        shape = (picture.height // scale + 1, picture.width // scale + 1)
        coarse = Image.fromarray(random.normal(0, strength, shape).astype(np.float32))
        grain += np.asarray(coarse.resize(picture.size, Image.Resampling.BILINEAR))
    mixed = np.asarray(picture, np.float32) + grain[..., None] * random.uniform(0.5, 1.3)
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))


@cache
def noise_tiles(width: int, height: int) -> tuple[Image.Image, ...]:
    """Return tiles of sensor noise, 16 levels strong around 128, 64 pixels larger than a frame."""
    tiles = []
    for number in range(4):
        random = generator("noise", number)
        shape = (height + 64, width + 64, 3)
        tiles.append(Image.fromarray(random.normal(128, 16, shape).clip(0, 255).astype(np.uint8)))
    return tuple(tiles)
