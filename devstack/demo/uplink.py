"""The uplink as a demo sees it: what the edge says of itself, judged by the relay's counter from outside."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass, field
from typing import Any

from devstack.demo.backend import Backend
from devstack.demo.board import Board, LinkSample
from devstack.demo.plan import DemoPlan
from devstack.demo.summary import BudgetSegment
from devstack.link.judge import Sample, mean_rate, windows_over_cap
from runtime.redis_store import RedisStore
from schemas.errors import DecodeError, TransientError
from schemas.fields import Fields
from schemas.operating_point import OperatingPoint, point_from_fields
from schemas.rates import RateSchedule, parse_budget

READ_EVERY_S = 0.5


@dataclass(slots=True)
class UplinkWatch:
    """Reads the edge workers' explanations while the demo runs and judges the budget at its end.

    ``begin_s`` is when the budget's second 0 was, on the loop's clock; ``largest_burst_bytes`` is that of all
    workers together.
    """

    store: RedisStore
    backend: Backend
    plan: DemoPlan
    begin_s: float
    samples: list[LinkSample] = field(default_factory=list)
    largest_burst_bytes: float = 0.0

    @property
    def schedule(self) -> RateSchedule | None:
        """The told budget, None for no budget and for ``auto``."""
        budget = None if self.plan.budget is None else parse_budget(self.plan.budget)
        return budget if isinstance(budget, RateSchedule) else None

    async def follow(self, board: Board) -> None:
        """Show the uplink on the board twice a second until cancelled; a silent Redis is tried again."""
        while True:
            try:
                found = await self.store.read_uplinks(self.backend.settings.site)
            except TransientError:
                found = {}
            if found:
                self.note(board, [json.loads(text) for text in found.values()])
            await asyncio.sleep(READ_EVERY_S)

    def note(self, board: Board, explanations: list[dict[str, Any]]) -> None:
        """Put one sample on the board: rates summed over workers, the operating point of the first."""
        first = explanations[0]
        try:
            point = point_from_fields(Fields.of("uplink.point", first["point"]))
        except DecodeError:
            return
        bursts = [each["burst_bytes"] for each in explanations if each["burst_bytes"] is not None]
        self.largest_burst_bytes = max(self.largest_burst_bytes, math.fsum(bursts))
        at_s = asyncio.get_running_loop().time() - self.begin_s
        accuracy, accuracy_edge = board.accuracies()
        sample = LinkSample(
            at_s=at_s,
            budget_bytes_per_s=None if self.schedule is None else self.schedule.rate_at(at_s),
            measured_bytes_per_s=math.fsum(each["measured_bytes_per_s"] for each in explanations),
            point=point,
            state=first["state"],
            cause=first["cause"],
            accuracy=accuracy,
            accuracy_edge=accuracy_edge,
        )
        self.samples.append(sample)
        board.on_link(sample)

    def counter(self) -> list[Sample]:
        """Return the relay's counter by seconds since the budget's begin, empty without a relay."""
        if self.backend.relay is None:
            return []
        return [(at_s - self.begin_s, total) for at_s, total in self.backend.relay.counter.samples]

    def verdict(self) -> dict[str, Any]:
        """Return the summary's fields about the uplink."""
        counter, schedule = self.counter(), self.schedule
        burst = self.largest_burst_bytes
        judged = [sample for sample in counter if sample[0] >= 0]
        return {
            "uplink": self.backend.uplink,
            "budget": segments(self.samples, judged, schedule),
            "budget_broken": windows_over_cap(judged, schedule, burst) if schedule and judged else 0,
            "burst_bytes": round(burst),
        }


def segments(
    samples: list[LinkSample], counter: list[Sample], schedule: RateSchedule | None
) -> list[BudgetSegment]:
    """Return one segment per step of the budget, cut into stretches of at most ten seconds.

    The measured rate is the relay's where there is one, else what the edge measured; the operating point is
    the last one in the stretch.
    """
    if not samples:
        return []
    end_s = samples[-1].at_s
    steps = [start for start in (schedule.starts_s if schedule else (0.0,)) if start < end_s]
    cuts = sorted({*steps, *(start + ten for start in steps for ten in range(0, int(end_s - start) + 1, 10))})
    found = []
    for begin_s, until_s in zip(cuts, [*cuts[1:], end_s], strict=True):
        inside = [sample for sample in samples if begin_s <= sample.at_s <= until_s]
        if not inside or until_s - begin_s < READ_EVERY_S:
            continue
        told = math.fsum(sample.measured_bytes_per_s for sample in inside) / len(inside)
        point: OperatingPoint = inside[-1].point
        found.append(
            BudgetSegment(
                from_s=round(begin_s, 1),
                budget_bytes_per_s=None if schedule is None else schedule.rate_at(begin_s),
                measured_bytes_per_s=round(mean_rate(counter, begin_s, until_s) if counter else told, 1),
                tau=point.tau if math.isfinite(point.tau) else -1.0,
                delta=point.delta,
                codec=point.codec,
                quality=point.quality,
            )
        )
    return found
