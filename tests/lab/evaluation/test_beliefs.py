"""The belief on recorded streams: many settings at once come to what the worker's own filter comes to."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gating.belief import CameraBelief
from gating.entropy import min_entropy_bits
from lab.evaluation.inference_cache import ServerAnswers
from lab.evaluation.stream.beliefs import MAX_LATENCY_S, Replay, Streams, cosines, replay
from schemas.belief_rule import STILLS, BeliefRule

CAMERAS, FRAMES, CLASSES, FPS = 3, 40, 4, 5.0
RULES = (
    STILLS,
    BeliefRule(floor=0.3, gamma=0.4, alpha=0.5, beta=1.5),
    BeliefRule(floor=0.0, gamma=1.0, memory_s=2.0, alpha=0.8, least_weight=0.2, prior=(0.4, 0.2, 0.2, 0.2)),
    BeliefRule(gamma=0.2, alpha=0.9, least_weight=0.9, redundancy=0.8),
    BeliefRule(gamma=0.2, alpha=0.9, least_weight=0.9, redundancy=0.8, patience_s=0.5),
    BeliefRule(gamma=0.1, memory_s=8.0, alpha=0.3, patience_s=1.0),
    BeliefRule(gamma=0.2, alpha=0.9, redundancy=0.8, agreement=0.7),
)
TAUS = (0.8, 0.6, 0.9, 0.4, 0.4, 0.1, 0.4)


def embeddings(rng: np.random.Generator) -> np.ndarray:
    """A direction that drifts, with jumps: objects that come and go."""
    steps = rng.normal(0, 0.25, FRAMES) + np.where(rng.random(FRAMES) < 0.1, 2.0, 0.0)
    angle = np.cumsum(steps)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


@pytest.fixture
def made() -> tuple[Streams, np.ndarray]:
    rng = np.random.default_rng(5)
    every = np.stack([embeddings(rng) for _ in range(CAMERAS)])
    server = rng.dirichlet(np.full(CLASSES, 0.5), (CAMERAS, FRAMES)).clip(1e-5)
    streams = Streams(
        logits=rng.normal(0, 2, (CAMERAS, FRAMES, CLASSES)),
        cosine=np.stack([cosines(each) for each in every]),
        server=np.log(server),
        fps=FPS,
    )
    return streams, every


def one_by_one(
    streams: Streams, embedding: np.ndarray, rule: BeliefRule, tau: float, delay: int
) -> tuple[list[int], list[bool]]:
    """The same with the worker's filter, for one camera given as arrays of its own."""
    camera, labels, asked = CameraBelief(rule, MAX_LATENCY_S), [0] * FRAMES, [False] * FRAMES
    for frame in range(FRAMES + delay):
        if frame >= delay:
            answer = np.exp(streams.server[0, frame - delay])
            for step in camera.answer(frame - delay, answer):
                labels[step.seq] = int(step.logits.argmax())
        if frame < FRAMES:
            captured_ns = round(frame / FPS * 1e9)
            step = camera.see(frame, captured_ns, streams.logits[0, frame], embedding[frame])
            labels[frame] = int(step.logits.argmax())
            is_unsure = bool(min_entropy_bits(step.logits) >= tau)
            asked[frame], ended = camera.judged(step, unsure=is_unsure, now_s=frame / FPS)
            for each in ended:
                labels[each.seq] = int(each.logits.argmax())
    return labels, asked


@pytest.mark.parametrize("delay", [1, 2, 5])
def test_all_at_once_is_one_by_one(made: tuple[Streams, np.ndarray], delay: int) -> None:
    streams, every = made
    found = replay(streams, RULES, TAUS, delay)
    for setting, (rule, tau) in enumerate(zip(RULES, TAUS, strict=True)):
        for camera in range(CAMERAS):
            one = slice(camera, camera + 1)
            alone = Streams(streams.logits[one], streams.cosine[one], streams.server[one], FPS)
            labels, asked = one_by_one(alone, every[camera], rule, tau, delay)
            assert found.asked[setting, camera].tolist() == asked
            assert found.label[setting, camera].tolist() == labels
    assert found.asked.any()
    assert (found.label != found.first).any()


def test_without_memory_it_is_the_gate_with_fused_answers(made: tuple[Streams, np.ndarray]) -> None:
    streams, _ = made
    found = replay(streams, [STILLS], [0.8], 1)
    sent = min_entropy_bits(streams.logits) >= 0.8
    fused = (streams.logits + streams.server).argmax(axis=-1)
    np.testing.assert_array_equal(found.asked[0], sent)
    np.testing.assert_array_equal(found.label[0], np.where(sent, fused, streams.logits.argmax(axis=-1)))


def test_nothing_is_asked_at_an_infinite_threshold(made: tuple[Streams, np.ndarray]) -> None:
    found: Replay = replay(made[0], [RULES[1]], [math.inf], 2)
    assert not found.asked.any()
    np.testing.assert_array_equal(found.label, found.first)


def test_leading_classes_become_whole_distributions() -> None:
    one = np.ones(1)
    answers = ServerAnswers(
        np.asarray([[2, 0]]), np.asarray([[0.7, 0.2]]), np.ones(1, dtype=np.int64), one, one
    )
    np.testing.assert_allclose(np.exp(answers.log_probabilities(4)), [[0.2, 0.05, 0.7, 0.05]])
