"""How long to wait before a lost camera is tried again: capped, jittered, pure.

The delay doubles from attempt to attempt and falls back only after a session that lived longer than the
delay before it: a camera that gives one frame and dies is not hammered (users of a peer
counted 15,000 restarts in three days).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MIN_JITTER: Final = 0.5


@dataclass(slots=True)
class ReconnectSchedule:
    """Delays in [delay / 2, delay] with delay = `first_s`, 2 `first_s`, 4 `first_s` … at most `cap_s`.

    The jitter keeps the cameras behind one switch from coming back in the same instant.

    Attributes:
        first_s: delay before the first attempt, above 0.
        cap_s: longest delay, at least first_s.
        random: draws uniformly from [0, 1); `random.random` of a seeded generator.
    """

    first_s: float
    cap_s: float
    random: Callable[[], float]
    _delay_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.first_s <= self.cap_s:
            raise ValueError(f"first_s {self.first_s}, cap_s {self.cap_s}: want 0 < first_s <= cap_s")

    def lost(self, lived_s: float, *, longest: bool = False) -> float:
        """Return the seconds to wait after a session that gave frames for `lived_s` (0: it gave none).

        `longest` takes the cap at once: a camera that refuses a login locks it out after some tries.
        """
        if longest:
            self._delay_s = self.cap_s
            return self.cap_s
        if self._delay_s == 0.0 or lived_s > self._delay_s:
            self._delay_s = self.first_s
        else:
            self._delay_s = min(2 * self._delay_s, self.cap_s)
        return self._delay_s * (MIN_JITTER + (1 - MIN_JITTER) * self.random())
