"""``saccade top`` as a table: a column for each worker, whole words in 80 characters."""

from __future__ import annotations

import asyncio
import json
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from saccade.uplink_view import print_uplinks, table_of

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
    "still_per_s": 9.0,
    "disagreement": {"observed": 0.21, "expected": 0.12, "has_drifted": True},
    "held_back": {"expired": 2},
    "bytes_by_camera": {"gate": 29_600},
}
NEW = ("still_per_s", "disagreement")


def test_two_workers_fit_a_narrow_terminal_without_a_word_cut_off() -> None:
    shown = StringIO()
    Console(width=80, file=shown).print(table_of({"vm:4711": STATE, "vm:4712": STATE}))
    text = shown.getvalue()
    assert "…" not in text
    for part in ("vm:4711", "vm:4712", "steady (within_budget)", "webp-75", "81.0% / –", "2 expired", "45%"):
        assert part in text
    assert "gate 59.2 kB" in text
    assert "21.0%, 12.0%, drifted" in text


def test_a_worker_of_an_older_version_and_one_with_few_answers_are_shown() -> None:
    shown, older = StringIO(), {name: value for name, value in STATE.items() if name not in NEW}
    Console(width=80, file=shown).print(table_of({"old": older, "new": STATE | {"disagreement": None}}))
    assert "drifted" not in shown.getvalue()


def test_a_worker_that_says_too_little_is_left_out() -> None:
    shown = StringIO()
    Console(width=80, file=shown).print(table_of({"bad": {"state": "steady"}, "good": STATE}))
    assert "webp-75" in shown.getvalue()
    assert "bad" not in shown.getvalue()


class OddStore:
    """Redis holds odd texts beside a state."""

    async def read_uplinks(self, site: str) -> dict[str, str]:
        return {"a": "[]", "b": "{", "c": '{"frames_per_s": NaN}', "good": json.dumps(STATE)}

    async def read_models(self) -> list[Any]:
        return []


@pytest.mark.parametrize("as_json", [True, False])
async def test_a_state_that_cannot_be_read_ends_nothing(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    store: Any = OddStore()
    await print_uplinks(store, "", stop=asyncio.Event(), refresh=False, as_json=as_json)
    shown = capsys.readouterr().out
    assert "steady" in shown
    assert "good" in shown
