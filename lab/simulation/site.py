"""A site's shared lease table as Redis keeps it, and what can go wrong with it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from uplink.leases import Claim, Grant, Row, renew


@dataclass(frozen=True, slots=True)
class Faults:
    """Intervals in seconds: workers that are stopped, or cut off from Redis, and when Redis itself is away.

    A Redis that comes back has lost the last `lost_s` of its writes, as an append-only file synced every
    second may.
    """

    stopped: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    cut_off: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    redis_away: Sequence[tuple[float, float]] = ()
    lost_s: float = 1.0


class LeaseTable:
    """The table of one site behind a Redis that may be away or forget its last second.

    State: the rows now, and their history for as long as a restart may go back.
    """

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._started_s = -1e6  # long before the simulation begins
        self._rows: dict[str, Row] = {}
        self._history: list[tuple[float, dict[str, Row]]] = []
        self._restarts = sorted(faults.redis_away)

    def renew(self, claim: Claim, now_s: float) -> Grant | None:
        """The grant, or None where this worker does not reach Redis now."""
        self._restart(now_s)
        away = any(from_s <= now_s < to_s for from_s, to_s in self._faults.redis_away)
        cut = any(from_s <= now_s < to_s for from_s, to_s in self._faults.cut_off.get(claim.worker, ()))
        if away or cut:
            return None
        uptime_s = now_s - self._started_s
        self._rows, grant = renew(self._rows, claim, now_s=now_s, redis_uptime_s=uptime_s)
        self._history.append((now_s, self._rows))
        return grant

    def _restart(self, now_s: float) -> None:
        while self._restarts and self._restarts[0][1] <= now_s:
            away_s, self._started_s = self._restarts.pop(0)
            kept = [rows for at_s, rows in self._history if at_s <= away_s - self._faults.lost_s]
            self._rows = kept[-1] if kept else {}
