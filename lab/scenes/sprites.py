"""Turns the masters of signs into sprites for a picture: posed, lit, blurred, partly covered RGBA."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from lab.scenes.classes import SIGNS
from lab.scenes.glyphs import all_pyramids, draw_sign, pyramid
from lab.scenes.seeds import generator

DISTRACTOR_KINDS = 32


@dataclass(frozen=True, slots=True)
class Look:
    """How an object looks apart from its size and place; constant while it passes a camera.

    Angles in degrees; ``squeeze`` is its width as seen from the side, 1 is frontal; ``light`` and
    ``contrast`` multiply; ``blur`` is a share of the side; ``cover`` is the share that something in front
    hides, from the edge ``cover_edge`` on.
    """

    turn: float
    squeeze: float
    shear: float
    light: float
    contrast: float
    blur: float
    cover: float
    cover_edge: int
    cover_grey: int


def random_look(random: np.random.Generator, hardness: float) -> Look:
    """Return a look; ``hardness`` from 0 (frontal, sharp, bare) to 1 (anything that happens on a road)."""
    covered = random.random() < 0.35 * hardness + 0.05
    return Look(
        turn=random.normal(0, 2 + 8 * hardness),
        squeeze=1 - abs(random.normal(0, 0.03 + 0.20 * hardness)),
        shear=random.normal(0, 0.01 + 0.06 * hardness),
        light=random.uniform(1 - 0.5 * hardness, 1 + 0.2 * hardness),
        contrast=random.uniform(1 - 0.55 * hardness, 1.0),
        blur=abs(random.normal(0, 0.004 + 0.033 * hardness)),
        cover=random.uniform(0.05, 0.38) if covered else 0.0,
        cover_edge=int(random.integers(0, 4)),
        cover_grey=int(random.integers(20, 120)),
    )


@cache
def distractors() -> tuple[tuple[Image.Image, ...], ...]:
    """Return pyramids of things that resemble signs and are no class's: odd colours, plain boards."""
    random = generator("distract", 0)
    pictures = []
    for _ in range(DISTRACTOR_KINDS):
        sign = SIGNS[random.integers(len(SIGNS))]
        border, face = ((int(r), int(g), int(b)) for r, g, b in random.integers(20, 235, (2, 3)))
        picture = draw_sign(sign.group, None, (border, face))
        if random.random() < 0.4:
            pen = ImageDraw.Draw(picture)
            for line in range(random.integers(1, 4)):
                end = 70 + int(random.integers(40, 116))
                pen.rectangle((70, 80 + 40 * line, end, 98 + 40 * line), fill=border)
        pictures.append(pyramid(picture))
    return tuple(pictures)


def sign_masters(label: int) -> tuple[Image.Image, ...]:
    """Return the pyramid of class ``label`` (1 … 16)."""
    return all_pyramids()[label - 1]


def sprite(masters: tuple[Image.Image, ...], side_px: float, look: Look) -> Image.Image:
    """Return an RGBA sprite of an object whose face is ``side_px`` pixels high in the frame.

    Sampled from the smallest master that is at least as large, so that small objects do not alias.
    """
    fitting = [master for master in masters if master.height >= side_px]
    master = fitting[-1] if fitting else masters[0]
    half = master.height / 2
    box = int(np.ceil(side_px * 1.3)) + 4
    angle = np.deg2rad(look.turn)
    shrink = master.height / side_px
    # Inverse map: from sprite pixels back to master pixels, about both centres.
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = shrink * np.array([[cos / look.squeeze, sin / look.squeeze], [-sin + look.shear, cos]])
    offset = half - matrix @ np.array([box / 2, box / 2])
    coefficients = (matrix[0, 0], matrix[0, 1], offset[0], matrix[1, 0], matrix[1, 1], offset[1])
    posed = master.transform((box, box), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    return _blurred(_lit(posed, look), look.blur * side_px)


def cover_box(look: Look, box: int) -> tuple[float, float, float, float] | None:
    """Return the rectangle of a ``box``² sprite that something in front hides, or None."""
    if look.cover == 0:
        return None
    rim = box * 0.13
    depth = rim + (box - 2 * rim) * look.cover
    return (
        (0, 0, depth, box),
        (box - depth, 0, box, box),
        (0, 0, box, depth),
        (0, box - depth, box, box),
    )[look.cover_edge]


def covered_alpha(alpha: Image.Image, look: Look) -> Image.Image:
    """Return the part of an object's alpha that stays visible behind its cover."""
    hidden = cover_box(look, alpha.width)
    if hidden is None:
        return alpha
    open_part = Image.new("L", alpha.size, 255)
    ImageDraw.Draw(open_part).rectangle(hidden, fill=0)
    return ImageChops.multiply(alpha, open_part)


def _lit(picture: Image.Image, look: Look) -> Image.Image:
    levels = np.arange(256)
    table = ((levels - 110) * look.contrast + 110) * look.light
    bands = [int(value) for value in table.clip(0, 255)]
    return picture.point(bands * 3 + list(range(256)))


def _blurred(picture: Image.Image, radius_px: float) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(radius_px)) if radius_px > 0.3 else picture
