"""The HTTP side of each process: /metrics for Prometheus, /healthz and /readyz for probes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from runtime.health import Health, HealthVerdict
from runtime.log import get_logger
from runtime.metrics import CONTENT_TYPE, Metrics
from runtime.settings import MetricsSettings
from schemas.errors import SettingsError

_MAX_REQUEST_BYTES = 8 * 1024
_REQUEST_TIMEOUT_S = 5.0
_LAG_INTERVAL_S = 0.1
_JSON = "application/json"
_log = get_logger(__name__)


class StatusServer:
    """Answers one request a connection from `metrics` and `health`."""

    def __init__(self, metrics: Metrics, health: Health) -> None:
        self._metrics = metrics
        self._health = health
        # Connections being answered; each removes itself.
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The connection has had its one answer, or sent nothing useful in 5 s; it is closed."""
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT_S):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._respond(request.split(b"\r\n", 1)[0].decode("latin-1")))
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            # A probe that went away or reads nothing, or no HTTP at all: there is nobody to tell. Closed in order,
            # the connection would keep its answer for as long as the other side does not read.
            writer.transport.abort()
        finally:
            del self._open[task]
            writer.close()

    async def close(self) -> None:
        """No connection is left."""
        for writer in self._open.values():
            writer.transport.abort()
        if self._open:
            await asyncio.wait(list(self._open))

    async def _respond(self, request_line: str) -> bytes:
        method, _, rest = request_line.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if method not in {"GET", "HEAD"}:
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", b"GET and HEAD only\n", method)
        match path:
            case "/metrics":
                self._metrics.process.state.state(self._health.life.value)
                # Off the loop: thousands of series take longer than a timer may be late.
                text = await asyncio.to_thread(self._metrics.exposition)
                return _response(HTTPStatus.OK, CONTENT_TYPE, text, method)
            case "/healthz":
                return _verdict(self._health.alive(), method)
            case "/readyz":
                return _verdict(self._health.ready(), method)
        paths = b"/metrics, /healthz or /readyz\n"
        return _response(HTTPStatus.NOT_FOUND, "text/plain", paths, method)


def _verdict(verdict: HealthVerdict, method: str) -> bytes:
    status = HTTPStatus.OK if verdict.ok else HTTPStatus.SERVICE_UNAVAILABLE
    body = {"ok": verdict.ok, "state": verdict.life.value, "causes": list(verdict.causes)}
    return _response(status, _JSON, json.dumps(body).encode() + b"\n", method)


def _response(status: HTTPStatus, content_type: str, body: bytes, method: str) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (b"" if method == "HEAD" else body)


@asynccontextmanager
async def serve_status(
    settings: MetricsSettings, metrics: Metrics, health: Health
) -> AsyncIterator[int | None]:
    """Inside, the three pages are served and the loop's lag is measured; yields the port, None when off.

    Raises:
        SettingsError: the address cannot be had.
    """
    # No task group: it would wrap every error of the body in another group.
    measuring = asyncio.create_task(measure_loop_lag(metrics))
    try:
        if settings.port is None:
            yield None
        else:
            async with _listening(settings.host, settings.port, StatusServer(metrics, health)) as port:
                _log.info("status is served", host=settings.host, port=port)
                yield port
    finally:
        measuring.cancel()
        await asyncio.wait([measuring])


@asynccontextmanager
async def _listening(host: str, port: int, status: StatusServer) -> AsyncIterator[int]:
    try:
        server = await asyncio.start_server(status.answer, host, port, limit=_MAX_REQUEST_BYTES)
    except OSError as error:
        raise SettingsError(
            f"metrics.port = {port}: {host} cannot be listened on: {error.strerror}"
        ) from None
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await status.close()


async def measure_loop_lag(metrics: Metrics) -> None:
    """Until cancelled: each 100 ms, how late the loop ran this task."""
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + _LAG_INTERVAL_S
        await asyncio.sleep(_LAG_INTERVAL_S)
        lag_s = max(loop.time() - due_s, 0.0)
        metrics.process.loop_lag.observe(lag_s)
        metrics.process.loop_lag_now.set(lag_s)
