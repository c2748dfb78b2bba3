"""Questions to a worker's status server: is it ready, and what do its metrics say."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 5.0


async def is_ready(port: int, path: str = "/readyz") -> bool:
    """Return whether the process at loopback ``port`` says so; False where nothing listens yet."""
    status, _ = await get(port, path)
    return status == HTTPStatus.OK


async def counters(port: int, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """Return the samples of one metric by their sorted labels, empty where nothing listens."""
    _, body = await get(port, "/metrics")
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
        if sample.name == name
    }


async def get(port: int, path: str) -> tuple[int, str]:
    """Return status and body of a GET to loopback ``port``; (0, "") where nothing answers in time."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
                answer = await reader.read()
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError):
        return 0, ""
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    return (int(words[1]) if len(words) > 1 else 0), body.decode(errors="replace")
