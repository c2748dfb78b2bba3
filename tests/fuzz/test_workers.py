"""The short form of `workers.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.workers import run, settings_of
from vit.weights import load_model

pytestmark = pytest.mark.slow


async def test_mutated_messages_through_both_workers_are_labels_or_dead_letters(tiny_model: Path) -> None:
    found = await run(settings_of(tiny_model), load_model(str(tiny_model)).identity.classes_hash, 3, 600)
    assert found.committed == 600
    assert found.dead_letters > 200
    assert found.labels >= 2
    assert found.longest_stop_s < 1.0
