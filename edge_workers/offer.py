"""Unsure frames become offload records in the codec threads and are offered to the uplink."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from functools import partial

from edge_workers.encode import Encoded, Unsure, encode
from edge_workers.tally import EdgeTally
from runtime.channel import Channel, ChannelClosed
from runtime.site_clock import SiteClock
from runtime.spread import spread
from schemas.topics import offload_partition
from uplink.shell import GivenUp, Outcome, Pending, Uplink

_MERGED_BATCHES = 4
_STOPPED = GivenUp("stopped")


class Offerer:
    """Encodes and offers; a frame's offset is finished when its record is acknowledged or given up."""

    def __init__(
        self,
        uplink: Uplink,
        threads: Executor,
        num_threads: int,
        *,
        site_clock: SiteClock,
        tally: EdgeTally,
        classes_hash: str,
        max_offload_bytes: int,
        num_partitions: int,
        unsure: Channel[list[Unsure]],
    ) -> None:
        self._uplink = uplink
        self._threads = threads
        self._num_threads = num_threads
        self._site_clock = site_clock
        self._tally = tally
        self._classes_hash = classes_hash
        self._max_offload_bytes = max_offload_bytes
        self._num_partitions = num_partitions
        self._unsure = unsure

    async def run(self) -> None:
        """Offers until the end of the stream."""
        while True:
            try:
                work = await self._unsure.get_batch(_MERGED_BATCHES)
            except ChannelClosed:
                return
            frames = [unsure for batch in work for unsure in batch]
            with self._tally.stage("encode"):
                parts = await spread(self._threads, self._num_threads, self._encoding(), frames)
            for part in parts:
                for encoded in part:
                    self._offer(encoded)

    def _encoding(self) -> partial[list[Encoded]]:
        burst_bytes = self._uplink.max_record_bytes
        limit = self._max_offload_bytes if burst_bytes is None else min(burst_bytes, self._max_offload_bytes)
        return partial(encode, classes_hash=self._classes_hash, max_record_bytes=limit)

    def _offer(self, encoded: Encoded) -> None:
        if encoded.data is None:
            self._settled(encoded, GivenUp("over_burst"))
            return
        record = encoded.record
        outcome = self._uplink.offer(
            Pending(
                record=record,
                encoded=encoded.data,
                partition=offload_partition(record.camera, record.seq, self._num_partitions),
                min_entropy=record.score,
                deadline_monotonic_s=self._site_clock.monotonic_s(record.deadline_ns),
                camera=record.camera,
            )
        )
        outcome.add_done_callback(lambda done: self._settled(encoded, _outcome_of(done)))

    def _settled(self, encoded: Encoded, outcome: Outcome) -> None:
        self._tally.offered(encoded, outcome)
        if outcome == _STOPPED:  # whoever reads the frame next may still have the time to send it
            encoded.unsure.incoming.delivery.release()
        else:
            encoded.unsure.incoming.delivery.ack()


def _outcome_of(done: asyncio.Future[Outcome]) -> Outcome:
    return _STOPPED if done.cancelled() else done.result()
