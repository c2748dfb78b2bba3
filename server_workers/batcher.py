"""Which waiting token sets go into the next packed forward, and when.

A plain object without await, clock, torch or I/O. The server worker's infer stage asks `due_at` when to call
`take`, and calls it only when the device is free, so that a batch is formed as late as possible.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class TokenSet(Protocol):
    """What the batcher needs to know of a waiting record."""

    @property
    def num_tokens(self) -> int:
        """Kept patches and the class token."""
        ...

    @property
    def deadline_s(self) -> float:
        """On the caller's monotonic clock, `inf` for none."""
        ...

    @property
    def site(self) -> str:
        """Whose line it waits in."""
        ...


T = TypeVar("T", bound=TokenSet)

Discipline = Callable[[TokenSet, float], float]
"""(a set, when it came) -> its place in the queue: the lowest goes first, equal ones in order of arrival."""
DeadlineRule = Callable[[TokenSet, float, float], bool]
"""(a set, now, how long the device takes for it alone) -> whether it is still worth computing. Monotonic s."""

_PATIENCE_S = 30.0
"""A set that has waited this long goes before all that came later at its site, however urgent: nothing starves."""
_MAX_PASSED = 16
"""Sets looked at beyond those that fit; more would cost time and hardly fill a batch better."""
_SHARE = 3
"""A site may have so many times the room waiting that is left: one alone three quarters, so that others find some."""
_AHEAD_S, _AHEAD_SETS = 1.0, 8
"""A site need not have more waiting than so many sets that take the device so long: decoding them is in others' way."""
_KEPT = 0.8
"""Weight of what was seen before each new batch."""
_KEPT_GAP = 0.9
"""The same of the gaps between sets."""
_LONGEST_GAPS = 10.0
"""A longer gap counts as so many times the longest wait: after it the mean soon is that of the new load."""


def most_urgent_first(item: TokenSet, arrived_s: float) -> float:
    """Earliest deadline first; what has waited `_PATIENCE_S` goes before all that came later."""
    return min(item.deadline_s, arrived_s + _PATIENCE_S)


def in_time_if_computed_now(item: TokenSet, now_s: float, alone_s: float) -> bool:
    """Not late even if computed alone and at once."""
    return now_s + alone_s <= item.deadline_s


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """`sets` to compute, in the order of their turns, within the budget; `expired` can no longer be in time."""

    sets: list[T]
    expired: list[T]

    @property
    def num_tokens(self) -> int:
        """Tokens of `sets` together."""
        return sum(item.num_tokens for item in self.sets)


@dataclass(order=True, slots=True)
class _Entry(Generic[T]):
    place: float
    order: int
    arrived_s: float
    item: T


class _Line(Generic[T]):
    """What waits of one site, the next one first, and the tokens that it was served, counted from a common start."""

    def __init__(self, served_tokens: int) -> None:
        self.served_tokens = served_tokens
        self.heap: list[_Entry[T]] = []
        self.num_tokens = 0

    def push(self, entry: _Entry[T]) -> None:
        heapq.heappush(self.heap, entry)
        self.num_tokens += entry.item.num_tokens

    def pop(self) -> _Entry[T]:
        entry = heapq.heappop(self.heap)
        self.num_tokens -= entry.item.num_tokens
        return entry


