"""Draws the faces of the signs and the glyphs on them, once per process, as RGBA master pictures."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from lab.scenes.classes import SIGNS, Sign

MASTER_PX = 256
_DRAW_PX = 2 * MASTER_PX  # drawn at twice the size and reduced, so that edges are smooth

Colour = tuple[int, int, int]
Point = tuple[float, float]
Pen = ImageDraw.ImageDraw

_WHITE, _BLACK = (235, 235, 230), (28, 28, 30)
_RED, _BLUE, _GREEN = (196, 30, 36), (24, 78, 170), (20, 122, 72)
_ORANGE, _YELLOW = (240, 140, 24), (214, 214, 40)

GLYPH_SHARE = 0.60
"""Side of the box that a glyph fills, as a share of the side of its sign."""


def _at(points: Sequence[Point], half: float = 1.0, centre: Point = (0.0, 0.0)) -> list[Point]:
    """Map points in [-1, 1] × [-1, 1] to drawing pixels."""
    middle = _DRAW_PX / 2
    return [
        (middle + middle * (centre[0] + half * x), middle + middle * (centre[1] + half * y))
        for x, y in points
    ]


def _regular(corners: int, turn: float = 0.0) -> list[Point]:
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + turn
    return [(float(np.sin(a)), float(-np.cos(a))) for a in angles]


_ROUND = _regular(72)
_SQUARE: list[Point] = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
_OUTLINES: dict[str, tuple[list[Point], Colour, Colour, float, Colour, Point]] = {
    # outline, border colour, face colour, face size, glyph colour, glyph centre
    "prohibit": (_ROUND, _RED, _WHITE, 0.80, _BLACK, (0, 0)),
    "warning": ([(0, -0.95), (1, 0.85), (-1, 0.85)], _RED, _WHITE, 0.76, _BLACK, (0, 0.28)),
    "mandatory": (_ROUND, _WHITE, _BLUE, 0.94, _WHITE, (0, 0)),
    "stop": ([(1.04 * x, 1.04 * y) for x, y in _regular(8, np.pi / 8)], _WHITE, _RED, 0.93, _WHITE, (0, 0)),
    "guide": ([(-1, -0.8), (1, -0.8), (1, 0.8), (-1, 0.8)], _WHITE, _GREEN, 0.93, _WHITE, (0, 0)),
    "works": (_regular(4), _BLACK, _ORANGE, 0.92, _BLACK, (0, 0)),
    "parking": ([(0.95 * x, 0.95 * y) for x, y in _SQUARE], _WHITE, _BLUE, 0.93, _WHITE, (0, 0)),
    "school": (
        [(0, -1), (1, -0.2), (0.8, 1), (-0.8, 1), (-1, -0.2)],
        _BLACK,
        _YELLOW,
        0.92,
        _BLACK,
        (0, 0.12),
    ),
}
_ARROW: list[Point] = [
    (0, -1),
    (0.85, -0.05),
    (0.32, -0.05),
    (0.32, 1),
    (-0.32, 1),
    (-0.32, -0.05),
    (-0.85, -0.05),
]
_BEND: list[Point] = [
    (0.15, 1), (0.15, 0.1), (-0.4, 0.1), (-0.4, 0.5), (-1, -0.25), (-0.4, -1), (-0.4, -0.55), (0.75, -0.55),
    (0.75, 1),
]  # fmt: skip
_CHEVRON: list[Point] = [(-1, 0.1), (0, -0.85), (1, 0.1), (1, 0.85), (0, -0.1), (-1, 0.85)]
_ZIGZAG: list[Point] = [
    (-1, -0.2), (-0.4, -0.8), (0.2, -0.1), (0.7, -0.7), (1, -0.35), (0.25, 0.75), (-0.4, 0.05), (-0.75, 0.6),
]  # fmt: skip


def _poly(points: list[Point]) -> Callable[[Pen, Colour, Colour, float, Point], None]:
    def draw(pen: Pen, ink: Colour, _face: Colour, half: float, centre: Point) -> None:
        pen.polygon(_at(points, half, centre), fill=ink)

    return draw


def _polys(*parts: list[Point]) -> Callable[[Pen, Colour, Colour, float, Point], None]:
    def draw(pen: Pen, ink: Colour, _face: Colour, half: float, centre: Point) -> None:
        for part in parts:
            pen.polygon(_at(part, half, centre), fill=ink)

    return draw


def _ring(gap: bool) -> Callable[[Pen, Colour, Colour, float, Point], None]:
    def draw(pen: Pen, ink: Colour, face: Colour, half: float, centre: Point) -> None:
        pen.polygon(_at(_ROUND, half, centre), fill=ink)
        pen.polygon(_at(_ROUND, 0.52 * half, centre), fill=face)
        if gap:
            pen.polygon(_at(_box(-0.52, 0.0, 0.52, 1.05), half, centre), fill=face)

    return draw


def _box(left: float, top: float, right: float, bottom: float) -> list[Point]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _turned(points: list[Point], quarter_turns: int) -> list[Point]:
    for _ in range(quarter_turns):
        points = [(-y, x) for x, y in points]
    return points


_THIN = 0.3
_GLYPHS: dict[str, Callable[[Pen, Colour, Colour, float, Point], None]] = {
    "bar": _poly(_box(-1, -_THIN, 1, _THIN)),
    "cross": _polys(_box(-1, -_THIN, 1, _THIN), _box(-_THIN, -1, _THIN, 1)),
    "bend_left": _poly(_BEND),
    "bend_right": _poly([(-x, y) for x, y in _BEND]),
    "arrow_up": _poly(_ARROW),
    "arrow_right": _poly(_turned(_ARROW, 1)),
    "arrow_down": _poly(_turned(_ARROW, 2)),
    "arrow_left": _poly(_turned(_ARROW, 3)),
    "disc": _poly([(0.9 * x, 0.9 * y) for x, y in _ROUND]),
    "square": _poly([(0.85 * x, 0.85 * y) for x, y in _SQUARE]),
    "chevron": _poly(_CHEVRON),
    "zigzag": _poly(_ZIGZAG),
    "ring": _ring(gap=False),
    "horseshoe": _ring(gap=True),
    "two_posts": _polys(_box(-0.85, -1, -0.3, 1), _box(0.3, -1, 0.85, 1)),
    "three_posts": _polys(_box(-1, -1, -0.6, 1), _box(-0.2, -1, 0.2, 1), _box(0.6, -1, 1, 1)),
}
_GLYPH_HALF = {"warning": 0.40, "guide": 0.55, "works": 0.52}


def draw_sign(group: str, glyph: str | None, recolour: tuple[Colour, Colour] | None = None) -> Image.Image:
    """Return a sign as a ``MASTER_PX``² RGBA picture; with ``recolour`` (border, face) it is no class's."""
    outline, border, face, face_size, ink, centre = _OUTLINES[group]
    if recolour:
        border, face = recolour
    picture = Image.new("RGBA", (_DRAW_PX, _DRAW_PX), (*border, 0))
    pen = ImageDraw.Draw(picture)
    rim = [(0.98 * x, 0.98 * y) for x, y in outline]
    pen.polygon(_at(rim), fill=border)
    middle = (0.0, 0.06) if group in {"warning", "school"} else (0.0, 0.0)
    pen.polygon(_at(rim, face_size, (0.0, middle[1] * (1 - face_size) * 4)), fill=face)
    if glyph is not None:
        _GLYPHS[glyph](pen, ink, face, _GLYPH_HALF.get(group, GLYPH_SHARE), centre)
    return picture.resize((MASTER_PX, MASTER_PX), Image.Resampling.BOX)


@cache
def sign_pyramid(sign: Sign) -> tuple[Image.Image, ...]:
    """Return the sign's master picture at 256, 128 and 64 px, for sampling without aliasing."""
    return pyramid(draw_sign(sign.group, sign.glyph))


def pyramid(master: Image.Image) -> tuple[Image.Image, ...]:
    """Return ``master`` and its halves down to a quarter of its size."""
    return master, master.reduce(2), master.reduce(4)


def all_pyramids() -> tuple[tuple[Image.Image, ...], ...]:
    """Return the pyramids of every class with an object, in class order from index 1."""
    return tuple(sign_pyramid(sign) for sign in SIGNS)
