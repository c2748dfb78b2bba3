"""Lives and deaths of a member, played with a group's committed offsets and their notes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.attempts import MAX_DEATHS, Attempts, Note
from runtime.offsets import TopicPartition

A, B = ("frames", 0), ("frames", 1)


class Group:
    """Two partitions of `length` records; a member that opens a killer is dead."""

    def __init__(self, killers: set[tuple[TopicPartition, int]], length: int = 200) -> None:
        self.killers = killers
        self.length = length
        self.committed: dict[TopicPartition, tuple[int, int]] = {}
        self.opened: list[tuple[TopicPartition, int]] = []
        self.refused: list[tuple[TopicPartition, int]] = []
        self.num_deaths = 0

    def live(self, batch: int = 16) -> bool:
        """One member's life: True when all is done, False when it died."""
        attempts = Attempts()
        attempts.assigned(self.committed, dict.fromkeys(self.committed, (0, self.length)))
        position = {each: self.committed.get(each, (0, 0))[0] for each in (A, B)}
        while any(offset < self.length for offset in position.values()):
            assert not attempts.must_wait
            room = 1 if attempts.is_careful else batch
            partition = min(
                (each for each in (A, B) if position[each] < self.length), key=position.__getitem__
            )
            begin = position[partition]
            taken = [(partition, each) for each in range(begin, min(begin + room, self.length))]
            marks, guilty = attempts.begin(taken)
            self.committed |= marks
            for each in taken:
                if each in guilty:
                    self.refused.append(each)
                elif each in self.killers:
                    self.num_deaths += 1
                    return False
                else:
                    self.opened.append(each)
            position[partition] = taken[-1][1] + 1
            self.committed[partition] = (position[partition], 0)
            attempts.committed({partition: position[partition]})
        return True


def test_a_killer_is_refused_unopened_and_everything_else_is_opened() -> None:
    group = Group({(A, 37)})
    while not group.live():
        pass
    assert group.refused == [(A, 37)]
    assert set(group.opened) == {(each, offset) for each in (A, B) for offset in range(200)} - {(A, 37)}
    assert group.num_deaths <= MAX_DEATHS + 2


@given(st.sets(st.tuples(st.sampled_from([A, B]), st.integers(0, 60)), max_size=4))
def test_however_many_kill_only_they_are_refused(killers: set[tuple[TopicPartition, int]]) -> None:
    group = Group(killers, length=61)
    for _ in range(6 * len(killers) + 1):
        if group.live():
            break
    else:
        raise AssertionError(f"{killers} kill for ever")
    assert set(group.refused) == killers
    assert len(group.refused) == len(killers)


def test_an_orderly_end_leaves_no_note_and_so_does_progress() -> None:
    attempts = Attempts()
    attempts.assigned({A: (7, 0)}, {})
    marks, _ = attempts.begin([(A, 7), (A, 8), (B, 0)])
    assert marks == {A: (7, 1), B: (0, 1)}
    assert attempts.begin([(A, 9)]) == ({}, set())
    attempts.committed({A: 9})
    assert attempts.ended([A, B]) == {B: (0, 0)}
    assert attempts.ended([A, B]) == {}


def test_a_careful_member_waits_until_its_one_record_is_done_with() -> None:
    attempts = Attempts()
    attempts.assigned({A: (7, 1)}, {A: (0, 9)})
    assert attempts.is_careful
    assert attempts.begin([(A, 7)])[0] == {A: (7, 2)}
    assert attempts.must_wait
    attempts.committed({A: 7})
    assert attempts.must_wait
    attempts.committed({A: 8})
    assert not attempts.must_wait
    assert attempts.begin([(A, 8)])[0] == {A: (8, 1)}
    attempts.committed({A: 9})
    assert not attempts.is_careful  # all that was there when it began is done


def test_the_deaths_of_deleted_records_are_not_those_of_the_next_one() -> None:
    attempts = Attempts()
    attempts.assigned({A: (100, MAX_DEATHS)}, {A: (130, 200)})
    assert attempts.is_careful, "they may have died of what they took together with it"
    assert attempts.begin([(A, 130)]) == ({A: (130, 1)}, set())
    attempts.committed({A: 194})
    assert not attempts.is_careful


@pytest.mark.parametrize("begin", [100, 130])
def test_where_nothing_is_left_of_what_was_tried_nobody_is_careful(begin: int) -> None:
    attempts = Attempts()
    attempts.assigned({A: (100, MAX_DEATHS), B: (0, 0)}, {A: (begin, begin)})
    assert not attempts.is_careful
    assert attempts.begin([(B, 0), (B, 1)]) == ({B: (0, 1)}, set())


def test_a_record_that_comes_after_all_that_was_tried_was_deleted_is_not_blamed() -> None:
    attempts = Attempts()
    attempts.assigned({A: (100, MAX_DEATHS)}, {A: (130, 130)})
    assert attempts.begin([(A, 130)]) == ({A: (130, 1)}, set())


@given(st.integers(0, 999), st.sampled_from(["", "0f" * 16]))
def test_a_note_is_read_as_it_was_written(num_tries: int, topic_id: str) -> None:
    assert Note.parse(str(Note(num_tries, topic_id))) == Note(num_tries, topic_id)


@pytest.mark.parametrize("text", ["", "tries=", "tries=-1", "tries=9999", "tries=²", "x", "="])
def test_other_peoples_metadata_is_no_note(text: str) -> None:
    assert Note.parse(text) == Note()
