"""Methods that remember: which of their settings are kept, and what holding a label does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.errors import EvaluationError
from lab.evaluation.inference_cache import ServerAnswers
from lab.evaluation.points import HoldRule
from lab.evaluation.schemes import Ranked, Scheme, Whole
from lab.evaluation.selection import Rule
from lab.evaluation.stream import calibration
from lab.evaluation.stream.calibration import calibrate_belief, stream_frontier
from lab.evaluation.stream.cameras import Camera
from lab.evaluation.stream.frames import Frames
from lab.evaluation.stream.remembered import _held, remembering_outcomes
from lab.evaluation.sweep import Payload
from schemas.belief_rule import BeliefRule
from schemas.frontier import dump_frontier, load_frontier
from vit import SHIPPED

NAMES, FPS = ("gate", "door", "yard", "lane"), 5.0
"""`calibration_half` puts some of them on either side."""
ASK = Ranked(Rule("top_k", 0.06), "avif", 45)


@pytest.fixture
def frames() -> Frames:
    """Cameras whose class changes every ten frames; the edge is a little better than chance, the embedding sure."""
    rng = np.random.default_rng(2)
    lengths = (60, 60, 60, 40)
    truth = np.concatenate([np.repeat(rng.integers(0, 3, length // 10), 10) for length in lengths])
    logits = rng.normal(0, 1, (truth.size, 3)).astype(np.float32)
    logits[np.arange(truth.size), truth] += 0.8
    cameras = [
        Camera(name, FPS, np.zeros((length, 1, 1, 3), dtype=np.uint8), np.zeros(length, dtype=np.int64))
        for name, length in zip(NAMES, lengths, strict=True)
    ]
    return Frames(
        cameras=cameras,
        camera=np.repeat(np.arange(4), lengths),
        truth=truth,
        edge_logits=logits,
        embedding=(np.eye(3)[truth] + 0.01).astype(np.float32),
        full_macs=1.0,
    )


def answers_of(frames: Frames) -> tuple[Payload, ServerAnswers]:
    """A server that is always right and sure, at 300 bytes an ask."""
    ones = np.ones(frames.num_frames)
    answers = ServerAnswers(
        frames.truth[:, None], 0.98 * ones[:, None], np.full(frames.num_frames, 12), 12 * ones, 300 * ones
    )
    return Payload(ones, 12 * ones, 300 * ones, ones), answers


def test_a_belief_asks_once_where_the_gate_asks_each_time(frames: Frames) -> None:
    rules = [BeliefRule(floor=0.4, gamma=0.3, alpha=0.5), BeliefRule(alpha=0.5, memory_s=1.0)]
    outcomes = list(remembering_outcomes(frames, {ASK: answers_of(frames)}, rules, (0.3, 0.8)))
    points = [frames.point(outcome) for outcome in outcomes]
    best = {
        method: max(
            (point.figures for point in points if point.setting.method == method),
            key=lambda each: each.accuracy,
        )
        for method in ("belief", "fused", "hold")
    }
    assert best["belief"].accuracy > 0.97
    assert best["belief"].bytes_per_frame < best["fused"].bytes_per_frame / 3
    assert best["belief"].bytes_per_frame == pytest.approx(300 * best["belief"].offload_ratio)
    assert all(outcome.setting.memory is not None for outcome in outcomes)
    assert len(outcomes) < 2 * (2 + 3 + 9)


def test_a_label_is_held_while_the_picture_is_the_same_and_not_for_longer(frames: Frames) -> None:
    rows = frames.rows_of(0)
    server = frames.truth
    held = _held(frames, server, rows, HoldRule(0.8, 60.0), 0.0)
    changes = np.flatnonzero(np.diff(frames.truth[rows], prepend=-1))
    assert np.flatnonzero(held.asked).tolist() == changes.tolist()
    np.testing.assert_array_equal(held.label, frames.truth[rows])
    short = _held(frames, server, rows, HoldRule(0.8, 1.0), 0.0)
    assert np.diff(np.flatnonzero(short.asked)).max() <= 6
    never = _held(frames, server, rows, HoldRule(0.8, 1.0), np.inf)
    assert not never.asked.any()


def test_whole_frames_may_ask_too(frames: Frames) -> None:
    whole = Whole("avif", 45)
    found = remembering_outcomes(frames, {whole: answers_of(frames)}, [BeliefRule()], (0.5,))
    assert {outcome.setting.codec for outcome in found} == {"avif"}


def test_a_belief_and_its_frontier_go_into_one_file(
    frames: Frames, tmp_path: Path, fake_model: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "belief_rules", lambda: [BeliefRule(alpha=0.5), BeliefRule(floor=0.4)])
    edge, server = fake_model("edge").facts, fake_model("server").facts
    stills: dict[Scheme, Any] = {Whole(): answers_of(frames), ASK: answers_of(frames)}
    frontier = stream_frontier(frames, stills, [ASK], edge, server, "four cameras")
    assert frontier.belief in {BeliefRule(alpha=0.5), BeliefRule(floor=0.4)}
    assert frontier.points[0].bytes_per_frame == 0
    assert frontier.points[-1].accuracy > frontier.points[0].accuracy
    assert sum(each.count for each in frontier.accuracy_by_h_min) == frames.num_frames
    assert all(each.agreement is not None for each in frontier.accuracy_by_h_min)
    dump_frontier(frontier, tmp_path / "f.json")
    assert load_frontier(tmp_path / "f.json") == frontier
    one = replace(frames, cameras=frames.cameras[:1], camera=np.zeros(frames.num_frames, dtype=np.int64))
    with pytest.raises(EvaluationError, match="1 cameras"):
        stream_frontier(one, stills, [ASK], edge, server, "one camera")


def test_a_belief_that_does_harm_where_nothing_is_asked_is_not_chosen(
    frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it would do best with the server: it sees nothing itself and asks about every object."""
    blind, each_alone = BeliefRule(alpha=0.02, prior=(0.4, 0.3, 0.3)), BeliefRule(memory_s=0.0)
    stills: dict[Scheme, Any] = {ASK: answers_of(frames)}
    for rules, chosen in (([blind, each_alone], each_alone), ([blind], blind)):
        monkeypatch.setattr(calibration, "belief_rules", lambda rules=rules: rules)
        assert calibrate_belief(frames, stills, [ASK])[0] == chosen


def test_the_shipped_pair_comes_with_a_belief() -> None:
    plain, stream = (load_frontier(SHIPPED / name) for name in ("frontier.json", "stream_frontier.json"))
    assert (stream.edge_hash, stream.server_hash) == (plain.edge_hash, plain.server_hash)
    assert stream.belief is not None
    assert stream.points[0].bytes_per_frame == 0
    assert stream.points[-1].accuracy > stream.points[0].accuracy
