"""Single views for training, calibration and test: each seed is one frame, reproducible on its own."""

import numpy as np
from PIL import Image

from lab.scenes.backgrounds import MARGIN, PLACES, place
from lab.scenes.classes import NONE, SIGNS
from lab.scenes.composition import Thing, View, compose
from lab.scenes.seeds import Split, generator, split_of
from lab.scenes.sprites import distractors, random_look, sign_masters
from lab.scenes.truth import crop_window

WIDTH, HEIGHT = 640, 480
EMPTY_SHARE = 0.10
MIN_SIDE_PX, MAX_SIDE_PX = 25.0, 100.0
"""Range of an object's side in the 224 crop, drawn log-uniformly."""


def render_view(
    seed: int, width: int = WIDTH, height: int = HEIGHT, *, ease: float = 0.0, want_mask: bool = False
) -> View:
    """Return the view of ``seed``: the same for the same arguments, in every process.

    Args:
        seed: decides place, object and look, and by its range the split.
        width, height: of the frame in pixels, both at least 224.
        ease: 0 for the data set as it is, up to 1 for large, frontal, sharp objects only (early in training).
        want_mask: whether the object's visible part is wanted too.
    """
    random = generator("view", seed)
    split = split_of(seed)
    crop = crop_window(width, height)
    hardness = (1 - ease) * random.beta(1.5, 1.4)
    things = [
        _distractor(random, crop.side, crop.left, crop.top) for _ in range(random.poisson(1.6 * (1 - ease)))
    ]
    if random.random() >= EMPTY_SHARE:
        label = int(random.integers(1, len(SIGNS) + 1))
        smallest = MIN_SIDE_PX * (MAX_SIDE_PX / MIN_SIDE_PX) ** (0.5 * ease)
        side_px = smallest * (MAX_SIDE_PX / smallest) ** random.random() / crop.scale
        margin = 0.5 * side_px * (0.95 if random.random() < 0.85 or ease > 0.5 else -0.1)
        free = max(crop.side - 2 * margin, 1.0)
        x = crop.left + margin + random.random() * free
        y = crop.top + margin + random.random() * free
        things.append(Thing(label, sign_masters(label), x, y, side_px, random_look(random, hardness)))
    canvas = cut_place(random, split, width, height)
    noise = random.uniform(0, 3 + 10 * hardness)
    return compose(canvas, things, crop, noise=noise, random=random, want_mask=want_mask)


def cut_place(random: np.random.Generator, split: Split, width: int, height: int) -> Image.Image:
    """Return a random part of a random place under random light, ``width`` × ``height``."""
    picture = place(split, int(random.integers(PLACES)), width, height)
    x = int(random.integers(0, round(width * (MARGIN - 1))))
    y = int(random.integers(0, round(height * (MARGIN - 1))))
    canvas = picture.crop((x, y, x + width, y + height))
    if random.random() < 0.5:
        canvas = canvas.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return dimmed(canvas, float(random.uniform(0.45, 1.15)))


def dimmed(canvas: Image.Image, light: float) -> Image.Image:
    """Return the picture under ``light`` times its light."""
    return canvas.point([min(255, int(level * light)) for level in range(256)] * 3)


def _distractor(random: np.random.Generator, side: float, left: float, top: float) -> Thing:
    kinds = distractors()
    x, y = left + random.random() * side, top + random.random() * side
    side_px = side * random.uniform(0.06, 0.3)
    return Thing(NONE, kinds[random.integers(len(kinds))], x, y, side_px, random_look(random, 0.6))
