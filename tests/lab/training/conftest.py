from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.training.pool import Pool


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """48 crops of noise: three classes are a square of one colour each, the fourth has none."""
    made = Pool.open(tmp_path_factory.mktemp("pool"), 48, create=True)
    random = np.random.default_rng(5)
    for index in range(made.size):
        label = index % 4
        crop = random.integers(90, 140, (224, 224, 3)).astype(np.uint8)
        cover = np.zeros((14, 14), np.uint8)
        if label:
            row, column = random.integers(0, 11, 2)
            cover[row : row + 4, column : column + 4] = 255
            crop[16 * row : 16 * row + 64, 16 * column : 16 * column + 64, label - 1] = 250
        made.crops[index], made.cover[index] = crop, cover.ravel()
        made.meta[index] = (label, label, 64.0 if label else 0.0, 1.0 if label else 0.0)
    made.mark(made.size)
    return made


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight small images in two class folders."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(9)
    for name, channel in (("blue", 2), ("red", 0)):
        (folder / name).mkdir()
        for number in range(4):
            pixels = random.integers(0, 90, (240, 300, 3), dtype=np.uint8)
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder
