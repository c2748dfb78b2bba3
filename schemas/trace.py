"""What happened to one frame, stage by stage: kept beside its label for a while, so that it can be looked at.

Edge and server workers write their parts, `saccade trace` and the page read them. Each part is one JSON text of
at most `MAX_PART_CHARS`. All times are those of the site's Redis, ns UTC, so that parts fit together.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from schemas.bitmap import positions_of
from schemas.errors import DecodeError, decodes
from schemas.fields import Fields
from schemas.geometry import BITMAP_BYTES, NUM_PATCHES
from schemas.label import AnswerSource, Label, LabelState
from schemas.limits import MAX_NAME_CHARS, MAX_TIME_NS

EDGE: Final = "edge"
OFFLOAD: Final = "offload"
SERVER: Final = "server"
DELIVERED: Final = "delivered"
"""The result of a record that the broker has acknowledged; any other is the cause of its loss."""
LATE: Final = "LATE"
MAX_PART_CHARS: Final = 2_048
_MAX_STAGES = 16
_MAX_LEADING = 8
_MAX_CLASS_CHARS = 64
_MAX_NUMBER = 1e12

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the frame's way."""

    name: str
    began_ns: int
    ended_ns: int


Leading = tuple[tuple[str, float], ...]
"""Names of the leading classes with their probabilities, the most probable first."""


@dataclass(frozen=True, slots=True)
class EdgeTrace:
    """What the edge made of the frame.

    `score` is the gate's doubt, None for a frame that was refused; `tau` its threshold, None where it never asks;
    `asks` says that the server was to be asked. `attention` holds a byte for each patch, 255 for the most attended,
    or nothing. `written` is what Redis did with the label.
    """

    worker: str
    stages: tuple[Stage, ...]
    leading: Leading
    attention: bytes
    score: float | None
    tau: float | None
    asks: bool
    written: str


@dataclass(frozen=True, slots=True)
class OffloadTrace:
    """What became of the offload record: `result` is `DELIVERED`, or why it was dropped.

    `bitmap` are the 25 bytes of the kept patches, `num_bytes` the size of the record's value.
    """

    stages: tuple[Stage, ...]
    codec: str
    quality: int
    delta: float
    bitmap: bytes
    num_bytes: int
    result: str


@dataclass(frozen=True, slots=True)
class ServerTrace:
    """What the server made of the record, in a batch of `batch_sets` sets with `batch_tokens` tokens.

    `agrees` says that its answer leaves the edge's standing; `written` is what Redis did with the label.
    """

    worker: str
    stages: tuple[Stage, ...]
    leading: Leading
    batch_sets: int
    batch_tokens: int
    agrees: bool
    written: str


@dataclass(frozen=True, slots=True)
class Trace:
    """All that is known of one frame; a part is None until it was written, or where it was lost."""

    edge: EdgeTrace | None = None
    offload: OffloadTrace | None = None
    server: ServerTrace | None = None

    @property
    def stages(self) -> list[Stage]:
        """Every stage, in the order in which they began."""
        parts = [part for part in (self.edge, self.offload, self.server) if part is not None]
        return sorted((stage for part in parts for stage in part.stages), key=lambda stage: stage.began_ns)

    def why(self, label: Label) -> str:
        """One line that says why the frame has this label."""
        said = self._why(label)
        return (
            said
            if label.same_as < 0
            else f"{said}; it looks like frame {label.same_as}, not classified again"
        )

    def _why(self, label: Label) -> str:
        if label.state in (LabelState.DROPPED, LabelState.UNDECODABLE):
            return f"{label.state}: {label.cause}"
        if label.source is AnswerSource.SERVER:
            agrees = self.server is not None and self.server.agrees
            return f"the server {'agreed with' if agrees else 'answered in place of'} the edge"
        if label.source is AnswerSource.BELIEF:
            known = (
                f"with the server's answer about frame {label.rests_on}" if label.rests_on >= 0 else "alone"
            )
            return f"the camera's belief, {known}"
        return self._why_final() if label.state is LabelState.FINAL else self._why_provisional()

    def _why_final(self) -> str:
        if self.edge is None or self.edge.score is None:
            return "the edge's answer stands"
        score, tau = self.edge.score, self.edge.tau
        if tau is None:
            return "the edge asks no server"
        if score < tau:
            return f"the edge was sure: score {score:.3g} is below tau {tau:.3g}"
        return f"the edge was unsure (score {score:.3g}), but no time was left to ask the server"

    def _why_provisional(self) -> str:
        if self.server is not None:
            is_late = self.server.written == LATE
            return f"the server's answer came {'after the deadline' if is_late else 'and was not written'}"
        if self.offload is None:
            if self.edge is not None and not self.edge.asks:
                return "the frame waits for the server's answer about an earlier one"
            return "the record waits in the edge's uplink"
        if self.offload.result != DELIVERED:
            return f"the record was not sent: {self.offload.result}"
        return "the record was sent; no server's answer has come"

    def to_json(self, label: Label) -> dict[str, Any]:
        """The trace as a JSON object; a stage is [name, began, ended] in ms since the frame's capture."""
        edge, offload, server = self.edge, self.offload, self.server
        stages = [[each.name, *_since_ms(label, each.began_ns, each.ended_ns)] for each in self.stages]
        found: dict[str, Any] = {"why": self.why(label), "stages": stages}
        if edge is not None:
            found |= {
                "edge": edge.leading,
                "edge_worker": edge.worker,
                "score": edge.score,
                "tau": edge.tau,
                "asks": edge.asks,
            }
            found["attention"] = [round(each / 255, 3) for each in edge.attention] or None
        if offload is not None:
            found |= {
                "patches": positions_of(offload.bitmap).tolist(),
                "codec": offload.codec,
                "quality": offload.quality,
                "delta": offload.delta,
                "num_bytes": offload.num_bytes,
                "result": offload.result,
            }
        if server is not None:
            found |= {
                "server": server.leading,
                "server_worker": server.worker,
                "batch_sets": server.batch_sets,
                "batch_tokens": server.batch_tokens,
                "agrees": server.agrees,
                "written": server.written,
            }
        return found


