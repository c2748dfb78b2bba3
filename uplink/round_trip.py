"""How long the path takes without a queue of our own, told by the requests themselves, as BBR does.

The kernel's smallest round trip is not enough: a modem or proxy that answers for the far end hides most of the path,
and for minutes after a path has become longer the kernel still says how short it was. Pure.
"""

from __future__ import annotations

import math
from typing import Final

MEMORY_S: Final = 10.0
SAME: Final = 1.05
LONGEST_S: Final = 3.0
"""A request that took longer tells of an outage."""
PAUSE_S: Final = 6.0
"""Probes that a falling rate asks for are so far apart."""


class RoundTrip:
    """The quickest request of late tells the round trip; the time that its own bytes took is taken off.

    Our own queue makes requests slower too. So when none was as quick for ten seconds, a probe begins: less may be
    in flight, the queue drains, and the first request that is handed over then is the new measure. What comes back
    until a round trip later says nothing of the rate that the path carries.

    A path that became longer looks like one that carries less: the flight is full, and its bytes take longer. Only a
    probe tells one from the other, so a rate that fell asks for one at once (`doubt`).

    State: the quickest request's delay and bytes, and when one was as quick last; since when a probe goes on, and when
    the last one began; until when its effect is seen.
    """

    def __init__(self) -> None:
        self._delay_s = math.inf
        self._num_bytes = 0.0
        self._equalled_s = 0.0
        self._probe_s: float | None = None
        self._probed_s = -math.inf
        self._settled_s = -math.inf

    @property
    def is_probing(self) -> bool:
        """Less than the path holds may be in flight."""
        return self._probe_s is not None

    def is_settled(self, now_s: float) -> bool:
        """What is acknowledged now was sent with a full flight."""
        return not self.is_probing and now_s >= self._settled_s

    def seconds(self, bytes_per_s: float) -> float:
        """The round trip on a path that carries so much; 0 while nothing is known."""
        if math.isinf(self._delay_s):
            return 0.0
        return max(self._delay_s - self._num_bytes / max(bytes_per_s, 1.0), 0.0)

    def took(self, handed_over_s: float, num_bytes: float, now_s: float) -> None:
        """A request of so many bytes that was handed over then has been acknowledged."""
        delay_s = now_s - handed_over_s
        if delay_s > LONGEST_S:
            return
        if self._probe_s is not None and handed_over_s >= self._probe_s:
            self._probe_s = None
            self._settled_s = now_s + delay_s
            self._delay_s = math.inf
        if delay_s <= SAME * self._delay_s:
            self._equalled_s = now_s
        if delay_s < self._delay_s:
            self._delay_s, self._num_bytes = delay_s, num_bytes
        if now_s >= self._equalled_s + MEMORY_S:
            self._probe(now_s)

    def doubt(self, now_s: float) -> None:
        """The path seems to carry much less than a moment ago, or has become longer."""
        if now_s >= self._probed_s + PAUSE_S:
            self._probe(now_s)

    def _probe(self, now_s: float) -> None:
        if self._probe_s is None:
            self._probe_s = self._probed_s = now_s
