"""Why a record went to a dead-letter topic and where it came from, as Kafka headers.

The record's value is the original value, unchanged; where even that cannot be written, it is empty and
`stub` says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from schemas.errors import DecodeError

_PREFIX = "saccade-dead-"
_MAX_ERROR_BYTES = 1024


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The origin (topic, partition, offset), the reason slug and one line of error of a refused record."""

    reason: str
    error: str
    topic: str
    partition: int
    offset: int
    stub: bool = False

    def headers(self) -> list[tuple[str, bytes]]:
        """The letter as Kafka headers; the error is cut to 1 KiB."""
        values = {
            "reason": self.reason,
            "error": self.error,
            "topic": self.topic,
            "partition": str(self.partition),
            "offset": str(self.offset),
            "stub": str(int(self.stub)),
        }
        return [
            (_PREFIX + name, text.encode("utf-8", "replace")[:_MAX_ERROR_BYTES])
            for name, text in values.items()
        ]


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
        )
    except KeyError as error:
        raise DecodeError(
            "missing_field", f"dead letter: header {_PREFIX}{error.args[0]} is missing"
        ) from None
    except ValueError as error:
        raise DecodeError(
            "wrong_type", f"dead letter: partition and offset must be integers: {error}"
        ) from None