def _since_ms(label: Label, *times_ns: int) -> list[float]:
    return [round((each - label.captured_ns) / 1e6, 3) for each in times_ns]


def encode_part(part: EdgeTrace | OffloadTrace | ServerTrace) -> str:
    """The part as JSON text of at most `MAX_PART_CHARS`; class names longer than 64 characters are cut."""
    values = {name: _plain(getattr(part, name)) for name in part.__slots__}
    if "leading" in values:
        values["leading"] = [
            [name[:_MAX_CLASS_CHARS], round(p, 6)] for name, p in values["leading"][:_MAX_LEADING]
        ]
    return json.dumps(values, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, tuple) and value and isinstance(value[0], Stage):
        return [[each.name, each.began_ns, each.ended_ns - each.began_ns] for each in value]
    return value


@decodes
def decode_trace(parts: Mapping[str, str]) -> Trace:
    """The trace of `encode_part`'s texts by `EDGE`, `OFFLOAD` and `SERVER`; others are ignored.

    Raises:
        DecodeError: a field is missing, of a wrong type or out of range.
    """
    return Trace(
        edge=_part(parts, EDGE, _edge),
        offload=_part(parts, OFFLOAD, _offload),
        server=_part(parts, SERVER, _server),
    )


def _part(parts: Mapping[str, str], name: str, decode: Callable[[Fields], T]) -> T | None:
    text = parts.get(name)
    if text is None:
        return None
    if len(text) > MAX_PART_CHARS:
        raise DecodeError("too_large", f"trace.{name}: {len(text)} characters, at most {MAX_PART_CHARS}")
    return decode(Fields.of_json(f"trace.{name}", text))


def _edge(fields: Fields) -> EdgeTrace:
    return EdgeTrace(
        worker=fields.text("worker", MAX_NAME_CHARS),
        stages=_stages(fields),
        leading=_leading(fields),
        attention=_binary(fields, "attention", (0, NUM_PATCHES)),
        score=_optional(fields, "score"),
        tau=_optional(fields, "tau"),
        asks=fields.boolean("asks"),
        written=fields.text("written", MAX_NAME_CHARS),
    )


def _offload(fields: Fields) -> OffloadTrace:
    return OffloadTrace(
        stages=_stages(fields),
        codec=fields.text("codec", MAX_NAME_CHARS),
        quality=fields.integer("quality", 0, 100),
        delta=fields.number("delta", 0.0, 1.0),
        bitmap=_binary(fields, "bitmap", (BITMAP_BYTES,)),
        num_bytes=fields.integer("num_bytes", 0, int(_MAX_NUMBER)),
        result=fields.text("result", MAX_NAME_CHARS),
    )


def _server(fields: Fields) -> ServerTrace:
    return ServerTrace(
        worker=fields.text("worker", MAX_NAME_CHARS),
        stages=_stages(fields),
        leading=_leading(fields),
        batch_sets=fields.integer("batch_sets", 0, int(_MAX_NUMBER)),
        batch_tokens=fields.integer("batch_tokens", 0, int(_MAX_NUMBER)),
        agrees=fields.boolean("agrees"),
        written=fields.text("written", MAX_NAME_CHARS),
    )


def _optional(fields: Fields, name: str) -> float | None:
    return None if fields.is_null(name) else fields.number(name, 0.0)


def _binary(fields: Fields, name: str, lengths: Sequence[int]) -> bytes:
    text = fields.text(name, MAX_PART_CHARS)
    try:
        value = b64decode(text, validate=True)
    except (Base64Error, ValueError):
        raise DecodeError("wrong_type", f"{fields.what}.{name}: no base64") from None
    if len(value) not in lengths:
        raise DecodeError("out_of_range", f"{fields.what}.{name}: {len(value)} bytes, expected {lengths[-1]}")
    return value


def _stages(fields: Fields) -> tuple[Stage, ...]:
    stages = []
    for row in fields.sequence("stages", _MAX_STAGES):
        each = _row(fields, "stages", row, ("name", "began_ns", "took_ns"))
        began_ns = each.integer("began_ns", 0, MAX_TIME_NS)
        took_ns = each.integer("took_ns", 0, MAX_TIME_NS)
        stages.append(Stage(each.text("name", MAX_NAME_CHARS), began_ns, began_ns + took_ns))
    return tuple(stages)


def _leading(fields: Fields) -> Leading:
    rows = [_row(fields, "leading", row, ("name", "p")) for row in fields.sequence("leading", _MAX_LEADING)]
    return tuple((each.text("name", _MAX_CLASS_CHARS), each.number("p", 0.0, 1.0)) for each in rows)


def _row(fields: Fields, name: str, row: object, names: Sequence[str]) -> Fields:
    if not isinstance(row, list) or len(row) != len(names):
        raise DecodeError("wrong_type", f"{fields.what}.{name}: expected rows of {len(names)}")
    return Fields(f"{fields.what}.{name}", dict(zip(names, row, strict=True)))
