from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.drop_queue import DropPolicy, DropQueue, Offer


@pytest.mark.parametrize(
    ("policy", "answer", "left"),
    [
        (DropPolicy.OLDEST, Offer.KEPT_DROPPING_OLDEST, [2, 3]),
        (DropPolicy.NEWEST, Offer.DROPPED, [1, 2]),
        (DropPolicy.NEVER, Offer.FULL, [1, 2]),
    ],
)
def test_a_full_queue_does_as_its_policy_says(policy: DropPolicy, answer: Offer, left: list[int]) -> None:
    queue: DropQueue[int] = DropQueue(2, policy)
    assert [queue.offer(1), queue.offer(2)] == [Offer.KEPT, Offer.KEPT]
    assert queue.offer(3) is answer
    assert [queue.take(), queue.take(), queue.take()] == [*left, None]


@pytest.mark.parametrize(
    ("policy", "answer", "left"),
    [
        (DropPolicy.OLDEST, Offer.KEPT_DROPPING_OLDEST, [4, 5]),
        (DropPolicy.NEWEST, Offer.DROPPED, [2, 3, 4]),
        (DropPolicy.NEVER, Offer.FULL, [2, 3, 4]),
    ],
)
def test_a_queue_that_is_full_by_its_bytes_does_as_its_policy_says(
    policy: DropPolicy, answer: Offer, left: list[int]
) -> None:
    queue: DropQueue[int] = DropQueue(9, policy, max_bytes=9, bytes_of=int)
    assert [queue.offer(size) for size in (2, 3, 4)] == [Offer.KEPT] * 3
    assert queue.offer(5) is answer
    assert [queue.take() for _ in range(len(left) + 1)] == [*left, None]
    assert queue.offer(9) is Offer.KEPT


@pytest.mark.parametrize("policy", DropPolicy)
def test_one_item_is_kept_whatever_its_size(policy: DropPolicy) -> None:
    queue: DropQueue[int] = DropQueue(9, policy, max_bytes=9, bytes_of=int)
    assert queue.offer(100) is Offer.KEPT
    assert queue.offer(1) is not Offer.KEPT
    queue.clear()
    assert queue.offer(100) is Offer.KEPT


@given(
    policy=st.sampled_from(DropPolicy),
    max_frames=st.integers(1, 5),
    steps=st.lists(st.booleans(), max_size=100),
)
def test_order_holds_the_bound_holds_and_every_frame_is_taken_dropped_or_waiting(
    policy: DropPolicy, max_frames: int, steps: list[bool]
) -> None:
    queue: DropQueue[int] = DropQueue(max_frames, policy)
    offered, dropped, taken = 0, 0, []
    for is_offer in steps:
        if is_offer:
            answer = queue.offer(offered)
            if answer is Offer.FULL:
                assert policy is DropPolicy.NEVER
                continue
            offered += 1
            dropped += answer in (Offer.DROPPED, Offer.KEPT_DROPPING_OLDEST)
        elif (item := queue.take()) is not None:
            taken.append(item)
        assert len(queue) <= max_frames
    assert taken == sorted(set(taken))
    assert offered == len(taken) + dropped + queue.clear()
    if policy is DropPolicy.NEVER:
        assert dropped == 0


def test_a_queue_holds_at_least_one() -> None:
    with pytest.raises(ValueError, match="max_frames 0"):
        DropQueue(0, DropPolicy.NEVER)
