import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import TrainingError
from lab.progress import SilentProgress
from lab.training.batches import sample
from lab.training.fine_tune import fine_tune, starting_weights
from lab.training.folder import fill_from_images, hold_out, read_folder
from lab.training.forward import MEAN, STD
from lab.training.report import Asking
from schemas.operating_point import OperatingPoint
from vit.architecture import Architecture
from vit.model import Model, random_model
from vit.packed_forward import normalised

ASKING = Asking(OperatingPoint(0.8, 0.97, 1, "webp", 75), 0.5)


def test_folders_are_classes_and_a_fifth_of_the_images_is_held_out(photos) -> None:
    folder = read_folder(photos)
    assert folder.classes == ("blue", "red")
    assert len(folder.learnt) + len(folder.watched) == 8
    assert not set(folder.learnt) & set(folder.watched)
    assert {label for _, label in folder.learnt} == {label for _, label in folder.watched} == {0, 1}
    assert folder.held_out_by == "image"
    assert folder == read_folder(photos)


@pytest.mark.parametrize(
    ("known", "classes", "is_extended"),
    [
        ((), ("blue", "red"), False),
        (("cat", "dog"), ("blue", "red"), False),
        (("red", "none", "blue"), ("red", "none", "blue"), True),
        (("none", "red"), ("none", "red", "blue"), True),
    ],
)
def test_the_class_list_is_the_pairs_and_grows_where_the_folder_shares_a_class(
    photos, known, classes, is_extended
) -> None:
    folder = read_folder(photos, known)
    assert (folder.classes, folder.is_extended) == (classes, is_extended)
    assert all(path.parent.name == classes[label] for path, label in (*folder.learnt, *folder.watched))


def exported(folder: Path, photos: Path, cameras: dict[str, str]) -> Path:
    """What `saccade harvest export` leaves: the photos' classes under odd names, a camera for each file."""
    images = []
    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        file = f"{path.parent.name}%2F/{number}.png"
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_bytes(path.read_bytes())
        images.append(
            {"file": file, "class": f"{path.parent.name}/", "camera": cameras[path.stem], "seq": number}
        )
    (folder / "index.json").write_text(
        json.dumps({"format": "saccade-harvest", "version": 1, "images": images})
    )
    return folder


def test_of_an_exported_harvest_whole_cameras_are_held_out_and_the_index_names_the_classes(
    photos, tmp_path: Path
) -> None:
    cameras = {"0": "north", "1": "north", "2": "south", "3": "east"}
    folder = read_folder(exported(tmp_path, photos, cameras), ("none",))
    assert folder.classes == ("none", "blue/", "red/")
    assert folder.held_out_by == "camera"
    camera_of = {f"{number}.png": list(cameras.values())[number % 4] for number in range(8)}
    held, learnt = (
        {camera_of[path.name] for path, _ in images} for images in (folder.watched, folder.learnt)
    )
    assert len(held) == 1
    assert not held & learnt


def test_of_one_camera_single_images_are_held_out(photos, tmp_path: Path) -> None:
    folder = read_folder(exported(tmp_path, photos, dict.fromkeys("0123", "north")), ("blue/", "red/"))
    assert (folder.held_out_by, len(folder.watched), len(folder.learnt)) == ("image", 2, 6)


@pytest.mark.parametrize("text", ["no json", "[]", "{}", '{"images": [{"file": "a/1.png"}]}'])
def test_an_index_that_cannot_be_read_is_named(photos, tmp_path: Path, text: str) -> None:
    folder = exported(tmp_path, photos, dict.fromkeys("0123", "north"))
    (folder / "index.json").write_text(text)
    with pytest.raises(TrainingError, match=r"index\.json"):
        read_folder(folder, ("blue/",))


@given(
    shown=st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abcd")), min_size=1, max_size=30),
    num_known=st.integers(0, 4),
)
def test_held_out_groups_are_whole_and_leave_something_to_learn_from(shown, num_known: int) -> None:
    labels, groups = zip(*shown, strict=True)
    held = hold_out(labels, groups, num_known, seed=1)
    left = set(range(len(labels))) - held
    assert not {groups[number] for number in held} & {groups[number] for number in left}
    assert len(held) <= len(labels) / 2
    assert {labels[number] for number in held} <= {labels[number] for number in left} | set(range(num_known))


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


def test_a_folder_of_which_nothing_can_be_held_out_is_refused(photos, tmp_path: Path) -> None:
    exported(tmp_path, photos, dict.fromkeys("0123", "north"))
    index = json.loads((tmp_path / "index.json").read_text())
    index["images"] = index["images"][:1]
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(TrainingError, match="held out"):
        read_folder(tmp_path, ("none",))


def test_epochs_must_be_above_zero(photos, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="epochs"):
        fine_tune(photos, tmp_path, tmp_path, asking=ASKING, epochs=0)


@pytest.mark.slow
def test_another_normalisation_is_folded_into_the_first_layer(tmp_path: Path) -> None:

    model = random_model(Architecture(24, 1, 2, 2.0, 5))
    state = starting_weights(model)
    crop = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    usual = Model(model.vit, "usual", MEAN, STD, model.classes)
    with torch.inference_mode():
        before = model.timm.patch_embed(normalised(crop, model))
        weight, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
        after = torch.nn.functional.conv2d(normalised(crop, usual), weight, bias, stride=16)
    torch.testing.assert_close(after.flatten(2).transpose(1, 2), before, atol=1e-3, rtol=1e-3)
    assert torch.equal(state["head.weight"], model.vit.head.weight)
