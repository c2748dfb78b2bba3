"""Spans reach a collector by OTLP: one trace a frame, the same frames and ids from every process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pydantic import ValidationError

from runtime.connections import OtlpSettings
from runtime.otlp import SpanOutlet, span_writers, trace_id
from runtime.traces import TracePart
from schemas.errors import TransientError
from schemas.trace import EDGE, SERVER, EdgeTrace, ServerTrace, Stage, encode_part

S = 1_000_000_000
LEADING = (("stop", 0.9), ("yield", 0.1))


class Collector(ThreadingHTTPServer):
    """Keeps what it is sent; answers `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.spans: list[tuple[str, Span]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/traces"


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        request = ExportTraceServiceRequest()
        request.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.status == 200:
            for resource in request.resource_spans:
                names = {each.key: each.value.string_value for each in resource.resource.attributes}
                spans = (span for scope in resource.scope_spans for span in scope.spans)
                self.server.spans += [(names["service.name"], span) for span in spans]
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def edge_part(seq: int) -> TracePart:
    stages = (Stage("read", 10 * S, 10 * S), Stage("infer", 10 * S, 12 * S))
    part = EdgeTrace("edge:1", stages, LEADING, b"", 1.0, 0.5, asks=True, written="WRITTEN")
    return TracePart("gate", seq, EDGE, encode_part(part))


def server_part(seq: int) -> TracePart:
    stages = (Stage("server infer", 13 * S, 14 * S),)
    part = ServerTrace("server:1", stages, LEADING, 4, 40, agrees=True, written="WRITTEN")
    return TracePart("gate", seq, SERVER, encode_part(part))


async def test_edge_and_server_tell_one_trace_below_one_frame_though_nothing_travels_between_them(
    collector: Collector,
) -> None:
    settings = OtlpSettings(url=collector.url, sample=1.0)
    await SpanOutlet(settings, "server").put_traces([server_part(7)])
    await SpanOutlet(settings, "edge").put_traces([edge_part(7)])
    services = {span.name: service for service, span in collector.spans}
    spans = {span.name: span for _, span in collector.spans}
    assert services == {
        "server infer": "saccade-server",
        "frame": "saccade-edge",
        "read": "saccade-edge",
        "infer": "saccade-edge",
    }
    frame = spans.pop("frame")
    assert (frame.start_time_unix_nano, frame.end_time_unix_nano, frame.parent_span_id) == (
        10 * S,
        12 * S,
        b"",
    )
    assert {each.trace_id for each in spans.values()} == {frame.trace_id}
    assert {each.parent_span_id for each in spans.values()} == {frame.span_id}
    assert len({each.span_id for each in spans.values()}) == 3
    told = {each.key: each.value for each in frame.attributes}
    assert (told["saccade.camera"].string_value, told["saccade.seq"].int_value) == ("gate", 7)
    assert told["saccade.label"].string_value == "stop"


async def test_every_process_samples_the_same_share_of_frames(collector: Collector) -> None:
    settings = OtlpSettings(url=collector.url, sample=0.1)
    await SpanOutlet(settings, "edge").put_traces([edge_part(seq) for seq in range(1_000)])
    edge = {span.trace_id for _, span in collector.spans}
    collector.spans.clear()
    await SpanOutlet(settings, "server").put_traces([server_part(seq) for seq in range(1_000)])
    assert {span.trace_id for _, span in collector.spans} == edge
    assert 60 <= len(edge) <= 140


async def test_a_collector_that_refuses_is_a_passing_fault(collector: Collector) -> None:
    collector.status = 400
    with pytest.raises(TransientError, match="collector"):
        await SpanOutlet(OtlpSettings(url=collector.url, sample=1.0), "edge").put_traces([edge_part(1)])


def test_ids_are_spread_and_a_wrong_url_or_share_is_named() -> None:
    assert len({trace_id("a", seq) for seq in range(1_000)} | {trace_id("b", 1)}) == 1_001
    assert span_writers(OtlpSettings(), "edge") == []
    with pytest.raises(ValidationError, match="must begin with http"):
        OtlpSettings(url="collector:4318")
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        OtlpSettings(sample=2)
