"""What each variation of the method gains or loses against the plain method, paired on the same images. Pure.

Fixed settings are compared on all images; whatever was fitted, on the test half.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from lab.evaluation.bootstrap import Interval, paired_difference
from lab.evaluation.catalogue import FLOOR, HEADLINE_DELTA
from lab.evaluation.confidence import fit_temperature
from lab.evaluation.deferral import fit_deferral
from lab.evaluation.gates import (
    margin_scores,
    offloaded,
    shannon_scores,
    temperature_scores,
    threshold_for_ratio,
)
from lab.evaluation.methods import setting_of
from lab.evaluation.points import ALL, TEST, Point, Setting, make_point, split_rows
from lab.evaluation.selection import Rule
from lab.evaluation.study import Floats, Study
from lab.evaluation.treatments import (
    EDGE,
    EDGE_LAYER_ROLLOUT,
    EDGE_ROLLOUT,
    SERVER,
    Ranked,
    Tiered,
    Treatment,
    Whole,
)

COMPARED_RATIOS: Final = (0.2, 0.4, 0.6)
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


def compare(study: Study, option: str, against: str, setting: str, varied: Point, plain: Point) -> Comparison:
    """Return the comparison of two points of the same split."""
    rows = np.arange(study.num_images) if varied.split == ALL else np.flatnonzero(~study.calibration)
    clusters = None if study.clusters is None else study.clusters[rows]
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


def gate_comparisons(study: Study) -> tuple[list[Comparison], list[Point]]:
    """Return margin, Shannon, temperature and learned deferral against min-entropy, and the fitted gates'
    points.

    Gates are fitted on the calibration half and compared on the test half, those without a fit on all
    images; thresholds are set to the same offload ratio there.
    """
    comparisons: list[Comparison] = []
    points: list[Point] = []
    for treatment in (Whole(), Ranked(Rule("attention_sum", HEADLINE_DELTA)), Whole("webp", 75)):
        if treatment not in study.answers:
            continue
        for gate, scores in _gate_scores(study, treatment).items():
            split = TEST if gate in {"temperature", "deferral"} else ALL
            for ratio in COMPARED_RATIOS:
                varied = _at_ratio(study, treatment, gate, scores, ratio, split)
                plain = _at_ratio(study, treatment, "min_entropy", study.h_min, ratio, split)
                comparisons.append(
                    compare(study, f"{gate} gate", "min-entropy gate", _what(treatment), varied, plain)
                )
                if split == TEST:
                    points.append(varied)
    return comparisons, points


def payload_comparisons(study: Study) -> list[Comparison]:
    """Return selection rules, the floor and tiers against the plain payload; everything sent, and at 40 %."""
    comparisons = []
    for option, varied, plain in _payload_pairs(study):
        ratios = (1.0,) if study.same_weights else (1.0, 0.4)
        for ratio in ratios:
            share = threshold_for_ratio(study.h_min, ratio)
            pair = [
                make_point(study, _named(each), offloaded(study.h_min, share), study.payload(each))
                for each in (varied, plain)
            ]
            comparisons.append(compare(study, option, _what(plain), _what(varied), pair[0], pair[1]))
    return comparisons


def _gate_scores(study: Study, treatment: Treatment) -> dict[str, Floats]:
    half = study.calibration
    logits = study.edge_logits
    scores: dict[str, Floats] = {"shannon": shannon_scores(logits), "margin": margin_scores(logits)}
    if half.any() and not half.all():
        temperature = fit_temperature(logits[half], study.truth[half])
        scores["temperature"] = temperature_scores(logits, temperature)
        server_correct = study.payload(treatment).correct > 0
        gate = fit_deferral(logits[half], study.edge_correct[half], server_correct[half])
        scores["deferral"] = gate.score(logits)
    return scores


def _at_ratio(
    study: Study, treatment: Treatment, gate: str, scores: Floats, ratio: float, split: str
) -> Point:
    # A threshold by rank needs no labels, so it may see the split that it is measured on.
    threshold = threshold_for_ratio(scores[split_rows(study, split)], ratio)
    setting = _named(treatment)
    named = replace(setting, gate=gate, tau=threshold)
    return make_point(study, named, offloaded(scores, threshold), study.payload(treatment), split)


def _payload_pairs(study: Study) -> Iterator[tuple[str, Treatment, Treatment]]:
    """Yield (option, varied, plain): each rival with the attention sum that keeps the same mean share."""
    for treatment in study.answers:
        if isinstance(treatment, Tiered):
            plain: Treatment | None = Ranked(treatment.rule, treatment.codec, 75)
            option = "quality by attention"
        elif isinstance(treatment, Ranked) and treatment.codec == "raw":
            option, plain = _ranked_pair(study, treatment)
        else:
            continue
        if plain is not None and plain in study.answers and plain != treatment:
            yield option, treatment, plain


def _ranked_pair(study: Study, treatment: Ranked) -> tuple[str, Treatment | None]:
    rule, source = treatment.rule, treatment.source
    if source == EDGE and rule.name == "attention_sum":
        return f"floor of {rule.min_patches}", Ranked(Rule("attention_sum", rule.delta))
    if rule.name == "keep_crossing":
        return "keep the crossing patch", Ranked(Rule("attention_sum", rule.delta))
    names = {
        EDGE_LAYER_ROLLOUT: "layer-selective rollout",
        EDGE_ROLLOUT: "rollout",
        SERVER: "server attention",
    }
    return names.get(source, rule.name.replace("_", "-")), _same_share(study, treatment)


def _same_share(study: Study, treatment: Ranked) -> Treatment | None:
    """Return the plain attention sum whose mean kept share is nearest, if it is near."""
    share = study.answers[treatment].processed.mean() / 196
    plain = [
        each
        for each in study.answers
        if isinstance(each, Ranked) and each == Ranked(Rule("attention_sum", each.rule.delta))
    ]
    if not plain:
        return None
    gaps = [abs(study.answers[each].processed.mean() / 196 - share) for each in plain]
    nearest = int(np.argmin(gaps))
    return plain[nearest] if gaps[nearest] <= _SAME_SHARE else None


def _named(treatment: Treatment) -> Setting:
    setting = setting_of(treatment)
    assert setting is not None, "only gated treatments are compared"
    return setting


def _what(treatment: Treatment) -> str:
    setting = _named(treatment)
    kept = "whole image" if setting.delta == 1 else f"{setting.selection} {setting.delta:g}"
    floor = f", floor {setting.min_patches}" if setting.min_patches == FLOOR else ""
    plain_name = setting.codec == "raw" or isinstance(treatment, Tiered)
    codec = setting.codec if plain_name else f"{setting.codec}-{setting.quality}"
    return f"{kept}{floor}, {codec}"


def _change(value: float, reference: float) -> float:
    return value / reference - 1.0 if reference else float("nan")
