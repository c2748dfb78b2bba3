import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.errors import EvaluationError
from lab.evaluation.quantisation import LEAST_IMAGES, quantise_edge, readable_crops

HAS_OPENVINO = all(importlib.util.find_spec(name) for name in ("openvino", "nncf"))


def some_images(folder: Path, number: int) -> None:
    for idx in range(number):
        path = folder / f"{idx % 2}" / f"{idx:03}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((240, 300, 3), idx, np.uint8)).save(path)


def test_images_are_taken_evenly_from_all_folders_and_unreadable_ones_left_out(tmp_path: Path) -> None:
    some_images(tmp_path, 40)
    (tmp_path / "0" / "broken.jpg").write_bytes(b"no image")
    shades = readable_crops(tmp_path, 20)[:, 0, 0, 0].tolist()
    assert len(shades) in (19, 20)
    assert sum(shade % 2 for shade in shades) in (9, 10, 11)
    assert readable_crops(tmp_path, 100).shape == (40, 224, 224, 3)


def test_too_few_images_are_refused_by_number(tmp_path: Path) -> None:
    some_images(tmp_path, LEAST_IMAGES - 1)
    with pytest.raises(EvaluationError, match=f"15 readable images .* needs {LEAST_IMAGES}"):
        readable_crops(tmp_path, 100)


@pytest.mark.skipif(not HAS_OPENVINO, reason="the extra openvino is not installed")
def test_the_int8_model_is_checked_on_images_that_did_not_calibrate_it(tmp_path: Path) -> None:
    some_images(tmp_path, 40)
    made = quantise_edge(tmp_path, "shipped", tmp_path / "out")
    assert made.path.exists()
    assert (made.calibrated, made.checked) == (24, 16)
    assert 0 <= made.agreeing <= 16
