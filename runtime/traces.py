"""Parts of traces on their way out. Nobody waits for them: they may be lost, labels and offsets may not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from runtime.channel import Channel, ChannelClosed, ChannelFull
from runtime.log import get_logger
from schemas.errors import DecodeError, SaccadeError
from schemas.trace import Trace, decode_trace

_MAX_WAITING = 2_048
_MAX_WRITE = 128
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TracePart:
    """What one process tells of a frame: `part` is a name of `schemas.trace`, `text` its encoded message."""

    camera: str
    seq: int
    part: str
    text: str


class TraceOutlet(Protocol):
    """Somewhere that what happened to frames is told."""

    async def put_traces(self, parts: Sequence[TracePart]) -> None:
        """Each part stands in its frame's trace; a store keeps it for `TRACE_TTL_S` from the last one.

        Raises:
            TransientError: the outlet is away.
        """
        ...


class TraceStore(TraceOutlet, Protocol):
    """What happened to frames. Every method raises `TransientError` while the store is away."""

    async def trace(self, camera: str, seq: int) -> Trace:
        """What is kept of one frame's way; parts that are missing or cannot be read are None."""
        ...


def readable_trace(parts: Mapping[str, str]) -> Trace:
    """The trace of the stored parts; without any where one cannot be read, which is logged."""
    try:
        return decode_trace(parts)
    except DecodeError as error:
        _log.warning("a trace cannot be read", error=str(error))
        return Trace()


class TraceWriter:
    """Writes parts in the order they come, while it runs."""

    def __init__(self, outlet: TraceOutlet) -> None:
        self._outlet = outlet
        self._waiting: Channel[TracePart] = Channel(_MAX_WAITING)

    def put(self, part: TracePart) -> None:
        """The part waits to be written, or is lost where too many wait or the writer is over."""
        with suppress(ChannelFull, ChannelClosed):
            self._waiting.put_nowait(part)

    async def run(self, over: asyncio.Event) -> None:
        """Writes until `over` is set, and then what waits; what the outlet does not take at once is lost."""
        ending = asyncio.create_task(over.wait())
        ending.add_done_callback(lambda _: self._waiting.close())
        try:
            while True:
                await self._write(await self._waiting.get_batch(_MAX_WRITE))
        except ChannelClosed:
            return
        finally:
            ending.cancel()

    async def _write(self, parts: Sequence[TracePart]) -> None:
        try:
            await self._outlet.put_traces(parts)
        except (
            SaccadeError
        ) as error:  # whatever the outlet has against them: a worker does not end for its traces
            _log.warning("traces are lost", num_traces=len(parts), error=str(error))
