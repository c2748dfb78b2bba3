"""Frames as OpenTelemetry traces: the stages of a sampled frame become spans at an OTLP collector.

The ids follow from the frame's name, so that edge and server tell of one trace although nothing about it travels:
a context in each record's header would cost 55 bytes of uplink beside an ask of 60. Every process samples the same
frames for the same reason, and what is told twice has the same id.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from runtime.connections import OtlpSettings
from runtime.traces import TracePart, TraceWriter, readable_trace
from schemas.errors import TransientError
from schemas.trace import EDGE, Trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

_TIMEOUT_S: Final = 5.0
_TRACE_ID_BYTES: Final = 16
_SPAN_ID_BYTES: Final = 8
_TOLD: Final = ("worker", "asks", "written", "codec", "num_bytes", "result", "batch_sets", "agrees")
"""Fields of the parts of a trace that become attributes."""


def span_writers(settings: OtlpSettings, role: str) -> list[TraceWriter]:
    """The way to the collector, where one is named; `role` is the service's name there."""
    return [TraceWriter(SpanOutlet(settings, role))] if settings.url else []


class SpanOutlet:
    """Sends the spans of sampled frames to a collector."""

    def __init__(self, settings: OtlpSettings, role: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource

        self._sample = settings.sample
        self._resource = Resource({"service.namespace": "saccade", "service.name": f"saccade-{role}"})
        self._exporter = OTLPSpanExporter(settings.url, timeout=_TIMEOUT_S)

    async def put_traces(self, parts: Sequence[TracePart]) -> None:
        """The sampled parts are at the collector.

        Raises:
            TransientError: it did not take them.
        """
        spans = [span for part in parts if self._is_sampled(part) for span in self._spans(part)]
        if spans and (await asyncio.to_thread(self._exporter.export, spans)).value:
            raise TransientError("the OpenTelemetry collector did not take them")

    def _is_sampled(self, part: TracePart) -> bool:
        return trace_id(part.camera, part.seq) < int(self._sample * 2 ** (8 * _TRACE_ID_BYTES))

    def _spans(self, part: TracePart) -> Iterator[ReadableSpan]:
        """The part's stages, below one span of the frame that the edge tells."""
        from opentelemetry.sdk.trace import ReadableSpan

        trace = readable_trace({part.part: part.text})
        stages = trace.stages
        if not stages:
            return
        root = _context(part, "frame")
        if part.part == EDGE:
            yield ReadableSpan(
                "frame",
                root,
                resource=self._resource,
                attributes={"saccade.camera": part.camera, "saccade.seq": part.seq, **_attributes(trace)},
                start_time=stages[0].began_ns,
                end_time=max(stage.ended_ns for stage in stages),
            )
        for stage in stages:
            yield ReadableSpan(
                stage.name,
                _context(part, stage.name),
                parent=root,
                resource=self._resource,
                attributes={} if part.part == EDGE else _attributes(trace),
                start_time=stage.began_ns,
                end_time=stage.ended_ns,
            )


def trace_id(camera: str, seq: int) -> int:
    """The frame's OpenTelemetry trace, 128 bits, evenly spread."""
    return _hash(f"{camera}\n{seq}", _TRACE_ID_BYTES)


def _context(part: TracePart, stage: str) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(
        trace_id(part.camera, part.seq),
        _hash(f"{part.camera}\n{part.seq}\n{stage}", _SPAN_ID_BYTES),
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )


def _hash(text: str, num_bytes: int) -> int:
    # No id may be 0.
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=num_bytes).digest()) or 1


def _attributes(trace: Trace) -> dict[str, str | int | float | bool]:
    """What the part that the trace holds says of its work."""
    told = trace.edge or trace.offload or trace.server
    found = {f"saccade.{name}": getattr(told, name) for name in _TOLD if hasattr(told, name)}
    if trace.edge is not None and trace.edge.leading:
        found["saccade.label"] = trace.edge.leading[0][0]
    return found
