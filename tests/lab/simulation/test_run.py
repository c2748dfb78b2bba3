from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.simulation.run import read_rates, simulate_command
from schemas.errors import DecodeError


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_trace_gives_the_figures_and_a_picture(tmp_path: Path) -> None:
    trace = write(tmp_path / "trace.csv", "second,bytes_per_s\n0,40000\n10,20000\n")
    figures = simulate_command(trace, None, 4, 1, 7, None, tmp_path / "out", seconds=20.0)
    assert figures["windows_over_cap"] == 0
    assert len(figures["utilisation_10s"]) == 2
    assert 0 < figures["accuracy_edge"] < figures["accuracy"] <= 1
    assert figures["accuracy"] > figures["accuracy_best_fixed"] - 0.02
    assert figures["queue_age_p99_s"] < 1.0
    assert json.loads((tmp_path / "out" / "simulation.json").read_text()) == figures
    assert (tmp_path / "out" / "simulation.png").stat().st_size > 10_000


def test_a_link_alone_is_an_unknown_capacity(tmp_path: Path) -> None:
    link = write(tmp_path / "link.csv", "0,40000\n")
    figures = simulate_command(None, link, 4, 1, 7, None, None, seconds=20.0)
    assert figures["windows_over_cap"] == 0
    assert figures["burst_bytes"] is None
    assert len(figures["utilisation_10s"]) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no line second,bytes_per_s"),
        ("second,bytes_per_s\n5,100\n", ":2: .* must ascend from 0"),
        ("0,100\n0,200\n", ":2: .* must ascend"),
        ("0,100\n5,-1\n", ":2: .* rates be >= 0"),
        ("0,100\n5,x\n", ":2: .* is not second,bytes_per_s"),
        ("0,100,3\n", ":1: "),
    ],
)
def test_a_file_that_is_no_trace_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        read_rates(write(tmp_path / "trace.csv", text))


def test_arguments_out_of_range_are_refused(tmp_path: Path) -> None:
    trace = write(tmp_path / "trace.csv", "0,1000\n")
    with pytest.raises(ValueError, match=r"cameras: 1001, must be in \[1, 1000\]"):
        simulate_command(trace, None, 1001, 1, 0, None, None)
    with pytest.raises(ValueError, match="neither a trace nor a link"):
        simulate_command(None, None, 1, 1, 0, None, None)
    with pytest.raises(DecodeError, match="missing"):
        simulate_command(tmp_path / "missing.csv", None, 1, 1, 0, None, None)
