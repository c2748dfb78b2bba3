"""Methods that remember a camera's last frames: its belief, fused answers, and the server's label held. Pure numpy.

A sweep is made twice. First every setting is reduced to what it costs and how often it is right, camera by camera.
Then those that no other setting beats, on either half of the cameras or on all, are made again and kept whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lab.evaluation.inference_cache import ServerAnswers
from lab.evaluation.methods import setting_of
from lab.evaluation.points import ALL, CALIBRATION, TEST, HoldRule, Setting, with_tau
from lab.evaluation.schemes import Scheme
from lab.evaluation.stream.beliefs import Streams, cosines, replay
from lab.evaluation.stream.frames import Floats, Frames, Ints, Mask, Outcome
from lab.evaluation.sweep import Payload, pareto_rows
from schemas.belief_rule import STILLS, BeliefRule

_AT_ONCE: Final = 64
_FUSED_WEIGHTS: Final = (0.5, 1.0, 2.0)
TAUS: Final = (0.08, 0.15, 0.25, 0.4, 0.6, 0.9, 1.3)
_SEED: Final = 20260103
_RULES_TRIED: Final = 160
AGREEMENT: Final = 0.6
"""How often a server should agree with the edge where a rule asks; on the rendered test cameras it is .54."""
HOLDS: Final = tuple(HoldRule(cosine, seconds) for cosine in (0.7, 0.8, 0.9) for seconds in (1.0, 2.0, 5.0))


def belief_rules() -> list[BeliefRule]:
    """Return the parameters that a calibration may choose: a seeded sample of a grid, the same each time."""
    filters = product(
        *((0.0, 0.3, 0.5), (0.3, 0.6, 1.0, 1.5, 2.5), (2.0, 4.0, 8.0, 32.0), (0.7, 1.0, 1.4, 2.0)),
        *((1.4, 2.0, 3.0), (0.35, 0.5, 0.7), (0.5, 0.7, 0.85, 0.93, 0.97)),
    )
    grid = list(product(filters, (0.3, 0.5, 0.7, 0.9)))
    drawn = np.random.default_rng(_SEED).choice(len(grid), _RULES_TRIED, replace=False)
    chosen = [grid[place] for place in sorted(drawn.tolist())]
    return [replace(BeliefRule(*v), patience_s=patience_s, agreement=AGREEMENT) for v, patience_s in chosen]


@dataclass(frozen=True)
class Remembered:
    """What one setting comes to, all (T,): the labels first and in the end, which frames were asked about.

    `doubt` is the min-entropy in bits that the gate saw.
    """

    label: Ints
    first: Ints
    asked: Mask
    doubt: Floats


def remembering_outcomes(
    frames: Frames,
    stills: Mapping[Scheme, tuple[Payload, ServerAnswers]],
    rules: Sequence[BeliefRule],
    taus: Sequence[float] = TAUS,
) -> Iterator[Outcome]:
    """Yield the settings of belief, fused answers and hold that no other of their method beats somewhere.

    Args:
        frames: of all cameras.
        stills: what may be asked with, each with the server's answers about every frame.
        rules: parameters of the belief to try, each at each threshold.
        taus: thresholds in bits.
    """
    fused = [replace(STILLS, beta=beta) for beta in _FUSED_WEIGHTS]
    for method, memories in (("belief", rules), ("fused", fused), ("hold", HOLDS)):
        settings = [
            (scheme, replace(setting, method=method, memory=memory), tau)
            for scheme in stills
            if (setting := setting_of(scheme)) is not None
            for memory in memories
            for tau in taus
        ]
        kept = _unbeaten(frames, stills, settings)
        for chosen, found in remembered(frames, stills, [settings[row] for row in kept]):
            yield _outcome(frames, stills, chosen, found)


Choice = tuple[Scheme, Setting, float]


def _unbeaten(
    frames: Frames, stills: Mapping[Scheme, tuple[Payload, ServerAnswers]], settings: Sequence[Choice]
) -> list[int]:
    """Return which settings stand on the frontier of one half of the cameras or of all."""
    splits = [(frames.rows(split), split) for split in (ALL, CALIBRATION, TEST)]
    costs: dict[str, list[float]] = {split: [] for _, split in splits}
    accuracies: dict[str, list[float]] = {split: [] for _, split in splits}
    for (scheme, _, _), found in remembered(frames, stills, settings):
        right, wire = found.label == frames.truth, found.asked * stills[scheme][0].wire_bytes
        for rows, split in splits:
            scored = rows[frames.scored[rows]]
            costs[split].append(float(wire[rows].mean()) if rows.size else 0.0)
            accuracies[split].append(float(right[scored].mean()) if scored.size else 0.0)
    kept = {int(row) for split in costs for row in pareto_rows(costs[split], accuracies[split])}
    return sorted(kept)


def remembered(
    frames: Frames, stills: Mapping[Scheme, tuple[Payload, ServerAnswers]], settings: Sequence[Choice]
) -> Iterator[tuple[Choice, Remembered]]:
    """Yield each setting with what it comes to, in the order given; neighbours of one scheme go together."""
    for first in range(0, len(settings), _AT_ONCE):
        part = settings[first : first + _AT_ONCE]
        for scheme in dict.fromkeys(choice[0] for choice in part):
            mine = [choice for choice in part if choice[0] == scheme]
            yield from zip(mine, _replayed(frames, stills[scheme][1], mine), strict=True)


def _replayed(frames: Frames, answers: ServerAnswers, choices: Sequence[Choice]) -> list[Remembered]:
    shape = (len(choices), frames.num_frames)
    labels, first = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    asked, doubt = np.zeros(shape, dtype=np.bool_), np.zeros(shape)
    rules = [memory for _, setting, _ in choices if isinstance(memory := setting.memory, BeliefRule)]
    for rows in frames.alike:
        if rules:
            found = replay(_streams(frames, answers, rows), rules, [tau for *_, tau in choices], frames.delay)
            labels[:, rows], first[:, rows] = found.label, found.first
            asked[:, rows], doubt[:, rows] = found.asked, found.doubt
            continue
        for place, (_, setting, tau) in enumerate(choices):
            assert isinstance(setting.memory, HoldRule)
            for mine in rows:
                held = _held(frames, answers.top1, mine, setting.memory, tau)
                labels[place, mine], first[place, mine] = held.label, held.first
                asked[place, mine], doubt[place, mine] = held.asked, held.doubt
    return [Remembered(*each) for each in zip(labels, first, asked, doubt, strict=True)]


def _streams(frames: Frames, answers: ServerAnswers, rows: NDArray[np.int64]) -> Streams:
    """Return cameras of one length as arrays; `rows` (K, T) are their frames."""
    return Streams(
        logits=frames.edge_logits[rows].astype(np.float64),
        cosine=np.stack([cosines(frames.embedding[mine]) for mine in rows]),
        server=answers.log_probabilities(frames.edge_logits.shape[1])[rows],
        fps=frames.cameras[0].fps,
    )


def _held(frames: Frames, server: Ints, rows: Ints, rule: HoldRule, tau: float) -> Remembered:
    """Return one camera with the server's label held; an unsure frame waits for an answer that will be held."""
    embedding = frames.embedding[rows]
    unit = embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)
    label = frames.edge_logits[rows].argmax(axis=1)
    first, doubt = label.copy(), frames.h_min[rows]
    unsure = doubt >= tau
    asked = np.zeros(rows.size, dtype=np.bool_)
    about, most = -1, rule.seconds * frames.cameras[0].fps
    for frame in range(rows.size):
        stands = about >= 0 and frame - about <= most and float(unit[frame] @ unit[about]) >= rule.cosine
        if not stands:
            about = -1
            if unsure[frame]:
                about, asked[frame] = frame, True
        # A sure frame before the answer is there has been final already.
        if about >= 0 and (unsure[frame] or frame - about >= frames.delay):
            label[frame] = server[rows[about]]
    return Remembered(label, first, asked, doubt)


def _outcome(
    frames: Frames,
    stills: Mapping[Scheme, tuple[Payload, ServerAnswers]],
    choice: Choice,
    found: Remembered,
) -> Outcome:
    scheme, setting, tau = choice
    right = found.label == frames.truth
    payload = replace(stills[scheme][0], correct=right.astype(np.float64))
    return Outcome(with_tau(setting, tau), found.asked, payload, right)
