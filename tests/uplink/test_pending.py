from __future__ import annotations

import random

import pytest

from uplink.pending import PendingQueue


def make_queue(*, max_items: int = 100, min_share: float = 0.0, **weights: float) -> PendingQueue[str]:
    return PendingQueue(max_items=max_items, max_wait_s=1.0, min_share=min_share, weights=weights)


def drain(queue: PendingQueue[str], budget: float, now_s: float, num_bytes: float) -> list[str]:
    """Takes records until `num_bytes` are used."""
    taken = []
    while num_bytes > 0 and (item := queue.peek(budget, now_s)) is not None:
        queue.take(item, item.num_bytes)
        num_bytes -= item.num_bytes
        taken.append(item.ticket)
    return taken


def test_the_most_uncertain_record_goes_first_and_the_older_among_equals() -> None:
    queue = make_queue()
    for ticket, entropy in (("low", 0.5), ("first", 2.0), ("second", 2.0), ("high", 3.0)):
        queue.push(ticket, 10, "cam", entropy, 9.0, 0.0)
    assert drain(queue, 1e3, 0.0, 100) == ["high", "first", "second", "low"]


def test_records_leave_at_their_deadline_or_after_the_longest_wait() -> None:
    queue = make_queue()
    queue.push("waits", 10, "cam", 1.0, 9.0, 0.0)
    queue.push("expires", 10, "cam", 1.0, 0.4, 0.0)
    assert queue.next_end_s() == 0.4
    assert [(item.ticket, item.late_cause) for item in queue.expire(0.4)] == [("expires", "expired")]
    assert [(item.ticket, item.late_cause) for item in queue.expire(1.0)] == [("waits", "no_tokens")]
    assert len(queue) == 0
    assert queue.peek(1e3, 1.0) is None


def test_a_full_queue_lets_the_least_uncertain_go() -> None:
    queue = make_queue(max_items=2)
    assert queue.push("b", 10, "cam", 2.0, 9.0, 0.0) == []
    assert queue.push("a", 10, "cam", 1.0, 9.0, 0.0) == []
    assert [item.ticket for item in queue.push("c", 10, "cam", 3.0, 9.0, 0.0)] == ["a"]
    assert [item.ticket for item in queue.push("d", 10, "cam", 0.1, 9.0, 0.0)] == ["d"]
    assert queue.waiting_bytes == 20


@pytest.mark.parametrize(("weight", "expected_share"), [(1.0, 0.125), (3.0, 0.1875)])
def test_a_busy_camera_cannot_starve_a_calm_one(weight: float, expected_share: float) -> None:
    """With a quarter guaranteed, the calmer of two cameras gets its weighted part of that quarter."""
    queue = make_queue(min_share=0.25, calm=weight)
    used = {"busy": 0, "calm": 0}
    for step in range(1_000):
        now_s = step / 10
        queue.expire(now_s)
        for camera, entropy in (("busy", 3.0), ("busy", 3.0), ("calm", 0.1)):
            queue.push(camera, 1_000, camera, entropy, now_s + 9, now_s)
        for camera in drain(queue, 10_000.0, now_s, 1_000):
            used[camera] += 1
    assert used["calm"] / sum(used.values()) == pytest.approx(expected_share, rel=0.05)


def test_gone_records_do_not_pile_up_under_a_record_that_stays_on_top() -> None:
    queue = make_queue(max_items=1_000)
    rng = random.Random(1)
    for step in range(5_000):
        now_s = step / 100
        queue.expire(now_s)
        queue.push("x", 1, "cam", rng.random() + step, now_s + 9, now_s)
        queue.peek(1e3, now_s)
    assert len(queue) <= 101
    assert len(queue._cameras["cam"].heap) <= 2 * len(queue) + 17


def test_clearing_returns_everything_that_waited() -> None:
    queue = make_queue()
    queue.push("a", 10, "one", 1.0, 9.0, 0.0)
    queue.push("b", 10, "two", 1.0, 9.0, 0.0)
    assert sorted(item.ticket for item in queue.clear()) == ["a", "b"]
    assert (len(queue), queue.waiting_bytes) == (0, 0)


def test_a_share_outside_0_and_1_is_refused() -> None:
    with pytest.raises(ValueError, match=r"min_share: 1.5, must be in \[0, 1\]"):
        make_queue(min_share=1.5)
