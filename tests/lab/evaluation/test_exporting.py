import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.errors import EvaluationError
from lab.evaluation.exporting import LEAST_IMAGES, export_edge, readable_crops
from vit.exported import ONNX, OPENVINO

HAS_NNCF = importlib.util.find_spec("nncf") is not None


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
    with pytest.raises(EvaluationError, match=f"15 readable images .* {LEAST_IMAGES} are needed"):
        readable_crops(tmp_path, 100)


@pytest.mark.slow
@pytest.mark.parametrize(("images", "checked"), [(None, 16), (20, 20)])
def test_the_folder_tells_how_far_it_agrees_with_torch(
    tiny_model: Path, tmp_path: Path, images: int | None, checked: int
) -> None:
    if images:
        some_images(tmp_path, images)
    exported = export_edge(str(tiny_model), tmp_path / "out", tmp_path if images else None, int8=False)
    assert set(exported.agreement) == {OPENVINO, ONNX}
    for agreement in exported.agreement.values():
        assert agreement.images == checked
        assert agreement.logit_distance < 0.1
        assert agreement.attention_moved < 0.02


def test_int8_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="give --data"):
        export_edge("shipped", tmp_path, None, int8=True)


@pytest.mark.skipif(not HAS_NNCF, reason="the extra int8 is not installed")
def test_the_int8_model_is_checked_on_images_that_did_not_calibrate_it(tmp_path: Path) -> None:
    some_images(tmp_path, 40)
    exported = export_edge("shipped", tmp_path / "out", tmp_path, int8=True)
    assert exported.int8 == (OPENVINO,)
    assert exported.agreement[OPENVINO].images == 16
