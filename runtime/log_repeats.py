"""One line instead of hundreds: a library that repeats itself is heard now and then.

While a broker is away aiokafka logs some twenty lines a second from each client.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable


class RepeatFilter(logging.Filter):
    """Passes a library's message of one kind once in `interval_s`, and says then how many were like it.

    The kind is the message before its arguments are filled in. Records of other loggers always pass.

    Args:
        library: name of the library's top logger.
        interval_s: seconds between two messages of a kind.
        clock: seconds of a monotonic clock.
    """

    def __init__(
        self, library: str, interval_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._library = library
        self._interval_s = interval_s
        self._clock = clock
        # Kind -> when one was passed last, and how many were not since. A library has few kinds.
        self._passed: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """True for a record that is to be written; its message then tells how many were held back."""
        if record.name != self._library and not record.name.startswith(f"{self._library}."):
            return True
        kind = record.name, str(record.msg)
        now_s = self._clock()
        last_s, num_held = self._passed.get(kind, (-self._interval_s, 0))
        if now_s - last_s < self._interval_s:
            self._passed[kind] = last_s, num_held + 1
            return False
        self._passed[kind] = now_s, 0
        if num_held:
            record.msg = f"{record.getMessage()} (and {num_held} like it before)"
            record.args = ()
        return True
