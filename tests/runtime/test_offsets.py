"""Offsets: nothing is committed before everything below it is finished, and each unread record is counted."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.offsets import OffsetGaps, OffsetTracker

A, B = ("t", 0), ("t", 1)


@given(st.sets(st.integers(0, 1_000), min_size=1, max_size=80), st.randoms(use_true_random=False))
def test_the_mark_never_passes_an_unfinished_offset(offsets: set[int], order: random.Random) -> None:
    tracker = OffsetTracker()
    taken = sorted(offsets)
    for offset in taken:
        tracker.take(offset)
    assert tracker.last_taken == taken[-1]
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


def test_what_lies_between_the_position_and_the_first_record_was_missed() -> None:
    gaps = OffsetGaps()
    gaps.begin_at({A: 10, B: 3})
    assert gaps.read([(A, 15), (A, 16), (B, 3)]) == {A: 5}
    assert gaps.num_missed == 5


def test_a_partition_without_a_known_position_counts_from_its_first_record() -> None:
    gaps = OffsetGaps()
    gaps.begin_at({})
    assert gaps.read([(A, 100)]) == {}
    assert gaps.read([(A, 103)]) == {A: 2}


def test_a_new_assignment_that_goes_back_misses_nothing() -> None:
    gaps = OffsetGaps()
    gaps.begin_at({A: 0})
    assert gaps.read([(A, 0), (A, 1)]) == {}
    gaps.restart()
    gaps.begin_at({A: 0})
    assert gaps.read([(A, 0), (A, 1)]) == {}
    assert gaps.num_missed == 0


def test_a_position_told_after_the_first_records_came_counts_no_more() -> None:
    gaps = OffsetGaps()
    gaps.restart()
    assert gaps.read([(A, 5), (A, 6)]) == {}
    gaps.begin_at({A: 5, B: 2})
    assert gaps.read([(A, 7), (B, 3)]) == {B: 1}


@given(st.lists(st.integers(0, 60), unique=True).map(sorted), st.integers(0, 60), st.integers(1, 7))
def test_what_was_read_and_what_was_missed_are_all_from_the_position_on(
    offsets: list[int], begin: int, chunk: int
) -> None:
    gaps, kept = OffsetGaps(), [begin + offset for offset in offsets]
    gaps.begin_at({A: begin})
    told = 0
    for start in range(0, len(kept), chunk):
        told += gaps.read((A, offset) for offset in kept[start : start + chunk]).get(A, 0)
    assert told == gaps.num_missed
    assert told + len(kept) == (kept[-1] + 1 - begin if kept else 0)