class Batcher(Generic[T]):
    """Waiting token sets and what the device has been seen to compute in a second.

    Sites take turns: the next set is of the site that was served the fewest tokens since it began to wait. So one
    that catches up costs another at most the batch on the device. Of a site's sets the most urgent goes first.

    Args:
        max_batch_tokens: tokens of a batch; at least `max_set_tokens`, those of the largest possible set.
        max_batch_s: a batch is cut to the tokens that the device computes in this time, which is what a set that
            comes meanwhile waits. One set is always let in.
        max_wait_s: how long the oldest set may wait for company while the device is free; it does not wait
            where sets come so rarely that none is to be expected within that time.
        max_waiting_sets: of all sites together; `fill` tells how much of it a site may have.
        max_waiting_tokens: the same by tokens.
        discipline: who goes first at a site.
        deadline_rule: what is still worth computing.

    Raises:
        ValueError: `max_set_tokens` exceeds `max_batch_tokens`: such a set would wait for ever.
    """

    def __init__(
        self,
        *,
        max_batch_tokens: int,
        max_batch_s: float,
        max_wait_s: float,
        max_waiting_sets: int,
        max_waiting_tokens: int,
        max_set_tokens: int,
        discipline: Discipline = most_urgent_first,
        deadline_rule: DeadlineRule = in_time_if_computed_now,
    ) -> None:
        if max_set_tokens > max_batch_tokens:
            raise ValueError(
                f"max_batch_tokens: {max_batch_tokens}, must be >= {max_set_tokens}, the largest token set"
            )
        self._max_batch_tokens = max_batch_tokens
        self._max_batch_s = max_batch_s
        self._max_wait_s = max_wait_s
        self._max_waiting_sets = max_waiting_sets
        self._max_waiting_tokens = max_waiting_tokens
        self._max_set_tokens = max_set_tokens
        self._discipline = discipline
        self._is_worth_computing = deadline_rule
        # Sites of which something waits.
        self._lines: dict[str, _Line[T]] = {}
        self._num_sets = 0
        self._num_tokens = 0
        self._order = 0
        self._oldest_arrival_s = math.inf
        self._latest_arrival_s = -math.inf
        self._longest_gap_s = _LONGEST_GAPS * max_wait_s
        self._mean_gap_s = self._longest_gap_s
        # Decayed sums over the latest batches; their quotient is the device's rate.
        self._seen_tokens = 0.0
        self._seen_s = 0.0

    def __len__(self) -> int:
        return self._num_sets

    def __repr__(self) -> str:
        return f"<Batcher sets={len(self)} tokens={self.num_tokens} rate={self.tokens_per_s:.0f}/s>"

    @property
    def num_tokens(self) -> int:
        """Tokens of all waiting sets."""
        return self._num_tokens

    @property
    def room(self) -> int:
        """How many sets of any size may come now; one at least, so that a site of which nothing waits is heard."""
        free_tokens = self._max_waiting_tokens - self._num_tokens
        return max(1, min(self._max_waiting_sets - self._num_sets, free_tokens // self._max_set_tokens))

    @property
    def full_sites(self) -> frozenset[str]:
        """The sites whose `fill` is at least 1."""
        return frozenset(site for site in self._lines if self.fill(site) >= 1)

    def fill(self, site: str) -> float:
        """How much of what a site may have waiting now it has; from 1 on no more of it should be decoded for now.

        That is what keeps the device busy, or less where others have taken the room; a few sets at least.
        """
        line = self._lines.get(site)
        if line is None:
            return 0.0
        free_sets = max(1, self._max_waiting_sets - self._num_sets)
        free_tokens = max(1, self._max_waiting_tokens - self._num_tokens)
        share = max(len(line.heap) / free_sets, line.num_tokens / free_tokens) / _SHARE
        ahead = min(len(line.heap) / _AHEAD_SETS, line.num_tokens / self.tokens_per_s / _AHEAD_S)
        return max(share, ahead)

    def oldest_arrival_s(self, site: str) -> float:
        """When the site's longest-waiting set came, `inf` when none waits."""
        line = self._lines.get(site)
        return math.inf if line is None else min(entry.arrived_s for entry in line.heap)

    @property
    def tokens_per_s(self) -> float:
        """What the device computes, `inf` before the first `learn`."""
        return self._seen_tokens / self._seen_s if self._seen_s > 0 else math.inf

    def learn(self, num_tokens: int, seconds: float) -> None:
        """The device has computed a batch of `num_tokens` in `seconds`."""
        self._seen_tokens = _KEPT * self._seen_tokens + num_tokens
        self._seen_s = _KEPT * self._seen_s + seconds

    def push(self, item: T, now_s: float) -> None:
        """The set waits from `now_s` on.

        Raises:
            ValueError: it can never fit a batch.
        """
        if item.num_tokens > self._max_batch_tokens:
            raise ValueError(f"token set of {item.num_tokens} tokens, at most {self._max_batch_tokens} fit")
        line = self._lines.get(item.site)
        if line is None:
            served = min((each.served_tokens for each in self._lines.values()), default=0)
            line = self._lines[item.site] = _Line(served)
        line.push(_Entry(self._discipline(item, now_s), self._order, now_s, item))
        self._num_sets += 1
        self._num_tokens += item.num_tokens
        self._order += 1
        self._oldest_arrival_s = min(self._oldest_arrival_s, now_s)
        self._came(now_s)

    def due_at(self) -> float:
        """The time from which `take` should be called on a free device: `inf` when nothing waits.

        That is at once when a whole batch waits, some site's line is full or no company is expected, else when
        the oldest set has waited `max_wait_s` or the most urgent one must start to be in time.
        """
        if not self._lines:
            return math.inf
        if self._num_tokens >= self._batch_tokens or self.full_sites or self._mean_gap_s > self._max_wait_s:
            return -math.inf
        heads = [line.heap[0].item for line in self._lines.values()]
        latest_s = min(head.deadline_s - 2 * head.num_tokens / self.tokens_per_s for head in heads)
        return min(self._oldest_arrival_s + self._max_wait_s, latest_s)

    def take(self, now_s: float) -> Batch[T]:
        """Remove and return the next batch and what expired before it.

        A set that is not worth computing any more is expired. The first of the others is always in the batch;
        the rest follow in their order, and one that does not fit lets smaller ones pass but is first
        next time unless others came before it.
        """
        sets: list[T] = []
        expired: list[T] = []
        passed: list[_Entry[T]] = []
        rate, room = self.tokens_per_s, self._batch_tokens
        turns = [(line.served_tokens, line.heap[0].place, site) for site, line in self._lines.items()]
        heapq.heapify(turns)
        while turns and room > 0 and len(passed) < _MAX_PASSED:
            site = turns[0][-1]
            line = self._lines[site]
            entry = line.pop()
            num_tokens = entry.item.num_tokens
            if not self._is_worth_computing(entry.item, now_s, num_tokens / rate):
                expired.append(entry.item)
            elif num_tokens <= room or not sets:
                sets.append(entry.item)
                line.served_tokens += num_tokens
                room -= num_tokens
            else:
                passed.append(entry)
            if line.heap:
                heapq.heapreplace(turns, (line.served_tokens, line.heap[0].place, site))
            else:
                heapq.heappop(turns)
        least = min((line.served_tokens for line in self._lines.values()), default=0)
        for entry in passed:
            line = self._lines[entry.item.site]
            line.served_tokens = (
                least  # its site goes first next time, whatever of it was small enough this time
            )
            line.push(entry)
        self._left()
        return Batch(sets, expired)

    def discard(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Remove and return every set for which `unwanted` is true."""
        gone = []
        for line in self._lines.values():
            entries, line.heap, line.num_tokens = line.heap, [], 0
            for entry in entries:
                if unwanted(entry.item):
                    gone.append(entry.item)
                else:
                    line.push(entry)
        self._left()
        return gone

    def _left(self) -> None:
        """Sets have left: a site without any has no line."""
        self._lines = {site: line for site, line in self._lines.items() if line.heap}
        self._num_sets = sum(len(line.heap) for line in self._lines.values())
        self._num_tokens = sum(line.num_tokens for line in self._lines.values())
        entries = (entry for line in self._lines.values() for entry in line.heap)
        self._oldest_arrival_s = min((entry.arrived_s for entry in entries), default=math.inf)

    def _came(self, now_s: float) -> None:
        gap_s, self._latest_arrival_s = now_s - self._latest_arrival_s, now_s
        self._mean_gap_s = _KEPT_GAP * self._mean_gap_s + (1 - _KEPT_GAP) * min(gap_s, self._longest_gap_s)

    @property
    def _batch_tokens(self) -> int:
        """Tokens of a batch that is formed now."""
        return max(1, int(min(self._max_batch_tokens, self.tokens_per_s * self._max_batch_s)))
