import asyncio
from typing import Any

import pytest

from runtime.clock import ManualClock
from runtime.health import GROUP_JOINED, Health
from runtime.heartbeat import ClockKeeper, Heartbeat
from runtime.intake import Intake
from runtime.metrics import Metrics
from runtime.site_clock import SiteClock
from schemas.errors import TransientError

S = 1_000_000_000


class FakeSource:
    joined = True
    held = frozenset({("t", 0), ("t", 1)})
    lag_now: int | None = 7
    num_missed = 4
    trouble: str | None = None

    def generation(self) -> int:
        return 3

    def assignment(self) -> frozenset[tuple[str, int]]:
        return self.held

    drain_s = 1.0

    def listen(self, **_: Any) -> None: ...

    async def lag(self) -> int:
        if self.lag_now is None:
            raise TransientError("no broker")
        return self.lag_now


class FakeStore:
    """Tells the times it is given; None is no answer. Asking takes 0.2 s."""

    def __init__(self, clock: ManualClock, *answers: int | None) -> None:
        self.clock = clock
        self.answers = list(answers)

    async def check_durability(self) -> list[str]:
        return ["appendonly is 'no'"]

    async def time_ns(self) -> int:
        self.clock.advance(0.2)
        answer = self.answers.pop(0)
        if answer is None:
            raise TransientError("away")
        return answer


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"saccade_{name}", labels)


async def test_a_beat_tells_lag_group_and_progress_and_survives_a_silent_broker() -> None:
    clock, metrics, source = ManualClock(), Metrics("test"), FakeSource()
    health = Health(clock, 30.0, [GROUP_JOINED])
    intake = Intake(source, forget=lambda _: None)  # type: ignore[arg-type]
    beat: Any = Heartbeat(intake, source, "t", health=health, metrics=metrics.consumer)  # type: ignore[arg-type]
    health.running()
    await beat.beat()
    assert health.ready().ok
    assert value(metrics, "consumer_lag", topic="t") == 7
    assert value(metrics, "consumer_partitions", topic="t") == 2
    assert value(metrics, "rebalances_total") == 3
    assert value(metrics, "consumer_missed_total", topic="t") == 4
    clock.advance(31.0)
    await beat.beat()
    assert not health.alive().ok
    intake.num_finished, source.num_missed = 5, 10
    await beat.beat()
    assert value(metrics, "consumer_missed_total", topic="t") == 10
    assert health.alive().ok
    source.lag_now = None
    await beat.beat()
    assert value(metrics, "consumer_lag", topic="t") == 7


async def test_the_keeper_learns_the_sites_time_and_tells_whether_redis_answers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock, metrics, site_clock = ManualClock(), Metrics("test"), SiteClock()
    answers: list[bool] = []
    keeper = ClockKeeper(
        FakeStore(clock, None, 500 * S, None),  # type: ignore[arg-type]
        site_clock,
        clock,
        "north",
        metrics=metrics.consumer,
        answers=answers.append,
    )
    assert not await keeper.ask()
    assert not site_clock.known
    assert await keeper.ask()
    assert site_clock.time_ns(clock.monotonic_s()) == pytest.approx(500 * S + 0.1 * S, abs=1000)
    assert value(metrics, "redis_up", site="north") == 1
    assert abs(value(metrics, "clock_offset_seconds", site="north") or 0) > 1e9
    assert not await keeper.ask()
    assert answers == [False, True, False]
    assert capsys.readouterr().out.count("appendonly is 'no'") == 1


async def test_the_keeper_ends_with_its_worker() -> None:
    clock = ManualClock()
    until = asyncio.Event()
    until.set()
    keeper = ClockKeeper(
        FakeStore(clock),  # type: ignore[arg-type]
        SiteClock(),
        clock,
        "",
        metrics=Metrics("test").consumer,
        answers=lambda _: None,
    )
    await keeper.run(until)
