from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import EvaluationError
from lab.evaluation.corpus import (
    UNLABELLED,
    Subset,
    calibration_half,
    folder_corpus,
    scene_corpus,
    table_corpus,
    unlabelled_corpus,
)
from lab.progress import SilentProgress
from lab.scenes.classes import CLASSES as SCENE_CLASSES
from schemas.errors import DecodeError

CLASSES = ("red", "green", "blue")


def test_a_folder_by_class_is_listed_with_labels(image_folder: Path) -> None:
    corpus = folder_corpus(image_folder, CLASSES)
    assert len(corpus.names) == 12
    assert corpus.names[0] == "blue/blue-0.png"
    assert corpus.labels.tolist() == [2] * 4 + [1] * 4 + [0] * 4
    assert "named by class" in corpus.description
    assert corpus.crop(0).shape == (224, 224, 3)


def test_a_limit_takes_images_of_all_classes(image_folder: Path) -> None:
    assert set(folder_corpus(image_folder, CLASSES, limit=3).labels.tolist()) == {0, 1, 2}


def test_a_table_finds_files_by_path_or_unique_name(image_folder: Path) -> None:
    table = image_folder / "labels.csv"
    table.write_text("file,label\nred-0.png,red\nblue/blue-1.png,2\n")
    corpus = table_corpus(image_folder, table, CLASSES)
    assert corpus.names == ("red/red-0.png", "blue/blue-1.png")
    table.write_text("file,label\nred-99.png,red\n")
    with pytest.raises(EvaluationError, match=r"red-99.png: no files"):
        table_corpus(image_folder, table, CLASSES)


def test_unlabelled_images_have_no_label(image_folder: Path) -> None:
    assert set(unlabelled_corpus(image_folder).labels.tolist()) == {UNLABELLED}


def test_the_fingerprint_follows_the_bytes(image_folder: Path) -> None:
    before = folder_corpus(image_folder, CLASSES)
    hashes = {before.fingerprint(idx) for idx in range(12)}
    assert len(hashes) == 12
    path = image_folder / "blue" / "blue-0.png"
    path.write_bytes((image_folder / "red" / "red-0.png").read_bytes())
    after = folder_corpus(image_folder, CLASSES)
    assert after.fingerprint(0) != before.fingerprint(0)
    assert after.fingerprint(1) == before.fingerprint(1)


def test_unreadable_images_are_named(image_folder: Path) -> None:
    (image_folder / "blue" / "blue-0.png").write_bytes(b"\x89PNG broken")
    (image_folder / "blue" / "blue-1.png").write_bytes(b"text")
    corpus = folder_corpus(image_folder, CLASSES)
    for idx in (0, 1):
        with pytest.raises(DecodeError):
            corpus.crop(idx)


def test_missing_folders_and_empty_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no such folder"):
        folder_corpus(tmp_path / "none", CLASSES)
    with pytest.raises(EvaluationError, match="no folders with images"):
        folder_corpus(tmp_path, CLASSES)


def test_a_subset_numbers_images_anew(image_folder: Path) -> None:
    corpus = folder_corpus(image_folder, CLASSES)
    part = Subset(corpus, np.array([11, 0]))
    assert part.names == (corpus.names[11], corpus.names[0])
    assert part.labels.tolist() == [0, 2]
    assert part.fingerprint(1) == corpus.fingerprint(0)
    np.testing.assert_array_equal(part.crop(0), corpus.crop(11))


@pytest.mark.slow
def test_scenes_are_scored_reproducible_and_fresh_for_each_seed() -> None:
    silent = SilentProgress()
    one, again = (scene_corpus(6, 0, SCENE_CLASSES, silent) for _ in range(2))
    assert one.names == again.names
    assert [one.fingerprint(idx) for idx in range(6)] == [again.fingerprint(idx) for idx in range(6)]
    assert (one.labels >= 0).all()
    assert one.crop(0).shape == (224, 224, 3)
    other = scene_corpus(6, 1, SCENE_CLASSES, silent)
    calibration = scene_corpus(6, 0, SCENE_CLASSES, silent, calibration=True)
    assert not set(one.names) & (set(other.names) | set(calibration.names))
    assert not np.array_equal(one.crop(0), calibration.crop(0))


def test_models_of_other_classes_and_bad_seeds_are_refused() -> None:
    with pytest.raises(EvaluationError, match="--edge-model shipped"):
        scene_corpus(3, 0, ("cat", "dog"), SilentProgress())
    with pytest.raises(EvaluationError, match="seed below"):
        scene_corpus(3, 10**6, SCENE_CLASSES, SilentProgress())


@given(st.lists(st.text(max_size=20), max_size=30), st.lists(st.text(max_size=20), max_size=30))
def test_a_names_half_does_not_depend_on_the_other_names(names: list[str], others: list[str]) -> None:
    together = calibration_half([*names, *others])
    assert together[: len(names)].tolist() == calibration_half(names).tolist()


def test_the_halves_are_about_equal() -> None:
    assert 0.45 < calibration_half([f"{i}.jpg" for i in range(4000)]).mean() < 0.55


def test_frames_of_one_camera_stand_on_one_side() -> None:
    half = calibration_half(["gate"] * 5 + ["yard"] * 5)
    assert len(np.unique(half[:5])) == len(np.unique(half[5:])) == 1
