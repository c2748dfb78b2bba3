"""What each variation of the method gains or loses against the plain method, paired on the same images. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from lab.evaluation.bootstrap import Interval, paired_difference
from lab.evaluation.experiments import FLOOR, HEADLINE_DELTA
from lab.evaluation.gates import (
    margin_scores,
    offloaded,
    shannon_scores,
    threshold_for_ratio,
)
from lab.evaluation.methods import setting_of
from lab.evaluation.paired import Floats, PairedPredictions
from lab.evaluation.points import ALL, TEST, Point, Setting, make_point
from lab.evaluation.schemes import (
    EDGE,
    EDGE_LAYER_ROLLOUT,
    EDGE_ROLLOUT,
    SERVER,
    Ranked,
    Scheme,
    Tiered,
    Whole,
)
from lab.evaluation.selection import Rule

COMPARED_RATIOS: Final = (0.2, 0.4, 0.6)
FUSED_RATIOS: Final = (1.0, 0.4)
FUSED_WEIGHTS: Final = tuple((alpha, beta) for alpha in (0.35, 0.7, 1.0) for beta in (0.5, 1.0, 2.0))
_SAME_SHARE: Final = 0.012


@dataclass(frozen=True, slots=True)
class Comparison:
    """A variation against its plain counterpart at the same offload ratio.

    `gain` is the paired difference of accuracies (a share, not points), `interval` its 95 % interval; the two
    changes are relative, NaN where the plain method costs nothing.
    """

    option: str
    against: str
    setting: str
    split: str
    offload_ratio: float
    gain: float
    interval: Interval
    bytes_change: float
    macs_change: float


def compare(
    pairs: PairedPredictions, option: str, against: str, setting: str, varied: Point, plain: Point
) -> Comparison:
    """Return the comparison of two points of the same split."""
    rows = np.arange(pairs.num_images) if varied.split == ALL else np.flatnonzero(~pairs.calibration)
    clusters = None if pairs.clusters is None else pairs.clusters[rows]
    gain, interval = paired_difference(varied.figures.correct, plain.figures.correct, clusters)
    return Comparison(
        option,
        against,
        setting,
        varied.split,
        varied.figures.offload_ratio,
        gain,
        interval,
        _change(varied.figures.bytes_per_frame, plain.figures.bytes_per_frame),
        _change(varied.figures.server_macs, plain.figures.server_macs),
    )


def gate_comparisons(pairs: PairedPredictions) -> list[Comparison]:
    """Return margin and Shannon entropy against min-entropy, at equal offload ratios, on all images."""
    comparisons: list[Comparison] = []
    scored = {"shannon": shannon_scores(pairs.edge_logits), "margin": margin_scores(pairs.edge_logits)}
    for scheme in (Whole(), Ranked(Rule("attention_sum", HEADLINE_DELTA)), Whole("webp", 75)):
        if scheme not in pairs.answers:
            continue
        for gate, scores in scored.items():
            for ratio in COMPARED_RATIOS:
                varied = _at_ratio(pairs, scheme, gate, scores, ratio)
                plain = _at_ratio(pairs, scheme, "min_entropy", pairs.h_min, ratio)
                comparisons.append(
                    compare(pairs, f"{gate} gate", "min-entropy gate", _what(scheme), varied, plain)
                )
    return comparisons


def fused_comparisons(pairs: PairedPredictions) -> tuple[list[Comparison], list[Point]]:
    """Return what it gains that the edge's own p joins the server's answer, and the fused points.

    The weights are chosen on the calibration half, for each scheme, with everything sent; the test half is shown.
    """
    comparisons, points = [], []
    half = pairs.calibration
    for scheme in pairs.answers:
        setting = setting_of(scheme)
        if setting is None or setting.gate is None:
            continue
        fused = [pairs.fused_payload(scheme, alpha, beta) for alpha, beta in FUSED_WEIGHTS]
        best = max(fused, key=lambda each: each.correct[half].mean())
        for ratio in FUSED_RATIOS:
            tau = threshold_for_ratio(pairs.h_min[~half], ratio)
            named = replace(setting, tau=tau)
            offload = offloaded(pairs.h_min, tau)
            varied = make_point(pairs, replace(named, method="fused"), offload, best, TEST)
            plain = make_point(pairs, named, offload, pairs.payload(scheme), TEST)
            what = f"{_what(scheme)}, {'all sent' if ratio == 1 else 'gated'}"
            comparisons.append(compare(pairs, "fused answers", "the server's answer", what, varied, plain))
            points.append(varied)
    return comparisons, points


def payload_comparisons(pairs: PairedPredictions) -> list[Comparison]:
    """Return selection rules, the floor and tiers against the plain payload; everything sent, and at 40 %."""
    comparisons = []
    for option, varied, plain in _payload_pairs(pairs):
        ratios = (1.0,) if pairs.same_weights else (1.0, 0.4)
        for ratio in ratios:
            share = threshold_for_ratio(pairs.h_min, ratio)
            pair = [
                make_point(pairs, _named(each), offloaded(pairs.h_min, share), pairs.payload(each))
                for each in (varied, plain)
            ]
            comparisons.append(compare(pairs, option, _what(plain), _what(varied), pair[0], pair[1]))
    return comparisons


def _at_ratio(pairs: PairedPredictions, scheme: Scheme, gate: str, scores: Floats, ratio: float) -> Point:
    threshold = threshold_for_ratio(scores, ratio)
    named = replace(_named(scheme), gate=gate, tau=threshold)
    return make_point(pairs, named, offloaded(scores, threshold), pairs.payload(scheme))


def _payload_pairs(pairs: PairedPredictions) -> Iterator[tuple[str, Scheme, Scheme]]:
    """Yield (option, varied, plain): each rival with the attention sum that keeps the same mean share."""
    for scheme in pairs.answers:
        if isinstance(scheme, Tiered):
            plain: Scheme | None = Ranked(scheme.rule, scheme.codec, 75)
            option = "quality by attention"
        elif isinstance(scheme, Ranked) and scheme.codec == "raw":
            option, plain = _ranked_pair(pairs, scheme)
        else:
            continue
        if plain is not None and plain in pairs.answers and plain != scheme:
            yield option, scheme, plain


def _ranked_pair(pairs: PairedPredictions, scheme: Ranked) -> tuple[str, Scheme | None]:
    rule, source = scheme.rule, scheme.source
    if source == EDGE and rule.name == "attention_sum":
        return f"floor of {rule.min_patches}", Ranked(Rule("attention_sum", rule.delta))
    if rule.name == "keep_crossing":
        return "keep the crossing patch", Ranked(Rule("attention_sum", rule.delta))
    names = {
        EDGE_LAYER_ROLLOUT: "layer-selective rollout",
        EDGE_ROLLOUT: "rollout",
        SERVER: "server attention",
    }
    return names.get(source, rule.name.replace("_", "-")), _same_share(pairs, scheme)


def _same_share(pairs: PairedPredictions, scheme: Ranked) -> Scheme | None:
    """Return the plain attention sum whose mean kept share is nearest, if it is near."""
    share = pairs.answers[scheme].processed.mean() / 196
    plain = [
        each
        for each in pairs.answers
        if isinstance(each, Ranked) and each == Ranked(Rule("attention_sum", each.rule.delta))
    ]
    if not plain:
        return None
    gaps = [abs(pairs.answers[each].processed.mean() / 196 - share) for each in plain]
    nearest = int(np.argmin(gaps))
    return plain[nearest] if gaps[nearest] <= _SAME_SHARE else None


def _named(scheme: Scheme) -> Setting:
    setting = setting_of(scheme)
    assert setting is not None, "only gated schemes are compared"
    return setting


def _what(scheme: Scheme) -> str:
    setting = _named(scheme)
    kept = "whole image" if setting.delta == 1 else f"{setting.selection} {setting.delta:g}"
    floor = f", floor {setting.min_patches}" if setting.min_patches == FLOOR else ""
    plain_name = setting.codec == "raw" or isinstance(scheme, Tiered)
    codec = setting.codec if plain_name else f"{setting.codec}-{setting.quality}"
    return f"{kept}{floor}, {codec}"


def _change(value: float, reference: float) -> float:
    return value / reference - 1.0 if reference else float("nan")
