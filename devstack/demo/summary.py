"""What a run of the demo comes to: pure arithmetic from the audited frames to ``summary.json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from schemas.geometry import NUM_PATCHES
from schemas.label import AnswerSource, LabelState


@dataclass(frozen=True, slots=True)
class AuditedFrame:
    """One published frame with everything that the pipeline left about it.

    ``state`` is None for a frame without any state: it is missing.
    ``truth`` is None where unknown and -1 where not scored. ``still``: the edge did not classify it again.
    Latencies are in milliseconds from capture to label, None where there was no such label.
    """

    camera: str
    seq: int
    truth: int | None
    whole_jpeg_bytes: int
    state: LabelState | None
    source: AnswerSource | None
    label: int | None
    cause: str
    still: bool
    edge_latency_ms: float | None
    server_latency_ms: float | None


@dataclass(frozen=True, slots=True)
class AuditedOffload:
    """One record found on the offload topic."""

    camera: str
    seq: int
    record_bytes: int
    patches: int


@dataclass(frozen=True, slots=True)
class BudgetSegment:
    """A stretch of the run under one budget and one operating point; rates in bytes per second."""

    from_s: float
    budget_bytes_per_s: float | None
    measured_bytes_per_s: float
    tau: float
    delta: float
    codec: str
    quality: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one run, written as ``summary.json``; accuracies are shares of the scored frames."""

    seconds: float
    frames_published: int
    frames_labelled: int
    frames_missing: int
    frames_still: int
    labels_final_edge: int
    labels_final_server: int
    labels_final_belief: int
    labels_provisional: int
    frames_offloaded: int
    offload_repeated: int
    dead_lettered: int
    offload_bytes: int
    whole_jpeg_bytes: int
    patches_sent: int
    patch_cost: float
    frames_dropped: dict[str, int]
    frames_scored: int
    accuracy_edge: float | None
    accuracy: float | None
    accuracy_server_sample: float | None
    server_sample: int
    latency_ms: dict[str, float | None]
    server_finals_share: float | None
    server_worker_shares: dict[str, float]
    uplink: str
    budget: list[BudgetSegment] = field(default_factory=list)
    budget_broken: int = 0
    burst_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the summary as plain JSON values."""
        return asdict(self)

    def failures(self) -> list[str]:
        """Return one line for each promise that the run broke; empty means that it held them all."""
        lines = []
        if self.frames_published == 0:
            lines.append("no frame was published")
        if self.frames_missing:
            lines.append(f"{self.frames_missing} of {self.frames_published} frames have no state")
        if self.budget_broken:
            lines.append(f"the budget was exceeded in {self.budget_broken} windows")
        return lines


def summarise(
    frames: Sequence[AuditedFrame],
    offloads: Sequence[AuditedOffload],
    *,
    seconds: float,
    dead_lettered: int,
    producer_drops: dict[str, int],
    edge_sample: Sequence[bool],
    server_sample: Sequence[bool],
    server_worker_finals: dict[str, int],
    uplink: str,
    budget: Sequence[BudgetSegment] = (),
    budget_broken: int = 0,
    burst_bytes: int = 0,
) -> Summary:
    """Return the run's figures.

    Args:
        frames: every frame found on the frames topic, once each.
        offloads: every record found on the offload topic; a repeated frame counts its bytes each time.
        edge_sample: whether the edge model alone is right on a whole frame, for a sample of them.
        server_sample: whether the server model alone is right on the same frames.
        server_worker_finals: final labels in time by server worker.
        uplink: what the offload path went through, such as ``relay`` or ``simulated``.
    """
    dropped = Counter(producer_drops)
    dropped.update(frame.cause for frame in frames if frame.state is LabelState.DROPPED)
    distinct = {(record.camera, record.seq) for record in offloads}
    patches = sum(record.patches for record in offloads)
    scored = [frame for frame in frames if frame.truth is not None and frame.truth >= 0]
    finals_server = count(frames, LabelState.FINAL, AnswerSource.SERVER)
    total_finals = sum(server_worker_finals.values())
    return Summary(
        seconds=round(seconds, 1),
        frames_published=len(frames),
        frames_labelled=sum(frame.label is not None for frame in frames),
        frames_missing=sum(frame.state is None for frame in frames),
        frames_still=sum(frame.still for frame in frames),
        labels_final_edge=count(frames, LabelState.FINAL, AnswerSource.EDGE),
        labels_final_server=finals_server,
        labels_final_belief=count(frames, LabelState.FINAL, AnswerSource.BELIEF),
        labels_provisional=sum(frame.state is LabelState.PROVISIONAL for frame in frames),
        frames_offloaded=len(distinct),
        offload_repeated=len(offloads) - len(distinct),
        dead_lettered=dead_lettered,
        offload_bytes=sum(record.record_bytes for record in offloads),
        whole_jpeg_bytes=sum(frame.whole_jpeg_bytes for frame in frames),
        patches_sent=patches,
        patch_cost=round(patches / (NUM_PATCHES * len(frames)), 4) if frames else 0.0,
        frames_dropped={cause: number for cause, number in sorted(dropped.items()) if number},
        frames_scored=len(scored),
        accuracy_edge=share(edge_sample),
        accuracy=share(frame.label == frame.truth for frame in scored),
        accuracy_server_sample=share(server_sample),
        server_sample=len(server_sample),
        latency_ms={
            **percentiles("edge", [f.edge_latency_ms for f in frames if f.edge_latency_ms is not None]),
            **percentiles("server", [f.server_latency_ms for f in frames if f.server_latency_ms is not None]),
        },
        server_finals_share=round(finals_server / len(distinct), 4) if distinct else None,
        server_worker_shares={
            worker: round(finals / total_finals, 3) for worker, finals in sorted(server_worker_finals.items())
        }
        if total_finals
        else {},
        uplink=uplink,
        budget=list(budget),
        budget_broken=budget_broken,
        burst_bytes=burst_bytes,
    )


def count(frames: Iterable[AuditedFrame], state: LabelState, source: AnswerSource) -> int:
    """Return how many frames ended in ``state`` with a label of ``source``."""
    return sum(frame.state is state and frame.source is source for frame in frames)


def share(outcomes: Iterable[bool]) -> float | None:
    """Return the share of true outcomes, four digits, or None for none at all."""
    values = list(outcomes)
    return round(sum(values) / len(values), 4) if values else None


def percentiles(name: str, latencies_ms: Sequence[float]) -> dict[str, float | None]:
    """Return ``{name}_p50`` and ``{name}_p99`` in milliseconds, None without a sample."""
    if not latencies_ms:
        return {f"{name}_p50": None, f"{name}_p99": None}
    p50, p99 = np.percentile(np.asarray(latencies_ms), [50, 99])
    return {f"{name}_p50": round(float(p50), 1), f"{name}_p99": round(float(p99), 1)}
