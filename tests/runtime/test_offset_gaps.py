from hypothesis import given
from hypothesis import strategies as st

from runtime.offset_gaps import OffsetGaps

A, B = ("t", 0), ("t", 1)


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
