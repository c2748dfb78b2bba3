"""`saccade harvest`: what is kept, as counts, and the labelled frames as a folder."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from page.keeping import Doubt, Reason
from page.kept_frames import KeptFrames
from schemas.frame import Frame


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """One labelled frame of a gate, and one of a yard that waits."""
    path = tmp_path / "harvest.sqlite"
    kept = KeptFrames.open(path, max_bytes=1024 * 1024)
    out = io.BytesIO()
    Image.new("RGB", (64, 64)).save(out, "JPEG")
    for camera, reason in [("gate", Reason.DISAGREE), ("yard", Reason.UNSURE)]:
        doubt = Doubt(camera, 7, 7, reason, "stop", 0.5, "yield", "stop")
        kept.keep(doubt, Frame("", camera, 7, 7, 64, 64, "jpeg", out.getvalue()), out.getvalue())
    kept.label({1: "no entry"})
    kept.close()
    return path


def test_kept_frames_are_counted_by_camera(cli: Any, file: Path) -> None:
    gate, yard = cli("harvest", "list", "--harvest", file, "--json").rows
    assert (gate["camera"], gate["disagree"], gate["labelled"], gate["open"]) == ("gate", 1, 1, 0)
    assert (yard["camera"], yard["unsure"], yard["labelled"], yard["open"]) == ("yard", 1, 0, 1)
    line = cli("harvest", "list", "--set", f"harvest.file={file}").out.splitlines()[0]
    assert line.startswith("gate  1 kept, 1 disagree, 1 labelled  (")


def test_labelled_frames_are_exported_again_and_again(cli: Any, file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    assert cli("harvest", "export", folder, "--harvest", file, "--json").rows == [{"no entry": 1}]
    assert (folder / "no entry" / "gate_7.jpeg").exists()
    again = cli("harvest", "export", folder, "--harvest", file)
    assert again.out.splitlines()[-1] == f"1 labelled frames of 1 classes in {folder}"


def test_without_a_file_and_over_other_files_nothing_is_done(cli: Any, file: Path, tmp_path: Path) -> None:
    refused: list[tuple[list[Any], int, str]] = [
        (["list"], 2, "--harvest FILE"),
        (["list", "--harvest", tmp_path / "none"], 2, "no such file"),
        (["export", tmp_path, "--harvest", file], 1, "is not empty"),
    ]
    for arguments, status, told in refused:
        ran = cli("harvest", *arguments)
        assert (ran.status, ran.out) == (status, "")
        assert told in ran.reason
