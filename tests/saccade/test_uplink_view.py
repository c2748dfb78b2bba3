"""``saccade top`` as a table: a column for each worker, whole words in 80 characters."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console

from saccade.uplink_view import table_of

STATE: dict[str, Any] = {
    "state": "steady",
    "cause": "within_budget",
    "budget_bytes_per_s": 50_000.0,
    "usable_bytes_per_s": 49_000.0,
    "measured_bytes_per_s": 10_000.0,
    "wanted_bytes_per_s": None,
    "point": {"tau": "inf", "delta": 0.97, "codec": "webp", "quality": 75},
    "offload_share": 0.7,
    "frames_per_s": 20.0,
    "expected_accuracy": 0.81,
    "observed_accuracy": None,
    "held_back": {"expired": 2},
    "bytes_by_camera": {"gate": 29_600},
}


def test_two_workers_fit_a_narrow_terminal_without_a_word_cut_off() -> None:
    shown = StringIO()
    Console(width=80, file=shown).print(table_of({"vm:4711": STATE, "vm:4712": STATE}))
    text = shown.getvalue()
    assert "…" not in text
    for part in ("vm:4711", "vm:4712", "steady (within_budget)", "webp-75", "81.0% / –", "2 expired"):
        assert part in text
    assert "gate 59.2 kB" in text
