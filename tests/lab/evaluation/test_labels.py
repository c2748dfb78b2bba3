from pathlib import Path

import pytest

from lab.errors import EvaluationError
from lab.evaluation.labels import folder_labels, table_labels
from vit.classes import imagenet_synsets

CLASSES = ("cat", "dog", "eel")


def test_folders_named_by_class_win_over_their_order() -> None:
    found = folder_labels(["eel", "cat"], CLASSES)
    assert found.index == {"eel": 2, "cat": 0}
    assert found.reading == "folders named by class"


@pytest.mark.slow
def test_synset_folders_may_be_a_few_of_a_thousand() -> None:
    synsets = imagenet_synsets()
    classes = tuple(f"class {idx}" for idx in range(1000))
    found = folder_labels([synsets[7], synsets[999]], classes)
    assert found.index == {synsets[7]: 7, synsets[999]: 999}
    assert found.reading == "folders named by synset"
    with pytest.raises(EvaluationError, match="n99999999"):
        folder_labels(["n99999999"], classes)


def test_as_many_folders_as_classes_are_taken_in_sorted_order() -> None:
    found = folder_labels(["b", "c", "a"], CLASSES)
    assert found.index == {"a": 0, "b": 1, "c": 2}
    assert found.reading == "folders in sorted order"


def test_other_folders_are_refused_with_the_way_out() -> None:
    with pytest.raises(EvaluationError, match="--labels"):
        folder_labels(["x", "y"], CLASSES)


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_may_hold_names_or_indices_and_other_columns(tmp_path: Path) -> None:
    path = table(tmp_path, "author,file,label\nann,a.png,dog\nbob,b.png,2\n")
    assert table_labels(path, CLASSES) == {"a.png": 1, "b.png": 2}
    assert table_labels(table(tmp_path, "file,class_index\na.png,0\n"), CLASSES) == {"a.png": 0}


@pytest.mark.slow
def test_a_table_may_name_imagenets_classes_by_synset(tmp_path: Path) -> None:
    classes = tuple(f"class {idx}" for idx in range(1000))
    path = table(tmp_path, f"file,label\na.png,{imagenet_synsets()[7]}\nb.png,class 3\n")
    assert table_labels(path, classes) == {"a.png": 7, "b.png": 3}


def test_a_table_that_cannot_be_read_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"none\.csv: No such file"):
        table_labels(tmp_path / "none.csv", CLASSES)
    (tmp_path / "latin.csv").write_bytes(b"file,label\n\xe9.png,1\n")
    with pytest.raises(EvaluationError, match="not UTF-8"):
        table_labels(tmp_path / "latin.csv", CLASSES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,class\na,1\n", "needed"),
        ("file,label\na.png,fox\n", "line 2: label 'fox'"),
        ("file,label\na.png,3\n", "line 2: label '3'"),
        ("file,label\na.png,1\na.png,1\n", "line 3"),
        ("file,label\n", "lists no file"),
    ],
)
def test_a_bad_table_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        table_labels(table(tmp_path, text), CLASSES)
