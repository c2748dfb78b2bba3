"""Rendered road scenes with known truth, as a data set and as a camera."""

from lab.scenes.classes import CLASSES, GROUP_OF_CLASS, GROUPS, IGNORE, NONE
from lab.scenes.seeds import CALIBRATION_SEEDS, TEST_SEEDS, TRAIN_SEEDS
from lab.scenes.stream import SceneStream
from lab.scenes.views import render_view

__all__ = [
    "CALIBRATION_SEEDS",
    "CLASSES",
    "GROUPS",
    "GROUP_OF_CLASS",
    "IGNORE",
    "NONE",
    "TEST_SEEDS",
    "TRAIN_SEEDS",
    "SceneStream",
    "render_view",
]
