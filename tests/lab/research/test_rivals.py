"""The command from end to end on a tiny net, and the pieces of its table."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lab.research.bench import TableRow
from lab.research.cost import Cost, fastest_ms
from lab.research.pictures import drawn_tracks
from lab.research.rivals import AECNN, BOTTLENET, at_equal_accuracy, gate_threshold, through_codec
from saccade.commands.research import maps_and_bits
from schemas.errors import SettingsError


def test_points_are_pairs() -> None:
    assert maps_and_bits("2x4, 8x8") == ((2, 4), (8, 8))


@pytest.mark.parametrize("text", ["", "4", "4x9", "0x4", "ax4", "4x4,"])
def test_a_point_that_is_none_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match="want MAPSxBITS"):
        maps_and_bits(text)


def test_latency_by_hand() -> None:
    cost = Cost(device_macs=20e6, server_macs=2e9, device_ms=7.0, server_ms=4.0).where_sent(0.5)
    assert cost == Cost(20e6, 1e9, 7.0, 2.0)
    # 1250 bytes at 1 Mbit/s are 10 ms; 20 M at 20 G/s is 1 ms, 1 G at 1000 G/s is 1 ms
    assert cost.latency_ms(1250)[1] == pytest.approx(19.0)
    assert cost.stated.latency_ms(1250)[1] == pytest.approx(12.0)


def test_the_fastest_run_counts() -> None:
    waits = iter([0.02] + [0.0] * 100)
    assert fastest_ms(lambda: time.sleep(next(waits))) < 15.0


def _row(method: str, payload_bytes: float, right: list[bool]) -> TableRow:
    values = np.array(right)
    mean = float(values.mean())
    cost = Cost(0.0, 0.0, 0.0, 0.0)
    return TableRow(
        method, "", mean, (mean, mean), 1.0, payload_bytes, payload_bytes, None, None, cost, values
    )


def test_the_cheapest_as_accurate_row_is_held_against_each_of_theirs() -> None:
    half, three, four = [True, True, False, False], [True, True, True, False], [True] * 4
    rows = [
        _row(AECNN, 30, half),
        _row(AECNN, 50, four),
        _row(AECNN, 90, four),
        _row(BOTTLENET, 64, three),
        _row(BOTTLENET, 10, [False] * 4),
    ]
    found = at_equal_accuracy(rows, np.arange(4))
    assert [(each.theirs.payload_bytes, each.ours.payload_bytes, each.gain) for each in found] == [
        (10, 30, 0.5),
        (64, 50, 0.25),
    ]
    assert at_equal_accuracy([_row(AECNN, 30, half), _row(BOTTLENET, 64, four)], np.arange(4)) == []


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
            for row in reports[-1]["table"]:
                del row["cost"]["device_ms"], row["cost"]["server_ms"]
    finally:
        torch.set_num_threads(before)
    assert reports[0] == reports[1]
    methods = {row["method"] for row in reports[0]["table"]}
    assert methods == {
        "unsplit",
        "whole image",
        "whole image + exit's gate",
        "AECNN (reconstruction)",
        "BottleNet++",
    }
    assert (tmp_path / "table.png").stat().st_size > 1000
    assert (tmp_path / "early-exit.png").stat().st_size > 1000


@pytest.mark.slow
def test_saccades_own_rows_come_from_the_same_command(tmp_path: Path) -> None:
    from saccade.cli import app

    for part, tracks in (("train", 12), ("test", 12)):
        drawn = drawn_tracks(tracks, 64, seed=tracks)
        for place, pixels in enumerate(drawn.pixels):
            folder = tmp_path / "data" / part / f"class-{drawn.truth[place]}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{drawn.tracks[place]:03}_{place:03}.png")
    before = torch.get_num_threads()
    pair = ["--edge-model", "shipped:edge", "--server-model", "shipped:server"]
    net = ["--network", "resnet10x4", "--side", "32", "--length", "0.02", "--points", "2x4"]
    try:
        app(
            args=["research", "table", "--data", str(tmp_path / "data"), "--out", str(tmp_path), *net, *pair],
            standalone_mode=False,
        )
    finally:
        torch.set_num_threads(before)
    rows = json.loads((tmp_path / "rows.json").read_text())["table"]
    own = {row["method"] for row in rows if row["method"].startswith("Saccade")}
    assert own >= {"Saccade, edge alone", "Saccade, stills: patches", "Saccade, stream: belief"}
    for row in rows:
        assert row["interval"][0] <= row["accuracy"] <= row["interval"][1]
        assert row["payload_bytes"] <= row["wire_bytes"]
