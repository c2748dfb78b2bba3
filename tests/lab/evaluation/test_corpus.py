from pathlib import Path

import numpy as np
import pytest

from lab.evaluation.corpus import UNLABELLED, folder_corpus, table_corpus, unlabelled_corpus
from lab.evaluation.errors import EvaluationError
from lab.evaluation.subset import Subset
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
