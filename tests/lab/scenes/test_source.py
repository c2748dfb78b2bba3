from __future__ import annotations

import itertools

import numpy as np

from lab.scenes import CLASSES
from lab.scenes.source import RenderedScenes, Scenes
from producers.sources.source import Captured, RawImage


def first(count: int, source: RenderedScenes) -> list[Captured]:
    return list(itertools.islice(iter(source), count))


def test_every_picture_has_the_wanted_size_and_a_truth() -> None:
    for picture in first(3, RenderedScenes(Scenes(1, 320, 240), fps=5)):
        assert isinstance(picture.image, RawImage)
        assert picture.image.pixels.shape == (240, 320, 3)
        assert picture.truth in range(-1, len(CLASSES))


def test_a_seed_gives_the_same_camera_again_and_another_seed_another() -> None:
    views = []
    for seed in (1, 1, 2):
        (picture,) = first(1, RenderedScenes(Scenes(seed, 320, 240), fps=None))
        assert isinstance(picture.image, RawImage)
        views.append(picture.image.pixels)
    assert np.array_equal(views[0], views[1])
    assert not np.array_equal(views[0], views[2])
