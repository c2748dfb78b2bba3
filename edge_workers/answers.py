"""The way back: servers' answers join the beliefs of their cameras, and what waited for them becomes final."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import stamina

from edge_workers.gate import Gating
from edge_workers.task import FrameTask
from runtime.channel import Channel, ChannelClosed, ChannelFull
from runtime.label_writer import LabelWriter
from runtime.log import get_logger
from runtime.stores import AnswerBoard
from schemas.errors import SaccadeError
from schemas.label import Label

_WAIT_S = 5.0
_MAX_BATCHES = 1_024
_log = get_logger(__name__)


class Answers:
    """Reads the site's answers and writes final labels of frames that waited.

    A wake-up that is missed costs no more than the deadline: what is not written then keeps its provisional label.
    """

    def __init__(self, board: AnswerBoard, site: str, gating: Gating, writer: LabelWriter) -> None:
        self._board = board
        self._site = site
        self._gating = gating
        self._writer = writer
        self._finals: Channel[list[Label]] = Channel(_MAX_BATCHES)

    def unasked(self, task: FrameTask) -> None:
        """Nobody will answer this frame; what waited is written as it is. Never waits."""
        labels = self._gating.unasked(task)
        if labels:
            self._pass(labels)

    async def run(self, settled: asyncio.Event) -> None:
        """Reads and writes until `settled`, then writes what was passed on; rides out outages of the store."""
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read(), name="answers")
            group.create_task(self._write())
            await settled.wait()
            reading.cancel()
            self._finals.close()

    async def _read(self) -> None:
        place: str | None = None
        # Also after a refusal that does not pass by itself, such as a key of another type: labels go on without.
        async for attempt in stamina.retry_context(
            on=SaccadeError, attempts=None, timeout=None, wait_initial=0.1, wait_max=2.0
        ):
            with attempt:
                while True:
                    if place is None:
                        place = await self._board.answers_end(self._site)
                    place, answers = await self._board.answers_after(self._site, place, _WAIT_S)
                    labels = [label for answer in answers for label in self._gating.answered(answer)]
                    if labels:
                        self._pass(labels)

    async def _write(self) -> None:
        while True:
            try:
                batches = await self._finals.get_batch(_MAX_BATCHES)
            except ChannelClosed:
                return
            await self._writer.write([label for batch in batches for label in batch])

    def _pass(self, labels: Sequence[Label]) -> None:
        try:
            self._finals.put_nowait(list(labels))
        except ChannelFull:
            _log.warning("labels of beliefs are not written: the store is slow", num_labels=len(labels))
