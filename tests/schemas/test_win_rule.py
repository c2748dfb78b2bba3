"""Which label wins, case by case; that the stores follow it is shown in `tests/runtime/test_store_contract.py`."""

from __future__ import annotations

import pytest

from schemas.label import AnswerSource, Label, LabelState
from schemas.win_rule import PutResult, judge

NOW_NS = 10_000
GRACE_NS = 100
LAST_NS = NOW_NS - GRACE_NS
"""The earliest deadline that still counts."""


def label(state: str, source: str, deadline_ns: int = 0, at_ns: int = 2) -> Label:
    return Label("", "c", 1, LabelState(state), AnswerSource(source), 0, "x", 1.0, 0, at_ns, deadline_ns)


FINAL_EDGE = label("final", "edge", at_ns=1)
PROVISIONAL = label("provisional", "edge", LAST_NS, at_ns=1)
LAST_WORD = label("provisional", "edge", LAST_NS - 1, at_ns=1)
DROPPED = label("dropped", "edge", at_ns=1)


@pytest.mark.parametrize(
    ("old", "new", "result"),
    [
        (None, label("provisional", "edge", LAST_NS), PutResult.WRITTEN),
        (None, label("provisional", "edge", LAST_NS - 1), PutResult.WRITTEN),
        (None, label("dropped", "edge"), PutResult.WRITTEN),
        (None, label("final", "server", LAST_NS), PutResult.WRITTEN),
        (None, label("final", "server", LAST_NS - 1), PutResult.LATE),
        (None, label("final", "server", 0), PutResult.WRITTEN),
        (PROVISIONAL, label("final", "server", LAST_NS), PutResult.WRITTEN),
        (PROVISIONAL, label("final", "server", LAST_NS - 1), PutResult.LATE),
        (PROVISIONAL, label("final", "edge"), PutResult.STALE),
        (PROVISIONAL, label("final", "belief", LAST_NS), PutResult.WRITTEN),
        (PROVISIONAL, label("final", "belief"), PutResult.STALE),
        (None, label("final", "belief"), PutResult.WRITTEN),
        (PROVISIONAL, label("dropped", "edge"), PutResult.STALE),
        (PROVISIONAL, label("undecodable", "server"), PutResult.STALE),
        (PROVISIONAL, label("provisional", "edge", LAST_NS), PutResult.STALE),
        (PROVISIONAL, PROVISIONAL, PutResult.UNCHANGED),
        (LAST_WORD, label("final", "server", LAST_NS), PutResult.LATE),
        (LAST_WORD, label("provisional", "edge", LAST_NS), PutResult.ALREADY_FINAL),
        (LAST_WORD, label("final", "edge"), PutResult.STALE),
        (FINAL_EDGE, label("final", "server", LAST_NS), PutResult.ALREADY_FINAL),
        (FINAL_EDGE, label("provisional", "edge"), PutResult.ALREADY_FINAL),
        (FINAL_EDGE, FINAL_EDGE, PutResult.UNCHANGED),
        (DROPPED, label("final", "server", LAST_NS), PutResult.ALREADY_FINAL),
    ],
)
def test_each_case_of_the_win_rule(old: Label | None, new: Label, result: PutResult) -> None:
    assert judge(old, new, now_ns=NOW_NS, grace_ns=GRACE_NS) is result
