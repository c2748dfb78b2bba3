"""`saccade calibrate --stream`: a belief's parameters and its frontier, chosen on half of the cameras."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np

from lab.errors import EvaluationError
from lab.evaluation.bootstrap import mean_interval
from lab.evaluation.gates import h_min_quantiles
from lab.evaluation.inference_cache import ServerAnswers
from lab.evaluation.methods import setting_of
from lab.evaluation.models import ModelFacts
from lab.evaluation.paired import LABEL, SERVER_AGREEMENT
from lab.evaluation.points import CALIBRATION, TEST, Setting
from lab.evaluation.schemes import Scheme, Whole
from lab.evaluation.stream.frames import Frames, Ints
from lab.evaluation.stream.remembered import TAUS, Choice, Remembered, belief_rules, remembered
from lab.evaluation.sweep import Payload, pareto_rows
from lab.evaluation.wire import value_bytes
from lab.simulation.recording import Recording, Streamed
from schemas.belief_rule import STILLS, BeliefRule
from schemas.frontier import Frontier, FrontierPoint, HminBin
from schemas.operating_point import OperatingPoint

JUDGED_BUDGETS: Final = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
"""Bytes a frame at which parameters are compared: the mean of the best accuracies within each decides."""
FINE_TAUS: Final = (0.05, 0.08, 0.12, 0.17, 0.25, 0.35, 0.5, 0.7, 0.9, 1.2, 1.6)
ENTROPY_BINS: Final = 10

Stills = Mapping[Scheme, tuple[Payload, ServerAnswers]]


@dataclass(frozen=True)
class _Measured:
    """One threshold with one scheme on the cameras of one half."""

    choice: Choice
    found: Remembered
    bytes_per_frame: float
    accuracy: float


def calibrate_belief(
    frames: Frames, stills: Stills, asks: Sequence[Scheme]
) -> tuple[BeliefRule, list[Choice]]:
    """Return the parameters that do best over `JUDGED_BUDGETS` on the choosing half, and their frontier there.

    Of parameters with which the belief alone, nothing asked, is less often right than each frame by itself, none are
    taken while there are others: an uplink may be away. The choice is made as if each camera were trusted: the trust is
    for cameras that the edge is blind to, and a calibration may hold one or none.

    Args:
        frames: of all cameras.
        stills: what asking about each frame costs and brings, by scheme.
        asks: the schemes to ask with.

    Raises:
        EvaluationError: there are too few cameras to choose on some and to measure on others.
    """
    if not frames.has_halves:
        raise EvaluationError(
            f"{len(frames.cameras)} cameras: half of them choose and half measure, and one half is empty; "
            "give more cameras"
        )
    rows = frames.rows(CALIBRATION)
    by_itself = float(frames.edge_correct[rows[frames.scored[rows]]].mean())
    best: tuple[bool, float] = (False, -1.0)
    chosen = STILLS
    for rule in belief_rules():
        trusting = replace(rule, agreement=0.0)
        settings = _settings(asks[:1], trusting, (math.inf,)) + _settings(asks, trusting, TAUS)
        found = [_on(frames, stills, each, CALIBRATION) for each in remembered(frames, stills, settings)]
        affordable = [[each.accuracy for each in found if each.bytes_per_frame <= b] for b in JUDGED_BUDGETS]
        score = float(np.mean([max(each) for each in affordable]))
        if (judged := (found[0].accuracy >= by_itself, score)) > best:
            best, chosen = judged, rule
    fine = [
        _on(frames, stills, each, CALIBRATION)
        for each in remembered(frames, stills, _settings(asks, chosen, FINE_TAUS))
    ]
    front = pareto_rows([each.bytes_per_frame for each in fine], [each.accuracy for each in fine])
    return chosen, [fine[row].choice for row in front]


def stream_frontier(
    frames: Frames, stills: Stills, asks: Sequence[Scheme], edge: ModelFacts, server: ModelFacts, data: str
) -> Frontier:
    """Return the frontier of a belief: chosen on one half of the cameras, measured on the other.

    Quantiles and bins are those of the belief's min-entropy at the frontier's middle point: the doubt that a gate
    sees depends on how much is asked.

    Raises:
        EvaluationError: there are too few cameras.
    """
    rule, choices = calibrate_belief(frames, stills, asks)
    never = [(scheme, replace(setting, memory=rule), math.inf) for scheme, setting, _ in choices[:1]]
    kept = list(remembered(frames, stills, [*never, *choices]))
    points = [_frontier_point(frames, stills, choice, found) for choice, found in kept]
    rows = pareto_rows([each.bytes_per_frame for each in points], [each.accuracy for each in points])
    (asks_with, *_), middle = kept[rows[len(rows) // 2]]
    labelled = any((camera.truth >= 0).any() for camera in frames.cameras)
    return Frontier(
        edge_model=edge.name,
        edge_hash=edge.weights_hash,
        server_model=server.name,
        server_hash=server.weights_hash,
        classes_hash=edge.classes_hash,
        data=data,
        accuracy_kind=LABEL if labelled else SERVER_AGREEMENT,
        images=frames.num_frames,
        h_min_quantiles=h_min_quantiles(middle.doubt),
        accuracy_by_h_min=_bins(
            frames, middle, stills[Whole()][1].top1, stills[asks_with][1].top1, len(edge.classes)
        ),
        points=tuple(points[row] for row in rows),
        belief=rule,
    )


def stream_recording(frames: Frames, stills: Stills, asks: Sequence[Scheme]) -> Recording:
    """Return the frames as the simulation replays them, one camera after the other."""
    answers, truth = [stills[scheme] for scheme in asks], frames.truth
    num_classes = frames.edge_logits.shape[1]
    return Recording(
        min_entropy=frames.h_min,
        edge_right=frames.edge_logits.argmax(axis=1) == truth,
        server_right=np.stack([said.top1 == truth for _, said in answers], axis=1),
        num_bytes=np.stack([value_bytes(sent.wire_bytes) for sent, _ in answers], axis=1).astype(np.int64),
        families=tuple(
            _operating_point(setting, 0.0) for each in asks if (setting := setting_of(each)) is not None
        ),
        stream=Streamed(
            truth=truth,
            logits=frames.edge_logits,
            embedding=frames.embedding,
            server=np.stack([np.exp(said.log_probabilities(num_classes)) for _, said in answers], axis=1),
        ),
    )


def _settings(asks: Sequence[Scheme], rule: BeliefRule, taus: Sequence[float]) -> list[Choice]:
    named = [(scheme, setting) for scheme in asks if (setting := setting_of(scheme)) is not None]
    return [
        (scheme, replace(setting, method="belief", memory=rule), tau)
        for scheme, setting in named
        for tau in taus
    ]


def _on(frames: Frames, stills: Stills, each: tuple[Choice, Remembered], split: str) -> _Measured:
    choice, found = each
    rows = frames.rows(split)
    scored = rows[frames.scored[rows]]
    wire = (found.asked * stills[choice[0]][0].wire_bytes)[rows]
    return _Measured(choice, found, float(wire.mean()), float((found.label == frames.truth)[scored].mean()))


def _frontier_point(frames: Frames, stills: Stills, choice: Choice, found: Remembered) -> FrontierPoint:
    """Return a point with the bytes of record values: the controller adds the framing that it measures."""
    scheme, setting, tau = choice
    rows = frames.rows(TEST)
    asked, payload = rows[found.asked[rows]], stills[scheme][0]
    values = value_bytes(payload.wire_bytes[asked]) if asked.size else np.zeros(1)
    scored = rows[frames.scored[rows]]
    correct = (found.label == frames.truth)[scored].astype(np.float64)
    low, high = mean_interval(correct, frames.camera[scored])
    ratio = asked.size / rows.size
    return FrontierPoint(
        point=_operating_point(setting, tau),
        offload_ratio=ratio,
        bytes_per_offload=float(values.mean()),
        bytes_per_offload_p95=float(np.quantile(values, 0.95)),
        bytes_per_frame=float(values.mean()) * ratio,
        accuracy=float(correct.mean()),
        accuracy_lo=low,
        accuracy_hi=high,
        server_macs=float(payload.server_macs[asked].sum()) / rows.size,
        images=int(scored.size),
    )


def _operating_point(setting: Setting, tau: float) -> OperatingPoint:
    assert setting.delta is not None
    assert setting.codec is not None
    assert setting.selection is not None
    return OperatingPoint(
        tau, setting.delta, setting.min_patches or 1, setting.codec, setting.quality or 0, setting.selection
    )


def _bins(
    frames: Frames, found: Remembered, server: Ints, answers: Ints, num_classes: int
) -> tuple[HminBin, ...]:
    """Return the accuracy of the belief's first word and of the server by equally filled bins of its doubt.

    `server` are its (T,) classes on whole frames, `answers` those on what an ask sends.
    """
    scored = np.flatnonzero(frames.scored)
    doubt = found.doubt[scored]
    truth, said = frames.truth[scored], found.first[scored]
    shares = said == truth, server[scored] == truth, said == answers[scored]
    inner = np.quantile(doubt, np.linspace(0, 1, ENTROPY_BINS + 1)[1:-1])
    edges = sorted({0.0, *(float(each) for each in inner), math.log2(num_classes)})
    bins = []
    for low, high in pairwise(edges):
        members = (doubt >= low) & ((doubt < high) | (high == edges[-1]))
        if members.any():
            means = (float(each[members].mean()) for each in shares)
            bins.append(HminBin(low, high, int(members.sum()), *means))
    return tuple(bins)
