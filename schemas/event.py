"""What a person or a program acts on: a label that began, changed or ended at a camera.

Kept in Redis, sent by webhook, MQTT and Kafka. The id depends on the frames alone, so that an event that is
found again, or sent again, is known as the same one.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum

from schemas.errors import decodes
from schemas.fields import Fields
from schemas.identity import named_camera
from schemas.limits import MAX_CAMERA_CHARS, MAX_NAME_CHARS, MAX_SEQ, MAX_TIME_NS

VERSION = 1
UNKNOWN = "unknown"
"""The label of frames that neither model is sure of."""
_MAX_TEXT = 512


class Kind(StrEnum):
    """What happened."""

    BEGUN = "begun"
    CHANGED = "changed"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Event:
    """`label` at `camera` began, took the place of `before`, or ended.

    `at_ns` is the capture time of the frame at which it happened: the first with the label, or the last.
    `first_seq`, `best_seq` and `last_seq` are the frames that it rests on, `confidence` is that of the best.
    """

    id: str
    site: str
    camera: str
    kind: Kind
    label: str
    before: str
    at_ns: int
    first_seq: int
    best_seq: int
    last_seq: int
    confidence: float


def encode_event(event: Event) -> str:
    """The event as one line of JSON."""
    return json.dumps({"v": VERSION, **asdict(event)}, separators=(",", ":"), allow_nan=False)


@decodes
def decode_event(text: str) -> Event:
    """The event of `encode_event`; raises `DecodeError` naming the field."""
    fields = Fields.of_json("event", text)
    fields.version(VERSION)
    return Event(
        id=fields.text("id", _MAX_TEXT),
        site=fields.text("site", MAX_NAME_CHARS),
        camera=named_camera(fields.text("camera", MAX_CAMERA_CHARS)),
        kind=Kind(fields.choice("kind", frozenset(Kind))),
        label=fields.text("label", _MAX_TEXT),
        before=fields.text("before", _MAX_TEXT),
        at_ns=fields.integer("at_ns", 0, MAX_TIME_NS),
        first_seq=fields.integer("first_seq", 0, MAX_SEQ),
        best_seq=fields.integer("best_seq", 0, MAX_SEQ),
        last_seq=fields.integer("last_seq", 0, MAX_SEQ),
        confidence=fields.number("confidence", 0.0, 1.0),
    )
