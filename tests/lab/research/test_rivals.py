"""The command from end to end on a tiny net, and the pieces of its table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lab.research.rivals import gate_threshold, latency_ms, through_codec
from saccade.commands.research import maps_and_bits
from schemas.errors import SettingsError


def test_points_are_pairs() -> None:
    assert maps_and_bits("2x4, 8x8") == ((2, 4), (8, 8))


@pytest.mark.parametrize("text", ["", "4", "4x9", "0x4", "ax4", "4x4,"])
def test_a_point_that_is_none_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match="want MAPSxBITS"):
        maps_and_bits(text)


def test_latency_by_hand() -> None:
    # 20 M at 20 G/s is 1 ms, 1 G at 1000 G/s is 1 ms, 1250 bytes at 1 Mbit/s are 10 ms
    assert latency_ms(20e6, 1250, 1e9, 1.0) == pytest.approx(12.0)


def test_the_gate_sends_as_little_as_its_loss_allows() -> None:
    score = np.array([0.1, 0.2, 0.3, 0.4])
    exit_right = np.array([True, True, False, False])
    assert gate_threshold(score, exit_right, np.array([True, True, True, True])) == 0.3
    assert gate_threshold(score, exit_right, np.array([True, True, False, False])) == np.inf
    assert gate_threshold(score, exit_right, ~exit_right) == np.inf  # as good as sending all


def test_codecs_give_back_about_what_they_got() -> None:
    pixels = np.full((1, 32, 32, 3), 90, np.uint8)
    for codec in ("JPEG", "WEBP"):
        shown, sizes = through_codec(pixels, codec, 90)
        assert np.abs(shown.astype(int) - 90).max() <= 3
        assert 20 < sizes[0] < 1000


@pytest.mark.slow
def test_the_command_writes_its_report_and_goes_on_from_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from saccade.cli import app

    before = torch.get_num_threads()
    arguments = ["research", "table", "--quick", "--limit", "96", "--points", "2x4", "--out", str(tmp_path)]
    reports = []
    try:
        for _ in range(2):
            app(args=arguments, standalone_mode=False)
            assert capsys.readouterr().out.strip() == str(tmp_path / "report.md")
            reports.append(json.loads((tmp_path / "rows.json").read_text()))
    finally:
        torch.set_num_threads(before)
    assert reports[0] == reports[1]
    methods = {row["method"] for row in reports[0]["table"]}
    assert methods == {
        "unsplit",
        "whole image",
        "whole image + gate",
        "AECNN (reconstruction)",
        "BottleNet++",
    }
    assert (tmp_path / "table.png").stat().st_size > 1000
    assert (tmp_path / "early-exit.png").stat().st_size > 1000
