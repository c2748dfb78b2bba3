"""Why a record went to a dead-letter topic and where it came from, as Kafka headers.

The record's value is the original value, unchanged; where even that cannot be written, it is empty and
`stub` says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from schemas.errors import DecodeError

_PREFIX = "saccade-dead-"
_REPLAYS = "saccade-replays"
_MAX_ERROR_BYTES = 1024
MAX_REPLAYS = 3
"""A letter that was sent again so often, and came back each time, is left alone."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The origin (topic, partition, offset), the reason slug and one line of error of a refused record.

    `replays` is how often the record had been sent again from a dead-letter topic before it came here.
    """

    reason: str
    error: str
    topic: str
    partition: int
    offset: int
    stub: bool = False
    replays: int = 0

    def headers(self) -> list[tuple[str, bytes]]:
        """The letter as Kafka headers; the error is cut to 1 KiB."""
        values = {
            "reason": self.reason,
            "error": self.error,
            "topic": self.topic,
            "partition": str(self.partition),
            "offset": str(self.offset),
            "stub": str(int(self.stub)),
            "replays": str(self.replays),
        }
        return [
            (_PREFIX + name, text.encode("utf-8", "replace")[:_MAX_ERROR_BYTES])
            for name, text in values.items()
        ]


def replay_headers(num_replays: int) -> list[tuple[str, bytes]]:
    """What a record carries that was sent again `num_replays` times before, and is now."""
    return [(_REPLAYS, str(num_replays + 1).encode())]


def replays_of(headers: Iterable[tuple[str, bytes]]) -> int:
    """How often the record was sent again, by `replay_headers`; 0 where that is not told or no number."""
    told = next((value for name, value in headers if name == _REPLAYS), b"0")
    return int(told) if told.isdigit() and len(told) < 4 else 0


def dead_letter_from_headers(headers: Iterable[tuple[str, bytes]]) -> DeadLetter:
    """The letter of `DeadLetter.headers`; other headers are ignored.

    Raises:
        DecodeError: a header is missing or no number.
    """
    values = {
        name.removeprefix(_PREFIX): value.decode("utf-8", "replace")
        for name, value in headers
        if name.startswith(_PREFIX)
    }
    try:
        return DeadLetter(
            reason=values["reason"],
            error=values["error"],
            topic=values["topic"],
            partition=int(values["partition"]),
            offset=int(values["offset"]),
            stub=values["stub"] != "0",
            replays=max(0, int(values.get("replays", 0))),  # absent in letters of earlier releases
        )
    except KeyError as error:
        raise DecodeError(
            "missing_field", f"dead letter: header {_PREFIX}{error.args[0]} is missing"
        ) from None
    except ValueError as error:
        raise DecodeError(
            "wrong_type", f"dead letter: partition and offset must be integers: {error}"
        ) from None
