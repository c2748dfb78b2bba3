from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_workers.intake import Backlog

S = 1_000_000_000


@dataclass(frozen=True)
class Item:
    camera: str
    captured_ns: int
    live: bool = True
    num_bytes: int = 10


def backlog(
    max_bytes: int = 1000,
    max_age_s: int | None = 30,
    newest_first_after_s: int = 2,
    max_frames: int = 1000,
) -> Backlog[Item]:
    return Backlog(
        max_frames=max_frames,
        max_bytes=max_bytes,
        max_frame_age_ns=None if max_age_s is None else max_age_s * S,
        newest_first_after_ns=newest_first_after_s * S,
    )


def test_cameras_take_turns_however_many_frames_each_has() -> None:
    frames = backlog()
    for second in range(6):
        frames.push(Item("busy", second, live=False))
    frames.push(Item("calm", 0))
    frames.push(Item("rare", 0))
    assert [item.camera for item in frames.take(4, 0)] == ["busy", "calm", "rare", "busy"]
    frames.push(Item("calm", 1))
    assert [item.camera for item in frames.take(9, 0)] == ["busy", "calm", "busy", "busy", "busy"]
    assert len(frames) == 0


@pytest.mark.parametrize(
    ("live", "now_s", "expected"),
    [(True, 3, [0, 1, 2, 3]), (True, 4, [3, 2, 1, 0]), (False, 100, [0, 1, 2, 3])],
)
def test_only_a_live_camera_that_is_behind_is_served_newest_first(
    live: bool, now_s: int, expected: list[int]
) -> None:
    frames = backlog(newest_first_after_s=3)
    for second in range(4):
        frames.push(Item("c", second * S, live))
    assert [item.captured_ns // S for item in frames.take(4, now_s * S)] == expected


def test_live_frames_past_their_age_come_out_and_files_never_do() -> None:
    frames = backlog(max_age_s=30)
    for second in (0, 1, 50):
        frames.push(Item("live", second * S))
        frames.push(Item("file", second * S, live=False))
    assert frames.expire(31 * S) == [Item("live", 0)]
    assert frames.expire(60 * S) == [Item("live", 1 * S)]
    assert len(frames) == 4
    assert backlog(max_age_s=None).expire(10**18) == []


def test_a_full_backlog_sheds_the_oldest_of_the_longest_queue_and_only_what_is_behind() -> None:
    frames = backlog(max_bytes=50)
    for second in range(3):
        frames.push(Item("long", second * S))
    frames.push(Item("short", 0))
    frames.push(Item("file", 0, live=False))
    assert frames.full
    assert frames.shed(1 * S) == []
    assert frames.shed(10 * S) == [Item("long", 0)]
    assert not frames.full
    assert frames.shed(10 * S) == []


def test_it_is_full_by_count_as_well_as_by_bytes() -> None:
    frames = backlog(max_frames=2)
    frames.push(Item("c", 0))
    assert not frames.full
    frames.push(Item("c", 0))
    assert frames.full


def test_discard_removes_what_is_unwanted_and_keeps_the_order_of_the_rest() -> None:
    frames = backlog()
    for second in range(4):
        frames.push(Item("a", second))
        frames.push(Item("b", second))
    gone = frames.discard(lambda item: item.camera == "b" or item.captured_ns == 2)
    assert len(gone) == 5
    assert [item.captured_ns for item in frames.take(9, 0)] == [0, 1, 3]
    assert frames.num_bytes == 0


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("push"), st.sampled_from("abc"), st.integers(0, 60), st.booleans()),
            st.tuples(st.sampled_from(["take", "expire", "shed", "discard"]), st.integers(0, 90)),
        ),
        max_size=60,
    )
)
def test_every_frame_comes_out_once_and_the_counts_agree(steps: list[tuple[Any, ...]]) -> None:
    frames = backlog(max_bytes=100)
    pushed, out = 0, []
    waiting: list[Item] = []
    for step in steps:
        if step[0] == "push":
            item = Item(step[1], step[2] * S + pushed, step[3])
            frames.push(item)
            waiting.append(item)
            pushed += 1
            continue
        now_ns = step[1] * S
        ways: dict[str, Callable[[], Any]] = {
            "take": partial(frames.take, 3, now_ns),
            "expire": partial(frames.expire, now_ns),
            "shed": partial(frames.shed, now_ns),
            "discard": lambda: frames.discard(lambda each: each.camera == "a"),
        }
        got = ways[step[0]]()
        out += got
        waiting = [item for item in waiting if item not in got]
        assert len(frames) == len(waiting)
        assert frames.num_bytes == sum(item.num_bytes for item in waiting)
    out += frames.take(1000, 0)
    assert len(out) == len(set(out)) == pushed
