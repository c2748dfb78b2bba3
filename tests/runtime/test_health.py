"""Health is progress: waiting records that nobody finishes are a fault; readiness is a list of conditions."""

from __future__ import annotations

import pytest

from runtime.clock import ManualClock
from runtime.health import GROUP_JOINED, MODEL_WARM, OFFLOAD_ACCEPTS, Health, Life


def made(clock: ManualClock) -> Health:
    return Health(clock, stuck_after_s=30, conditions=[GROUP_JOINED, MODEL_WARM])


def test_waiting_records_without_movement_are_stuck_and_movement_heals() -> None:
    clock = ManualClock()
    health = made(clock)
    for _ in range(3):
        health.progress(lag=5, moved=0)
        assert health.alive().ok
        clock.advance(10)
    health.progress(lag=5, moved=0)
    clock.advance(1)
    verdict = health.alive()
    assert not verdict.ok
    assert verdict.causes == ("5 records wait and none was finished for 31 s",)
    health.progress(lag=4, moved=1)
    assert health.alive().ok


def test_an_idle_role_is_healthy_and_its_time_starts_with_the_first_record() -> None:
    clock = ManualClock()
    health = made(clock)
    for _ in range(10):
        health.progress(lag=0, moved=0)
        clock.advance(20)
    health.progress(lag=3, moved=0)
    clock.advance(29)
    assert health.alive().ok
    health.progress(lag=3, moved=0)
    clock.advance(2)
    assert not health.alive().ok


def test_a_role_that_stops_reporting_is_stuck() -> None:
    clock = ManualClock()
    health = made(clock)
    clock.advance(1_000)
    assert health.alive().ok, "a long start is no fault"
    health.progress(lag=0, moved=0)
    clock.advance(31)
    assert health.alive().causes == ("no report for 31 s",)


def test_ready_while_running_with_every_condition() -> None:
    health = made(ManualClock())
    assert health.ready().causes == ("starting", GROUP_JOINED, MODEL_WARM)
    health.meets(GROUP_JOINED, True)
    health.running()
    assert health.ready().causes == (MODEL_WARM,)
    health.meets(MODEL_WARM, True)
    assert health.ready().ok
    health.meets(GROUP_JOINED, False)
    assert health.ready().causes == (GROUP_JOINED,)
    health.meets(GROUP_JOINED, True)
    health.stopping()
    assert (health.ready().causes, health.life) == (("stopping",), Life.STOPPING)
    assert health.alive().ok


def test_what_is_only_wished_for_is_told_and_stands_against_nothing() -> None:
    health = Health(ManualClock(), 30, [GROUP_JOINED], wished=[OFFLOAD_ACCEPTS])
    health.meets(GROUP_JOINED, True)
    health.running()
    assert (health.ready().ok, health.ready().causes) == (True, ())
    health.meets(OFFLOAD_ACCEPTS, False, "no broker answers")
    assert (health.ready().ok, health.ready().causes) == (True, ("offload_accepts: no broker answers",))
    health.meets(GROUP_JOINED, False)
    assert not health.ready().ok


def test_a_misspelt_condition_is_a_bug() -> None:
    with pytest.raises(KeyError, match="group_joint"):
        made(ManualClock()).meets("group_joint", True)
