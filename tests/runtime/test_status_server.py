"""/metrics, /healthz and /readyz over real HTTP, and no trace of the server afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket

import pytest

from edge_workers.metrics import EdgeMetrics
from runtime import status_server
from runtime.clock import ManualClock
from runtime.health import GROUP_JOINED, Health
from runtime.metrics import Metrics
from runtime.settings import MetricsSettings
from runtime.status_server import serve_status
from schemas.errors import SettingsError

SETTINGS = MetricsSettings(port=0)


async def exchange(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    reply = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    head, _, body = reply.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body


async def get(port: int, path: str) -> tuple[int, dict[str, str], bytes]:
    return await exchange(port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


async def test_probes_follow_health_through_its_life() -> None:
    clock = ManualClock()
    health = Health(clock, 30, [GROUP_JOINED])
    async with serve_status(SETTINGS, Metrics("edge"), health) as port:
        assert port
        assert (await get(port, "/healthz"))[0] == 200
        status, headers, body = await get(port, "/readyz")
        assert (status, headers["Content-Type"]) == (503, "application/json")
        assert json.loads(body) == {"ok": False, "state": "starting", "causes": ["starting", "group_joined"]}
        health.meets(GROUP_JOINED, True)
        health.running()
        assert (await get(port, "/readyz"))[0] == 200
        health.progress(lag=2, moved=0)
        clock.advance(31)
        status, _, body = await get(port, "/healthz")
        assert status == 503
        assert "2 records wait" in json.loads(body)["causes"][1]
        health.progress(lag=1, moved=1)
        assert (await get(port, "/healthz"))[0] == 200
        health.stopping()
        assert (await get(port, "/readyz"))[0] == 503


async def test_metrics_are_prometheus_text_with_the_life_in_it() -> None:
    health = Health(ManualClock(), 30)
    health.running()
    metrics = Metrics("edge")
    metrics.group(EdgeMetrics).frames.labels("gate", "final").inc()
    async with serve_status(SETTINGS, metrics, health) as port:
        assert port
        status, headers, body = await get(port, "/metrics?x=1")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert int(headers["Content-Length"]) == len(body)
    assert b'saccade_frames_total{camera="gate",outcome="final"} 1.0' in body
    assert b'saccade_process_state{saccade_process_state="running"} 1.0' in body


@pytest.mark.parametrize(
    ("request_line", "status"),
    [("GET / HTTP/1.1", 404), ("POST /healthz HTTP/1.1", 405), ("HEAD /healthz HTTP/1.1", 200), ("GET", 404)],
)
async def test_other_requests_are_answered_as_http_says(request_line: str, status: int) -> None:
    async with serve_status(SETTINGS, Metrics("edge"), Health(ManualClock(), 30)) as port:
        assert port
        answer = await exchange(port, f"{request_line}\r\n\r\n".encode())
    assert answer[0] == status
    assert (answer[2] == b"") == request_line.startswith("HEAD")


async def test_a_request_that_never_ends_or_is_too_long_harms_nobody() -> None:
    async with serve_status(SETTINGS, Metrics("edge"), Health(ManualClock(), 30)) as port:
        assert port
        _, silent = await asyncio.open_connection("127.0.0.1", port)
        silent.write(b"GET /heal")
        reader, long = await asyncio.open_connection("127.0.0.1", port)
        long.write(b"x" * 20_000)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        assert (await get(port, "/healthz"))[0] == 200
    assert asyncio.all_tasks() == {asyncio.current_task()}
    for writer in (silent, long):
        writer.close()


async def test_who_does_not_read_the_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_server, "_REQUEST_TIMEOUT_S", 0.2)
    metrics, size = Metrics("edge"), 64 << 20
    monkeypatch.setattr(metrics, "exposition", lambda: bytes(size))
    async with serve_status(SETTINGS, metrics, Health(ManualClock(), 30)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 10)
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        await asyncio.sleep(1.0)  # its reader stands still for longer than it may
        num_bytes = 0
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20.0):
                while chunk := await reader.read(1 << 20):
                    num_bytes += len(chunk)
        assert num_bytes < size
        writer.close()


async def test_the_loops_lag_is_measured() -> None:
    metrics = Metrics("edge")
    observed = asyncio.Event()
    gauge_set = metrics.process.loop_lag_now.set

    def watched(value: float) -> None:
        gauge_set(value)
        observed.set()

    metrics.process.loop_lag_now.set = watched  # type: ignore[method-assign]
    async with serve_status(MetricsSettings(port=None), metrics, Health(ManualClock(), 30)) as port:
        assert port is None
        await asyncio.wait_for(observed.wait(), 10)
    assert b"saccade_loop_lag_seconds_count 0" not in metrics.exposition()


async def test_an_error_of_the_body_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with serve_status(SETTINGS, Metrics("edge"), Health(ManualClock(), 30)):
            raise ZeroDivisionError


async def test_an_occupied_port_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"metrics.port = {port}"):
            async with serve_status(MetricsSettings(port=port), Metrics("edge"), Health(ManualClock(), 30)):
                pass
