"""The demo's summary: which frames count, and what makes a run fail."""

from __future__ import annotations

import pytest

from devstack.demo.summary import AuditedFrame, AuditedOffload, Summary, percentiles, summarise
from schemas.label import AnswerSource, LabelState


def frame(seq: int, **changes: object) -> AuditedFrame:
    values: dict[str, object] = {
        "camera": "road1",
        "seq": seq,
        "truth": 3,
        "whole_jpeg_bytes": 10_000,
        "state": LabelState.FINAL,
        "source": AnswerSource.EDGE,
        "label": 3,
        "cause": "",
        "still": False,
        "edge_latency_ms": 40.0,
        "server_latency_ms": None,
    }
    return AuditedFrame(**{**values, **changes})  # type: ignore[arg-type]


def summary_of(
    frames: list[AuditedFrame], offloads: list[AuditedOffload] | None = None, **changes: object
) -> Summary:
    values: dict[str, object] = {
        "seconds": 10.0,
        "dead_lettered": 0,
        "producer_drops": {},
        "edge_sample": [],
        "server_sample": [],
        "server_worker_finals": {},
        "uplink": "relay",
    }
    return summarise(frames, offloads or [], **{**values, **changes})  # type: ignore[arg-type]


def test_a_frame_without_a_state_is_missing_and_fails_the_run() -> None:
    summary = summary_of([frame(1), frame(2, state=None, source=None, label=None)])
    assert summary.frames_missing == 1
    assert summary.frames_labelled == 1
    assert summary.failures() == ["1 of 2 frames have no state"]


def test_still_frames_are_counted() -> None:
    assert summary_of([frame(1), frame(2, still=True), frame(3, still=True)]).frames_still == 2


def test_an_empty_run_fails() -> None:
    assert summary_of([]).failures() == ["no frame was published"]


def test_a_broken_budget_fails_the_run() -> None:
    assert summary_of([frame(1)], budget_broken=2).failures() == ["the budget was exceeded in 2 windows"]


def test_the_pair_is_scored_on_the_last_label_and_each_model_on_its_sample() -> None:
    frames = [
        frame(1),
        frame(2, source=AnswerSource.SERVER, label=3),
        frame(3, source=AnswerSource.SERVER, label=4),
        frame(4, state=LabelState.PROVISIONAL, label=9),
        frame(5, truth=-1, label=0),
        frame(6, truth=None, label=0),
    ]
    summary = summary_of(frames, edge_sample=[True, False, False, False], server_sample=[True, True])
    assert summary.frames_scored == 4
    assert (summary.accuracy_edge, summary.accuracy_server_sample) == (0.25, 1.0)
    assert summary.accuracy == 0.5
    assert (summary.labels_final_edge, summary.labels_final_server, summary.labels_provisional) == (3, 2, 1)


def test_a_repeated_record_counts_its_bytes_twice_and_its_frame_once() -> None:
    record = AuditedOffload(camera="road1", seq=2, record_bytes=4000, patches=98)
    summary = summary_of([frame(1), frame(2, source=AnswerSource.SERVER)], [record, record])
    assert (summary.frames_offloaded, summary.offload_repeated) == (1, 1)
    assert summary.offload_bytes == 8000
    assert summary.patch_cost == pytest.approx(2 * 98 / (196 * 2))
    assert summary.server_finals_share == 1.0


def test_drops_are_summed_by_cause_over_producers_and_edge() -> None:
    frames = [frame(1, state=LabelState.DROPPED, label=None, cause="too_old")]
    assert summary_of(frames, producer_drops={"queue_full": 4, "offline": 0}).frames_dropped == {
        "queue_full": 4,
        "too_old": 1,
    }


def test_shares_of_the_server_workers_sum_to_one() -> None:
    summary = summary_of([frame(1)], server_worker_finals={"server1": 30, "server2": 10})
    assert summary.server_worker_shares == {"server1": 0.75, "server2": 0.25}


def test_percentiles_of_nothing_are_none() -> None:
    assert percentiles("edge", []) == {"edge_p50": None, "edge_p99": None}
    assert percentiles("edge", [1.0, 3.0])["edge_p50"] == 2.0
