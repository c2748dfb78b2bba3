"""What a record went through at the server, told beside its label for those who want to see one frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gating.task import Answer, Task
from runtime.site_clock import SiteClock
from runtime.traces import TracePart, TraceWriter
from schemas.label import Label
from schemas.trace import SERVER, ServerTrace, Stage, encode_part
from schemas.win_rule import PutResult
from server_workers.sites import Sites
from server_workers.task import AnswerTask


class ServerTracer:
    """Makes the trace of each answered record, all but its label's write."""

    def __init__(self, sites: Sites, task: Task, worker: str) -> None:
        self._sites = sites
        self._task = task
        self._worker = worker

    def answered(
        self, task: AnswerTask, answer: Answer, batch: Sequence[AnswerTask], began_s: float, now_s: float
    ) -> ServerTrace:
        """The record was one of the batch, which was begun at `began_s` and answered at `now_s`, monotonic."""
        record = task.record
        read_ns, began_ns, now_ns = (
            self._sites.time_ns(record.site, each_s) for each_s in (task.read_s, began_s, now_s)
        )
        names = (task.engine.identity.classes[label] for label in answer.classes)
        edge = Answer(*zip(*record.leading, strict=True))
        return ServerTrace(
            worker=self._worker,
            stages=(
                Stage("server read", read_ns, read_ns),
                Stage("server batch", read_ns, began_ns),
                Stage("server infer", began_ns, now_ns),
            ),
            leading=tuple(zip(names, answer.probabilities, strict=True)),
            batch_sets=len(batch),
            batch_tokens=sum(each.num_tokens for each in batch),
            agrees=self._task.agree(edge, answer),
            written="",
        )


class ServerTraces:
    """The traces of one Redis's records, told beside its labels."""

    def __init__(self, writers: Sequence[TraceWriter], site_clock: SiteClock) -> None:
        self._writers = writers
        self._site_clock = site_clock

    def published(
        self, trace: ServerTrace, label: Label, result: PutResult, began_s: float, now_s: float
    ) -> None:
        """Redis did `result` with the label, which was written between the two monotonic times."""
        # The site's clock may have been corrected since the stages before; they stay in order.
        began_ns = max(self._site_clock.time_ns(began_s), trace.stages[-1].ended_ns)
        publish = Stage("server publish", began_ns, began_ns + round((now_s - began_s) * 1e9))
        told = replace(trace, stages=(*trace.stages, publish), written=result.value)
        part = TracePart(label.camera, label.seq, SERVER, encode_part(told))
        for writer in self._writers:
            writer.put(part)
