from __future__ import annotations

import random

import pytest

from uplink.queue import OffloadQueue, at_most, until_deadline
from uplink.task import OffloadTask


def make_queue(*, max_items: int = 100, min_share: float = 0.0, **weights: float) -> OffloadQueue:
    return OffloadQueue(max_items=max_items, min_share=min_share, weights=weights, deadline_rule=at_most(1.0))


def push(
    queue: OffloadQueue,
    name: str,
    num_bytes: int,
    camera: str,
    entropy: float,
    deadline_s: float,
    now_s: float,
) -> str | None:
    """The name of the task that had to leave."""
    task = OffloadTask(
        camera=camera, score=entropy, deadline_s=deadline_s, num_bytes=num_bytes, value=name.encode()
    )
    left = queue.push(task, now_s)
    return None if left is None else left.value.decode()


def drain(queue: OffloadQueue, budget: float, now_s: float, num_bytes: float) -> list[str]:
    """Takes records until `num_bytes` are used."""
    taken = []
    while num_bytes > 0 and (task := queue.peek(budget, now_s)) is not None:
        queue.take(task, task.num_bytes)
        num_bytes -= task.num_bytes
        taken.append(task.value.decode())
    return taken


def test_the_most_uncertain_record_goes_first_and_the_older_among_equals() -> None:
    queue = make_queue()
    for ticket, entropy in (("low", 0.5), ("first", 2.0), ("second", 2.0), ("high", 3.0)):
        push(queue, ticket, 10, "cam", entropy, 9.0, 0.0)
    assert drain(queue, 1e3, 0.0, 100) == ["high", "first", "second", "low"]


def test_records_leave_at_their_deadline_or_after_the_longest_wait() -> None:
    queue = make_queue()
    push(queue, "waits", 10, "cam", 1.0, 9.0, 0.0)
    push(queue, "expires", 10, "cam", 1.0, 0.4, 0.0)
    assert queue.next_end_s() == 0.4
    assert [(task.value, cause) for task, cause in queue.expire(0.4)] == [(b"expires", "expired")]
    assert [(task.value, cause) for task, cause in queue.expire(1.0)] == [(b"waits", "no_tokens")]
    assert len(queue) == 0
    assert queue.peek(1e3, 1.0) is None


def test_a_full_queue_lets_the_least_uncertain_go() -> None:
    queue = make_queue(max_items=2)
    assert push(queue, "b", 10, "cam", 2.0, 9.0, 0.0) is None
    assert push(queue, "a", 10, "cam", 1.0, 9.0, 0.0) is None
    assert push(queue, "c", 10, "cam", 3.0, 9.0, 0.0) == "a"
    assert push(queue, "d", 10, "cam", 0.1, 9.0, 0.0) == "d"
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
            push(queue, camera, 1_000, camera, entropy, now_s + 9, now_s)
        for camera in drain(queue, 10_000.0, now_s, 1_000):
            used[camera] += 1
    assert used["calm"] / sum(used.values()) == pytest.approx(expected_share, rel=0.05)


def test_gone_records_do_not_pile_up_under_a_record_that_stays_on_top() -> None:
    queue = make_queue(max_items=1_000)
    rng = random.Random(1)
    for step in range(5_000):
        now_s = step / 100
        queue.expire(now_s)
        push(queue, "x", 1, "cam", rng.random() + step, now_s + 9, now_s)
        queue.peek(1e3, now_s)
    assert len(queue) <= 101
    assert len(queue._cameras["cam"].heap) <= 2 * len(queue) + 17


def test_clearing_returns_everything_that_waited() -> None:
    queue = make_queue()
    push(queue, "a", 10, "one", 1.0, 9.0, 0.0)
    push(queue, "b", 10, "two", 1.0, 9.0, 0.0)
    assert sorted(task.value for task in queue.clear()) == [b"a", b"b"]
    assert (len(queue), queue.waiting_bytes) == (0, 0)


def test_a_share_outside_0_and_1_is_refused() -> None:
    with pytest.raises(ValueError, match=r"min_share: 1.5, must be in \[0, 1\]"):
        make_queue(min_share=1.5)


def test_another_discipline_is_a_function_given_to_the_queue() -> None:
    def smallest(task: OffloadTask) -> float:
        return task.num_bytes

    queue = OffloadQueue(max_items=9, min_share=0.0, discipline=smallest)
    for name, num_bytes in (("c", 30), ("a", 10), ("b", 20)):
        push(queue, name, num_bytes, "cam", 1.0, 9.0, 0.0)
    assert drain(queue, 1e3, 0.0, 100) == ["a", "b", "c"]


def test_another_deadline_rule_is_a_function_given_to_the_queue() -> None:
    """Waiting as long as an answer can help comes with the room; half of that is defined here."""

    def half_way(task: OffloadTask) -> tuple[float, str]:
        return (task.queued_s + task.deadline_s) / 2, "half_way"

    for rule, expected in ((half_way, [(5.0, "half_way")]), (until_deadline, [(9.0, "expired")])):
        queue = OffloadQueue(max_items=9, min_share=0.0, deadline_rule=rule)
        push(queue, "a", 10, "cam", 1.0, 9.0, 1.0)
        end_s = queue.next_end_s()
        assert [(end_s, cause) for _, cause in queue.expire(end_s)] == expected
