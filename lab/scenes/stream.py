"""A road camera as a stream: objects approach smoothly and pass, with quiet, nearly still stretches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lab.scenes.backgrounds import MARGIN, PLACES, place
from lab.scenes.classes import NONE, SIGNS
from lab.scenes.composition import Thing, compose
from lab.scenes.seeds import generator, split_of
from lab.scenes.sprites import Look, distractors, random_look, sign_masters
from lab.scenes.truth import CropWindow, crop_window
from lab.scenes.views import HEIGHT, WIDTH, dimmed

FIRST_SIDE_PX, LAST_SIDE_PX = 8.0, 170.0
"""Side in the 224 crop at which an object comes into sight and at which it has passed."""
QUIET_S = (1.0, 6.0)
PASS_S = (3.0, 8.0)
SWAY_PX = 2.0


@dataclass(frozen=True, slots=True)
class Passage:
    """One object's way past the camera, from ``begin_s`` to ``end_s``; positions in crop pixels.

    It grows exponentially, as things at constant speed do until they are near, and leaves the point far
    down the road.
    """

    begin_s: float
    end_s: float
    label: int
    masters: tuple[Image.Image, ...]
    look: Look
    far: tuple[float, float]
    near: tuple[float, float]
    last_side_px: float

    def at(self, now_s: float, crop: CropWindow) -> Thing:
        """Return the object as it stands at ``now_s``, in frame pixels."""
        share = (now_s - self.begin_s) / (self.end_s - self.begin_s)
        side_px = FIRST_SIDE_PX * (self.last_side_px / FIRST_SIDE_PX) ** share
        travelled = (side_px - FIRST_SIDE_PX) / (self.last_side_px - FIRST_SIDE_PX)
        x = self.far[0] + (self.near[0] - self.far[0]) * travelled
        y = self.far[1] + (self.near[1] - self.far[1]) * travelled
        left, top = crop.left + x / crop.scale, crop.top + y / crop.scale
        return Thing(self.label, self.masters, left, top, side_px / crop.scale, self.look)


class SceneStream:
    """Endless frames of one camera with their truths: iterate to get ``(image, truth)``.

    image: (height, width, 3) uint8 RGB. truth: class index, 0 = none, −1 = ignore. The same arguments give the
    same frames. One object at a time has a class; standing distractors belong to the place. ``quiet_s`` bounds the
    time between two objects; with ``sway_px`` 0 the camera stands quite still.
    """

    def __init__(
        self,
        seed: int,
        width: int = WIDTH,
        height: int = HEIGHT,
        fps: float = 5.0,
        *,
        sway_px: float = SWAY_PX,
        quiet_s: tuple[float, float] = QUIET_S,
    ) -> None:
        if not fps > 0:
            raise ValueError(f"fps: {fps}, must be above 0")
        self._random = generator("stream", seed)
        self._crop = crop_window(width, height)
        self._size = (width, height)
        self._fps = fps
        self._sway_px, self._quiet_s = sway_px, quiet_s
        picture = place(split_of(seed), int(self._random.integers(PLACES)), width, height)
        self._place = dimmed(picture, float(self._random.uniform(0.6, 1.1)))
        self._noise = float(self._random.uniform(1, 7))
        self._hardness = float(self._random.uniform(0.1, 0.9))
        self._standing = [self._stand() for _ in range(self._random.integers(0, 3))]
        self._passage = self._next_passage(float(self._random.uniform(0, quiet_s[0])))

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], int]]:
        """Yield frames for ever, ``1 / fps`` seconds of the scene apart."""
        number = 0
        while True:
            yield self._frame(number / self._fps)
            number += 1

    def _frame(self, now_s: float) -> tuple[NDArray[np.uint8], int]:
        while now_s >= self._passage.end_s:
            self._passage = self._next_passage(
                self._passage.end_s + float(self._random.uniform(*self._quiet_s))
            )
        things = list(self._standing)
        if now_s >= self._passage.begin_s:
            things.append(self._passage.at(now_s, self._crop))
        view = compose(
            self._canvas(now_s), things, self._crop, noise=self._noise, random=self._random, want_mask=False
        )
        return view.image, view.truth

    def _canvas(self, now_s: float) -> Image.Image:
        """Return the part of the place in sight: the camera sways by a pixel or two."""
        width, height = self._size
        spare_x, spare_y = round(width * (MARGIN - 1)) // 2, round(height * (MARGIN - 1)) // 2
        x = spare_x + round(self._sway_px * np.sin(0.9 * now_s))
        y = spare_y + round(self._sway_px * np.sin(1.7 * now_s + 1))
        return self._place.crop((x, y, x + width, y + height))

    def _stand(self) -> Thing:
        kinds = distractors()
        crop, random = self._crop, self._random
        x, y = crop.left + random.random() * crop.side, crop.top + random.random() * crop.side
        masters = kinds[random.integers(len(kinds))]
        return Thing(NONE, masters, x, y, crop.side * random.uniform(0.06, 0.2), random_look(random, 0.5))

    def _next_passage(self, begin_s: float) -> Passage:
        random = self._random
        label = int(random.integers(1, len(SIGNS) + 1))
        far = (float(random.uniform(80, 144)), float(random.uniform(80, 120)))
        side = -1 if random.random() < 0.4 else 1
        near = (112 + side * float(random.uniform(20, 150)), float(random.uniform(20, 130)))
        return Passage(
            begin_s=begin_s,
            end_s=begin_s + float(random.uniform(*PASS_S)),
            label=label,
            masters=sign_masters(label),
            look=random_look(random, self._hardness * float(random.beta(1.3, 1.6)) * 1.5),
            far=far,
            near=near,
            last_side_px=float(random.uniform(60, LAST_SIDE_PX)),
        )
