"""What an edge worker's uplink exchanges with its site's Redis: leases, reports, spent volume, its state.

Each exchange fails alone: without Redis the lease ends and nothing is sent any more, the frames keep their
labels.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from runtime.log import get_logger
from schemas.errors import TransientError
from uplink.leases import RENEW_S, Grant, decode_row, encode_row, renew

if TYPE_CHECKING:
    from runtime.clock import Clock
    from runtime.stores import Spent
    from schemas.server_report import ServerReport
    from uplink.leases import Claim, Row
    from uplink.scheduler import UplinkScheduler
    from uplink.self_check import Disagreement
    from uplink.volume import VolumePlan

REPORT_S: Final = 1.0
ANSWER_S: Final = 1.0
"""An answer that takes longer is none; the next renewal still comes before the lease ends."""
_log = get_logger(__name__)
T = TypeVar("T")


class ShareStore(Protocol):
    """What is needed of `runtime.stores.SiteStores`."""

    async def change_uplink_table(
        self, site: str, change: Callable[[dict[str, str], float, float], tuple[Mapping[str, str], T]]
    ) -> T:
        """Change the site's table of edge workers atomically."""
        ...

    async def read_reports(self, site: str) -> list[ServerReport]:
        """The live servers' newest reports."""
        ...

    async def publish_uplink(self, site: str, worker: str, text: str) -> None:
        """Show this worker's state."""
        ...

    async def add_spent(self, site: str, period_s: float, num_bytes: int) -> Spent:
        """Count bytes against the site's volume of this period and return all that were, and the store's time."""
        ...


class SiteShare:
    """Renews the lease twice a second; each second reads reports, counts the volume, publishes the state.

    `is_shared`: the budget is divided by leases. `volume`: the budget is a volume, whose rate is set here.
    `about` is published with every state. `server_hash` is that of the server model which the frontier was
    calibrated for, empty without one; of a server that runs another one there is one warning, as its gains
    are not known.
    """

    def __init__(
        self,
        store: ShareStore,
        clock: Clock,
        *,
        site: str,
        worker: str,
        is_shared: bool,
        volume: VolumePlan | None = None,
        about: Mapping[str, Any] | None = None,
        server_hash: str = "",
    ) -> None:
        self._store = store
        self._clock = clock
        self._site = site
        self._worker = worker
        self._is_shared = is_shared
        self._volume = volume
        self._about = dict(about or {})
        self._server_hash = server_hash
        self._strange_models: set[str] = set()
        self._counted_bytes = 0.0
        self._spent_bytes = 0
        self._last_state: tuple[str, str] | None = None
        self._has_drifted = False

    def calibrated_for(self, server_hash: str) -> None:
        """The frontier in use is now one that was calibrated for this server model."""
        self._server_hash = server_hash

    async def run(self, scheduler: UplinkScheduler) -> None:
        """Exchange until cancelled."""
        async with asyncio.TaskGroup() as group:
            if self._is_shared:
                group.create_task(self._every(RENEW_S, self._renew, scheduler), name="lease")
            if self._volume is not None:
                group.create_task(self._every(REPORT_S, self._count, scheduler), name="volume")
            group.create_task(self._every(REPORT_S, self._listen, scheduler), name="reports")
            group.create_task(self._every(REPORT_S, self._publish, scheduler), name="state")

    async def _every(
        self, period_s: float, exchange: Callable[[UplinkScheduler], Any], scheduler: UplinkScheduler
    ) -> None:
        """Call `exchange` at a steady pace; one that is late is not made up for."""
        due_s = self._clock.monotonic_s()
        was_failing = False
        while True:
            try:
                async with asyncio.timeout(ANSWER_S):
                    await exchange(scheduler)
                was_failing = False
            except (TransientError, TimeoutError) as error:
                if not was_failing:
                    _log.warning("the site's Redis does not answer the uplink", error=str(error))
                was_failing = True
            now_s = self._clock.monotonic_s()
            due_s = max(due_s + period_s, now_s)
            await asyncio.sleep(due_s - now_s)

    async def _renew(self, scheduler: UplinkScheduler) -> None:
        asked_s = self._clock.monotonic_s()
        claim = scheduler.claim(self._worker, asked_s)
        grant: Grant | None = None
        try:
            grant = await self._store.change_uplink_table(self._site, lambda *table: _renewed(claim, *table))
        finally:
            scheduler.leased(grant, asked_s, self._clock.monotonic_s())

    async def _listen(self, scheduler: UplinkScheduler) -> None:
        reports = await self._store.read_reports(self._site)
        if not reports and self._site:
            # Servers report on a site from its first record on; until then, what they tell every site of this
            # Redis says that they are there. Without it a new site would wait for them, and they for it.
            reports = await self._store.read_reports("")
        self._compare(reports)
        scheduler.heard(reports, self._clock.monotonic_s())

    def _compare(self, reports: Iterable[ServerReport]) -> None:
        for report in reports:
            is_known = report.model and self._server_hash
            if is_known and report.model != self._server_hash and report.model not in self._strange_models:
                self._strange_models.add(report.model)
                _log.warning(
                    "the frontier was calibrated for another server model; run saccade calibrate",
                    server=report.server,
                    model=report.model[:16],
                    calibrated_for=self._server_hash[:16],
                )

    async def _count(self, scheduler: UplinkScheduler) -> None:
        """What was sent since the last count is the site's, and the rate of now follows from the total."""
        assert self._volume is not None
        sent = int(scheduler.admission.meter.wire_bytes - self._counted_bytes)
        spent = await self._store.add_spent(self._site, self._volume.period_s, sent)
        self._spent_bytes = spent.num_bytes
        self._counted_bytes += sent
        rate = self._volume.rate_bytes_per_s(spent.num_bytes, spent.at_s)
        scheduler.admission.allowance.set_told(rate, self._clock.monotonic_s())

    async def _publish(self, scheduler: UplinkScheduler) -> None:
        told = scheduler.explain(self._clock.monotonic_s())
        if (told.state, told.cause) != self._last_state:
            self._last_state = (told.state, told.cause)
            _log.info("uplink", state=told.state, cause=told.cause, tau=told.point.tau)
        self._tell_drift(told.disagreement)
        state = {"worker": self._worker, **self._about, **told.to_json()}
        if self._volume is not None:
            state["spent_bytes"] = self._spent_bytes
        text = json.dumps(state, separators=(",", ":"), allow_nan=False)
        await self._store.publish_uplink(self._site, self._worker, text)

    def _tell_drift(self, found: Disagreement | None) -> None:
        if found is None or found.has_drifted == self._has_drifted:
            return
        self._has_drifted = found.has_drifted
        shares = {"observed": round(found.observed, 3), "expected": round(found.expected, 3)}
        if found.has_drifted:
            _log.warning(
                "servers disagree with the edge unlike in the calibration; run saccade calibrate", **shares
            )
        else:
            _log.info("servers disagree with the edge as in the calibration again", **shares)


def _renewed(
    claim: Claim, rows: dict[str, str], now_s: float, redis_uptime_s: float
) -> tuple[dict[str, str], Grant]:
    """The table's texts after a renewal; rows that cannot be read are dropped."""
    table: dict[str, Row] = {}
    for worker, text in rows.items():
        row = decode_row(text)
        if row is not None:
            table[worker] = row
    changed, grant = renew(table, claim, now_s=now_s, redis_uptime_s=redis_uptime_s)
    return {worker: encode_row(row) for worker, row in changed.items()}, grant
