"""One uplink, several edge workers: shares by demand, each valid only under an unexpired lease.

`renew` is the decision taken on the table that all workers of a site see (the caller makes it atomic);
`ShareHolder` is what one worker may believe between two renewals. Pure. Shares are fractions of the site's
budget, so a step of the budget needs no new lease, and the bursts of all workers add up to the site's
burst.

A share whose burst is below one record would send nothing for ever. Where even shares are that small, the workers
that want to send take turns instead: as many at a time as have room for their records, the longest waiting next.

Why the sum of the shares in use never exceeds 1: a grant is what the other rows leave, a row counts until
one second after its lease, and a worker's own clock ends its lease earlier than that, as it starts before
the request left. A Redis that was restarted may have forgotten rows; until every lease of before has ended
it only confirms what its workers still hold. A Redis whose clock jumped ahead shows every lease as over; a worker
that still holds its own by its own clock knows better, and the other rows stay. Only one that holds nothing, if it
is the first to ask after such a jump, gets what others still spend until their next renewal half a second later.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Final

LEASE_S: Final = 3.0
GRACE_S: Final = 1.0
RENEW_S: Final = 0.5
MIN_DEMAND: Final = 0.01
TURN_S: Final = 4.0
"""A turn passes on at the next renewals of both workers, so about half a second of each goes unused."""
_EPSILON: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Row:
    """One worker's line: `demand`, `share` and `need` are fractions of the budget, times are Redis's.

    A share below `need` holds no record. `since_s`: since when it has had a share of that size, or none.
    """

    demand: float
    share: float
    until_s: float
    need: float = 0.0
    since_s: float = 0.0

    @property
    def has_turn(self) -> bool:
        """Its share holds a record."""
        return self.share > 0 and self.share >= self.need - _EPSILON


_ROW_FIELDS: Final = frozenset(field.name for field in fields(Row))


@dataclass(frozen=True, slots=True)
class Claim:
    """What a worker asks with: its demand, and the share that it still holds by its own clock (0 if none).

    `need` is the least share whose burst holds a record of its.
    """

    worker: str
    demand: float
    held: float
    need: float = 0.0


@dataclass(frozen=True, slots=True)
class Grant:
    """A share in [0, 1] for `LEASE_S` from before the request was sent; `num_workers` share the uplink."""

    share: float
    num_workers: int


def encode_row(row: Row) -> str:
    """The row as a line of JSON."""
    return json.dumps(asdict(row), separators=(",", ":"))


def decode_row(text: str) -> Row | None:
    """The row of `encode_row`; None for anything else."""
    try:
        told = json.loads(text)
        row = Row(**{name: float(value) for name, value in told.items() if name in _ROW_FIELDS})
    except (ValueError, AttributeError, TypeError, RecursionError, OverflowError):
        return None
    return row if all(math.isfinite(value) and value >= 0 for value in asdict(row).values()) else None


def fair_shares(demands: Mapping[str, float]) -> dict[str, float]:
    """The max-min fair division of 1: nobody can gain but from one with no more than he.

    What is left when every demand is met is divided evenly on top. The shares sum to 1.
    """
    shares: dict[str, float] = {}
    left = 1.0
    by_demand = sorted(demands.items(), key=lambda item: item[1])
    for idx, (worker, demand) in enumerate(by_demand):
        shares[worker] = min(demand, left / (len(by_demand) - idx))
        left -= shares[worker]
    bonus = max(left, 0.0) / max(len(shares), 1)
    return {worker: share + bonus for worker, share in shares.items()}


def divided(rows: Mapping[str, Row], now_s: float) -> dict[str, float]:
    """The fair shares, or where one of them would hold no record, those of the workers whose turn it is."""
    fair = fair_shares({name: row.demand for name, row in rows.items()})
    wanting = {name: row for name, row in rows.items() if row.demand > MIN_DEMAND}
    if all(fair[name] >= row.need for name, row in wanting.items()):
        return fair
    chosen: dict[str, float] = {}
    left = 1.0
    for name, row in sorted(wanting.items(), key=lambda item: _place(item[1], now_s)):
        need = min(row.need, 1.0)
        if need <= left + _EPSILON:
            chosen[name] = need
            left -= need
    return {name: chosen[name] + max(left, 0.0) / len(chosen) if name in chosen else 0.0 for name in rows}


def _place(row: Row, now_s: float) -> tuple[int, float]:
    """In the line for turns: first who has one that is not over, then who waits longest, last who had one."""
    if row.has_turn:
        return (0, row.since_s) if now_s - row.since_s < TURN_S else (2, row.since_s)
    return (1, row.since_s)


def renew(
    table: Mapping[str, Row], claim: Claim, *, now_s: float, redis_uptime_s: float
) -> tuple[dict[str, Row], Grant]:
    """The table after one worker's renewal, and what it was granted.

    Args:
        table: the rows of all workers, its own included.
        claim: what the worker asks.
        now_s: Redis time.
        redis_uptime_s: how long this Redis has run; while shorter than any lease of before, nothing grows.
    """
    ahead_s = _jump_s(table, claim, now_s)
    rows = {
        name: _of_now(replace(row, until_s=row.until_s + ahead_s), now_s)
        for name, row in table.items()
        if row.until_s + ahead_s + GRACE_S > now_s
    }
    mine = rows.get(claim.worker, Row(0.0, 0.0, 0.0, since_s=now_s))
    rows[claim.worker] = replace(mine, demand=max(claim.demand, MIN_DEMAND), need=claim.need)
    others = sum(row.share for name, row in rows.items() if name != claim.worker)
    share = min(divided(rows, now_s)[claim.worker], max(1.0 - others, 0.0))
    if redis_uptime_s < LEASE_S + GRACE_S:
        share = min(share, claim.held)
    renewed = replace(rows[claim.worker], share=share, until_s=now_s + LEASE_S)
    rows[claim.worker] = renewed if renewed.has_turn == mine.has_turn else replace(renewed, since_s=now_s)
    return rows, Grant(share, len(rows))


def _of_now(row: Row, now_s: float) -> Row:
    """The row by a clock that may have been put back since: no turn begins later than now, no lease lasts longer."""
    return replace(row, since_s=min(row.since_s, now_s), until_s=min(row.until_s, now_s + LEASE_S))


def _jump_s(table: Mapping[str, Row], claim: Claim, now_s: float) -> float:
    """How far Redis's clock is ahead of leases that cannot be over, as the worker's own is not; 0 as a rule."""
    mine = table.get(claim.worker)
    if mine is None or claim.held <= 0 or now_s < mine.until_s:
        return 0.0
    return now_s - mine.until_s


class ShareHolder:
    """The share that one worker may spend, by its own monotonic clock.

    State: the share, when it ends, and how many workers shared the uplink at the last renewal.
    """

    def __init__(self) -> None:
        self._share = 0.0
        self._until_s = -math.inf
        self._num_workers = 1

    def __repr__(self) -> str:
        return f"<ShareHolder {self._share:.3f} until {self._until_s:.1f} s of {self._num_workers} workers>"

    @property
    def ends_s(self) -> float:
        """When the lease ends, in monotonic time."""
        return self._until_s

    @property
    def num_workers(self) -> int:
        """The workers that shared the uplink at the last renewal."""
        return self._num_workers

    def granted(self, grant: Grant, asked_s: float) -> None:
        """A renewal that was sent at `asked_s` was answered; the lease runs from then."""
        self._share = grant.share
        self._num_workers = max(grant.num_workers, 1)
        self._until_s = asked_s + LEASE_S

    def failed(self) -> None:
        """Redis did not answer: the share is an even one at most, and still ends with its lease."""
        self._share = min(self._share, 1.0 / self._num_workers)

    def share(self, now_s: float) -> float:
        """The fraction of the budget that may be spent now; 0 once the lease has ended."""
        return self._share if now_s < self._until_s - _EPSILON else 0.0
