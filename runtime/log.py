"""Structured logs on stderr, one event a line, without credentials.

Each module takes `get_logger(__name__)` and logs events with fields; the format is chosen once a process.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import TextIO

import structlog
from stamina.instrumentation import RetryDetails, set_on_retry_hooks
from structlog.stdlib import BoundLogger, ProcessorFormatter
from structlog.types import EventDict, Processor, WrappedLogger

from runtime.redact import redact
from runtime.settings import LogSettings


def _redact_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {name: _redacted(value) for name, value in event.items()}


def _redacted(value: object) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case dict():
            return {redact(str(key)): _redacted(each) for key, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_redacted(each) for each in value]
        case _:
            return redact(str(value))


def get_logger(name: str) -> BoundLogger:
    """A logger whose events carry the module's name."""
    logger: BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def configure_logging(settings: LogSettings, stream: TextIO | None = None) -> None:
    """All logs of the process, also those of libraries, go to `stream` (stderr) at the settings' level.

    Fields bound by `structlog.contextvars` (such as role or worker id) are on every line.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    target = stream if stream is not None else sys.stderr
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                ProcessorFormatter.remove_processors_meta,
                # Before a line is made of it: JSON stays JSON, whatever is hidden.
                structlog.processors.format_exc_info,
                _redact_event,
                _renderer(settings.format, target),
            ],
        )
    )
    handler.addFilter(RepeatFilter("aiokafka"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    set_on_retry_hooks([_tell_retry])
    # aiokafka tells every rebalance and every lost connection; its warnings are the part one acts on.
    logging.getLogger("aiokafka").setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.processors.StackInfoRenderer(),
            ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _tell_retry(details: RetryDetails) -> None:
    get_logger("runtime.retry").info(
        "trying again", why=str(details.caused_by), wait_s=round(details.wait_for, 2), tries=details.retry_num
    )


def _renderer(style: str, target: TextIO) -> Processor:
    if style == "json":
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(colors=target.isatty())


class RepeatFilter(logging.Filter):
    """Passes a library's message of one kind once in `interval_s`, and says then how many were like it.

    While a broker is away aiokafka logs some twenty lines a second from each client.
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
