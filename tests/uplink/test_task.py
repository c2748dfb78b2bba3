"""The register of what is with the producers."""

from __future__ import annotations

from typing import Any

from uplink.task import Delivered, Dropped, Flight, OffloadTask


def make_task(**fields: Any) -> OffloadTask:
    known: dict[str, Any] = {
        "camera": "cam",
        "score": 1.0,
        "deadline_s": 2.0,
        "num_bytes": 1_000,
        "estimate_bytes": 1_200.0,
    }
    return OffloadTask(**(known | fields))


def test_the_first_result_of_a_task_stands() -> None:
    task = make_task()
    task.end(Dropped("expired"))
    task.end(Delivered(1_000))
    assert task.result == Dropped("expired")


def test_a_producer_is_idle_until_it_has_tasks_and_again_when_they_landed() -> None:
    flight = Flight(2)
    assert flight.idle_producer == 0
    first, second = make_task(producer=0), make_task(producer=1)
    flight.add(first)
    assert flight.idle_producer is None
    flight.ready(1)
    assert (flight.idle_producer, flight.num_ready) == (1, 2)
    flight.add(second)
    assert flight.idle_producer is None
    flight.remove(first)
    assert (flight.idle_producer, len(flight)) == (0, 1)


def test_what_was_not_seen_to_leave_is_known_by_producer_and_forgotten_when_its_request_is_over() -> None:
    """The first was estimated 200 bytes too high; what the second sends does not make up for that."""
    flight = Flight(2)
    first, second = make_task(producer=0), make_task(producer=1)
    flight.add(first)
    flight.add(second)
    assert flight.unseen_bytes == 2_400
    flight.count([1_000.0, 0.0])
    assert flight.unseen_bytes == 200 + 1_200
    flight.count([1_000.0, 1_100.0])
    flight.remove(first)
    assert flight.unseen_bytes == 100
    flight.remove(second)
    assert (flight.unseen_bytes, flight.estimate_bytes, flight.value_bytes) == (0.0, 0.0, 0)


def test_tasks_past_their_deadline_are_told_once_and_their_bytes_stay_in_flight() -> None:
    flight = Flight()
    late, later, landed = make_task(deadline_s=1.0), make_task(deadline_s=3.0), make_task(deadline_s=0.5)
    for task in (late, later, landed):
        flight.add(task)
    flight.remove(landed)
    assert flight.take_overdue(2.0) == [late]
    assert flight.take_overdue(2.0) == []
    assert flight.estimate_bytes == 2_400
    assert flight.take_overdue(4.0) == [later]
