"""Labelled frames become a folder to train on; nothing that another made is overwritten."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from page.harvest_export import export, file_name
from page.keeping import Doubt, Reason
from page.kept_frames import KeptFrames
from schemas.errors import SaccadeError
from schemas.frame import Frame

OUTSIDE = json.dumps({"format": "saccade-harvest", "version": 1, "images": [{"file": "../precious"}]})


@pytest.fixture
def labelled(kept: KeptFrames, jpeg: Callable[[int], bytes]) -> KeptFrames:
    """Frames 1 to 4 of a site's camera, of which 1 to 3 have a class and 4 teaches nothing."""
    for seq in (1, 2, 3, 4):
        doubt = Doubt("north/gate", seq, seq, Reason.DISAGREE, "stop", 0.7, "yield", "stop")
        kept.keep(doubt, Frame("", doubt.camera, seq, seq, 64, 64, "png", b"image %d" % seq), jpeg(seq))
    kept.label({1: "stop", 2: "stop", 3: "a/b", 4: ""})
    return kept


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(each.relative_to(folder)): each.read_bytes()
        for each in sorted(folder.rglob("*"))
        if each.is_file() and each.name != "index.json"
    }


def test_each_class_is_a_folder_and_the_index_says_the_rest(labelled: KeptFrames, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    assert export(labelled, folder) == {"a/b": 1, "stop": 2}
    assert files(folder) == {
        "a%2Fb/north%2Fgate_3.png": b"image 3",
        "stop/north%2Fgate_1.png": b"image 1",
        "stop/north%2Fgate_2.png": b"image 2",
    }
    index = json.loads((folder / "index.json").read_text())
    assert {each["file"] for each in index["images"]} == set(files(folder))
    assert {each["class"]: each for each in index["images"]}["a/b"] == {
        "file": "a%2Fb/north%2Fgate_3.png",
        "class": "a/b",
        "camera": "north/gate",
        "seq": 3,
        "captured_ns": 3,
        "reason": "disagree",
        "answer": "stop",
        "confidence": 0.7,
        "edge": "yield",
        "server": "stop",
    }


def test_an_earlier_export_is_brought_up_to_date(labelled: KeptFrames, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    export(labelled, folder)
    (folder / "stop" / "mine.png").write_bytes(b"mine")
    labelled.label({1: "yield", 3: None})
    assert export(labelled, folder) == {"stop": 1, "yield": 1}
    assert sorted(files(folder)) == ["stop/mine.png", "stop/north%2Fgate_2.png", "yield/north%2Fgate_1.png"]
    assert not (folder / "a%2Fb").exists()
    assert len(json.loads((folder / "index.json").read_text())["images"]) == 2


@pytest.mark.parametrize(
    "holds", [{"other.txt": "x"}, {"index.json": "{}"}, {"index.json": "no json"}, {"index.json": OUTSIDE}]
)
def test_a_folder_that_is_no_export_is_left_alone(
    labelled: KeptFrames, tmp_path: Path, holds: dict[str, str]
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, text in holds.items():
        (folder / name).write_text(text)
    with pytest.raises(SaccadeError, match="no earlier export"):
        export(labelled, folder)
    assert {each.name: each.read_text() for each in folder.iterdir()} == holds


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_names_of_files_are_safe_and_different(one: str, other: str) -> None:
    try:
        name = file_name(one)
    except UnicodeEncodeError:
        return  # lone surrogates come from no text that was decoded
    assert 0 < len(name.encode()) <= 180
    assert not set(name) & set("/\\\0")
    assert name not in (".", "..")
    assert not name.startswith(".")
    if one != other:
        try:
            assert name != file_name(other)
        except UnicodeEncodeError:
            return
