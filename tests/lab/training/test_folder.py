from pathlib import Path

import numpy as np
import pytest
import torch

from lab.errors import TrainingError
from lab.progress import SilentProgress
from lab.training.batches import sample
from lab.training.fine_tune import fine_tune, starting_weights
from lab.training.folder import fill_from_images, read_folder
from lab.training.forward import MEAN, STD
from vit.architecture import Architecture
from vit.model import Model, random_model
from vit.packed_forward import normalised


def test_folders_are_classes_and_every_tenth_image_is_only_watched(photos) -> None:
    folder = read_folder(photos)
    assert folder.classes == ("blue", "red")
    assert len(folder.learnt) + len(folder.watched) == 8
    assert not set(folder.learnt) & set(folder.watched)
    assert {label for _, label in folder.learnt} == {label for _, label in folder.watched} == {0, 1}


def test_the_first_copy_is_the_usual_crop_and_the_others_are_pieces(photos, tmp_path: Path) -> None:
    images = read_folder(photos).learnt
    pool = fill_from_images(tmp_path, images, 2, 1, SilentProgress())
    assert pool.filled() == 2 * len(images)
    blue, red = pool.crops[0].mean((0, 1)), pool.crops[len(images) - 1].mean((0, 1))
    assert blue[2] > blue[0]
    assert red[0] > red[2]
    assert (pool.crops[0] != pool.crops[len(images)]).any()


def test_whole_crops_of_images_have_their_class_and_no_patch_has_one(photos, tmp_path: Path) -> None:
    images = read_folder(photos).learnt
    pool = fill_from_images(tmp_path, images, 1, 1, SilentProgress())
    batch, indices = sample(pool, np.random.default_rng(0), 8, 14, range(pool.size))
    assert batch.truth.tolist() == [images[index][1] for index in indices]
    assert (batch.patch_truth == -1).all()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "0 class folders"),
        ({"a/1.jpg": b"", "a/2.jpg": b""}, "1 class folders"),
        ({"a/1.jpg": b"", "a/2.jpg": b"", "b/1.jpg": b""}, "class b: 1 images"),
    ],
)
def test_too_little_data_is_refused(tmp_path: Path, files, message: str) -> None:
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    with pytest.raises(TrainingError, match=message):
        read_folder(tmp_path)


def test_a_missing_folder_and_a_broken_image_are_named(photos, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no such folder"):
        read_folder(tmp_path / "absent")
    broken = photos / "red" / "0.png"
    whole = broken.read_bytes()
    broken.write_bytes(b"no image")
    with pytest.raises(TrainingError, match=r"0\.png"):
        fill_from_images(tmp_path, read_folder(photos).learnt, 1, 1, SilentProgress())
    broken.write_bytes(whole)


def test_epochs_must_be_above_zero(photos, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="epochs"):
        fine_tune(photos, tmp_path, tmp_path, epochs=0)


def test_another_normalisation_is_folded_into_the_first_layer(tmp_path: Path) -> None:

    model = random_model(Architecture(24, 1, 2, 2.0, 5))
    state = starting_weights(model, 3, seed=0)
    crop = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    usual = Model(model.vit, "usual", MEAN, STD, model.classes)
    with torch.inference_mode():
        before = model.timm.patch_embed(normalised(crop, model))
        weight, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
        after = torch.nn.functional.conv2d(normalised(crop, usual), weight, bias, stride=16)
    torch.testing.assert_close(after.flatten(2).transpose(1, 2), before, atol=1e-3, rtol=1e-3)
    assert state["head.weight"].shape == (3, 24)
