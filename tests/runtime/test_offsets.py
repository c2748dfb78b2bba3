"""Offsets: nothing is committed before everything below it is finished, and never for another assignment."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.offsets import OffsetLedger, OffsetTracker


@given(st.sets(st.integers(0, 1_000), min_size=1, max_size=80), st.randoms(use_true_random=False))
def test_the_mark_never_passes_an_unfinished_offset(offsets: set[int], order: random.Random) -> None:
    tracker = OffsetTracker()
    taken = sorted(offsets)
    for offset in taken:
        tracker.take(offset)
    unfinished = list(taken)
    order.shuffle(unfinished)
    while unfinished:
        tracker.finish(unfinished.pop())
        below = [offset for offset in taken if not unfinished or offset < min(unfinished)]
        assert tracker.committable() == (below[-1] + 1 if below else None)
        assert tracker.pending == len(unfinished)
    assert tracker.committable() == taken[-1] + 1


def test_offsets_ascend_and_finish_once() -> None:
    tracker = OffsetTracker()
    tracker.take(4)
    with pytest.raises(ValueError, match="4 taken after 4"):
        tracker.take(4)
    with pytest.raises(ValueError, match="5"):
        tracker.finish(5)
    tracker.finish(4)
    with pytest.raises(ValueError, match="4"):
        tracker.finish(4)


def test_only_what_moved_is_due() -> None:
    ledger = OffsetLedger()
    ledger.assign([("frames", 0), ("frames", 1)], generation=1)
    first, second = ledger.take("frames", 0, 10), ledger.take("frames", 0, 12)
    assert first
    assert second
    assert ledger.due() == {}
    assert ledger.finish(second)
    assert ledger.due() == {}
    assert ledger.finish(first)
    assert ledger.due() == {("frames", 0): 13}
    ledger.committed({("frames", 0): 13})
    assert ledger.due() == {}
    assert ledger.pending() == 0


def test_a_ticket_of_an_old_assignment_moves_nothing() -> None:
    ledger = OffsetLedger()
    ledger.assign([("frames", 0)], generation=1)
    old = ledger.take("frames", 0, 10)
    assert old
    ledger.revoke([("frames", 0)])
    assert ledger.take("frames", 0, 11) is None
    assert not ledger.finish(old)
    ledger.assign([("frames", 0)], generation=2)
    again = ledger.take("frames", 0, 10)
    assert again
    assert not ledger.finish(old)
    assert ledger.due() == {}
    assert ledger.finish(again)
    assert ledger.due() == {("frames", 0): 11}


def test_a_commit_of_a_lost_partition_is_forgotten() -> None:
    ledger = OffsetLedger()
    ledger.assign([("frames", 0)], generation=1)
    ledger.revoke([("frames", 0)])
    ledger.committed({("frames", 0): 5})
    ledger.assign([("frames", 0)], generation=2)
    ticket = ledger.take("frames", 0, 4)
    assert ticket
    ledger.finish(ticket)
    assert ledger.due() == {("frames", 0): 5}


def test_pending_counts_the_partitions_asked_for() -> None:
    ledger = OffsetLedger()
    ledger.assign([("frames", 0), ("frames", 1)], generation=1)
    for partition, offset in ((0, 1), (0, 2), (1, 7)):
        ledger.take("frames", partition, offset)
    assert ledger.pending() == 3
    assert ledger.pending([("frames", 0), ("frames", 9)]) == 2
