"""The auditor finds what it is there to find."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from schemas.label import AnswerSource, Label, LabelState
from tests.chaos.auditor import Auditor, Seen, Told

FRAME = ("north/cam0", 7)


@pytest.fixture(autouse=True)
def _nothing_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no file of a Redis."""
    monkeypatch.setattr(Auditor, "_was_written", lambda *_: False)


def label(
    state: LabelState, source: AnswerSource = AnswerSource.EDGE, answer: int = 2, site: str = "north"
) -> Label:
    return Label(site, *FRAME, state, source, answer, "car", 0.5, 1, 2)


def auditor(*told: Label) -> Auditor:
    world: Any = SimpleNamespace(places={}, workers={}, kafka=None)
    return Auditor(
        world,
        frames={FRAME: Seen(1.0, b"", [Told(2.0, (1, place), each) for place, each in enumerate(told)])},
    )


PROVISIONAL, FINAL = label(LabelState.PROVISIONAL), label(LabelState.FINAL, AnswerSource.SERVER)


@pytest.mark.parametrize("told", [[FINAL], [PROVISIONAL], [PROVISIONAL, FINAL], [label(LabelState.DROPPED)]])
async def test_a_frame_with_one_state_is_in_order(told: list[Label]) -> None:
    assert await auditor(*told).judge() == []


@pytest.mark.parametrize(
    "told",
    [
        [],
        [FINAL, label(LabelState.FINAL, AnswerSource.SERVER, answer=3)],
        [FINAL, PROVISIONAL],
        [PROVISIONAL, label(LabelState.PROVISIONAL, answer=3)],
        [PROVISIONAL, label(LabelState.DROPPED)],
    ],
)
async def test_no_state_a_changed_one_and_two_are_found_unless_a_redis_lost_them(told: list[Label]) -> None:
    found = auditor(*told)
    assert len(await found.judge()) == 1
    found.excused.add(FRAME)
    assert await found.judge() == []


async def test_the_order_of_labels_is_that_of_their_stream_and_not_of_reading_it() -> None:
    place: Any = SimpleNamespace(name="north")
    found = auditor()
    found._label_came(place, FINAL, "1800967771641-1453")
    found._label_came(place, PROVISIONAL, "1800967771641-1452")
    assert await found.judge() == []
    found = auditor()
    found._label_came(place, FINAL, "999-0")
    found._label_came(place, PROVISIONAL, "1000-0")
    assert len(await found.judge()) == 1


async def test_a_label_of_another_site_or_of_no_frame_is_found() -> None:
    place: Any = SimpleNamespace(name="south", cameras=["south/cam0"])
    found = auditor(FINAL)
    found._label_came(place, FINAL, "1-0")
    assert "a label of north in the Redis of south" in (await found.judge())[0]
    found = auditor(FINAL)
    found.frames.clear()
    found._label_came(SimpleNamespace(name="north"), FINAL, "1-0")  # type: ignore[arg-type]
    assert "no such frame came" in (await found.judge())[0]


async def test_poison_without_a_dead_letter_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    found = auditor(FINAL)
    found.num_poison = 1
    monkeypatch.setattr("tests.chaos.auditor.DEAD_LETTERS_S", 0.0)
    assert await found.judge() == ["0 dead letters of 1 poisoned records"]
