"""The operating points of every method at fixed grids, measured on all images. Pure."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lab.evaluation.experiments import PAPER_DELTAS
from lab.evaluation.gates import (
    MATCHED_RATIOS,
    PAPER_TAUS,
    margin_scores,
    offloaded,
    oracle,
    shannon_scores,
    tau_grid,
    threshold_for_ratio,
)
from lab.evaluation.paired import PairedPredictions
from lab.evaluation.points import ALL, Point, Setting, make_point, with_tau
from lab.evaluation.schemes import (
    EDGE,
    EDGE_LAYER_ROLLOUT,
    EDGE_ROLLOUT,
    MEAN_FILL,
    SERVER,
    DetailOnRequest,
    Downscaled,
    MaskedFill,
    RandomPatches,
    Ranked,
    Scheme,
    Tiered,
    Whole,
)
from lab.evaluation.sweep import Payload, mean_payload, random_gate_share, two_rounds

MIN_ENTROPY = "min_entropy"
_SELECTION_BY_SOURCE = {
    EDGE_ROLLOUT: "rollout",
    EDGE_LAYER_ROLLOUT: "layer_rollout",
    SERVER: "server_attention",
}
_RULE_NAMES = {"keep_crossing": "attention_sum_crossing"}


def all_points(pairs: PairedPredictions, split: str = ALL) -> list[Point]:
    """Return every fixed-grid point that has a meaning for this pair of models.

    Settings and their order do not depend on the split that they are measured on.
    """
    points = [edge_only(pairs, split)]
    for scheme in pairs.answers:
        points.extend(gated_points(pairs, scheme, split))
    points.extend(random_patch_points(pairs, split))
    points.extend(two_round_points(pairs, split))
    if not pairs.same_weights:
        points.extend(rival_gate_points(pairs, split))
    return points


def edge_only(pairs: PairedPredictions, split: str = ALL) -> Point:
    """Return the point where nothing is ever sent."""
    nothing = np.zeros(pairs.num_images)
    setting = Setting("edge_only", None, None)
    return make_point(pairs, setting, nothing, Payload(nothing, nothing, nothing, nothing), split)


def setting_of(scheme: Scheme) -> Setting | None:
    """Return the min-entropy gated setting of a scheme; None for those that are measured in groups."""
    match scheme:
        case Whole(codec, quality):
            method = "saccade" if codec == "raw" else "codec_gate"
            return Setting(method, MIN_ENTROPY, None, "attention_sum", 1.0, 1, codec, quality)
        case Ranked(rule, codec, quality, source):
            name = _SELECTION_BY_SOURCE.get(source) or _RULE_NAMES.get(rule.name, rule.name)
            return Setting("saccade", MIN_ENTROPY, None, name, rule.delta, rule.min_patches, codec, quality)
        case Tiered(rule, codec, sharp, soft):
            tiers = f"{codec}_{sharp}/{soft}"
            return Setting(
                "saccade", MIN_ENTROPY, None, "attention_sum", rule.delta, rule.min_patches, tiers, sharp
            )
        case Downscaled(scale, upsampler):
            return Setting("isr", None, 0.0, f"{upsampler}_1/{scale}", None, None, "raw", 0)
        case MaskedFill(share, _, known, filler) if known == 0:
            return Setting("mot", None, 0.0, _random_name(filler), share, None, "raw", 0)
        case _:
            return None


def gated_points(pairs: PairedPredictions, scheme: Scheme, split: str = ALL) -> Iterator[Point]:
    """Yield a scheme's points over the grid of tau, and at tau 0 (everything sent)."""
    setting = setting_of(scheme)
    if setting is None:
        return
    payload = pairs.payload(scheme)
    everything = np.ones(pairs.num_images, dtype=np.bool_)
    if setting.gate is None:
        yield make_point(pairs, setting, everything, payload, split)
        return
    if isinstance(scheme, Whole):
        yield make_point(pairs, server_only_setting(scheme), everything, payload, split)
    if setting.method == "saccade":
        yield make_point(pairs, with_tau(setting, 0.0), everything, payload, split)
    if not pairs.same_weights:
        for tau in tau_grid(pairs.h_min):
            offload = offloaded(pairs.h_min, tau)
            yield make_point(pairs, with_tau(setting, tau), offload, payload, split)


def server_only_setting(scheme: Whole) -> Setting:
    """Return the setting that sends every whole image."""
    codec, quality = scheme.codec, scheme.quality
    return Setting("server_only", None, 0.0, "attention_sum", 1.0, 1, codec, quality)


def random_patch_points(pairs: PairedPredictions, split: str = ALL) -> Iterator[Point]:
    """Yield the points of patches chosen by lot: the mean over all seeds of a rule and codec."""
    groups: dict[tuple[object, ...], list[RandomPatches]] = {}
    for scheme in pairs.answers:
        if isinstance(scheme, RandomPatches):
            key = (scheme.rule, scheme.codec, scheme.quality, scheme.source)
            groups.setdefault(key, []).append(scheme)
    for draws in groups.values():
        payload = mean_payload([pairs.payload(each) for each in draws])
        rule, codec, quality = draws[0].rule, draws[0].codec, draws[0].quality
        setting = Setting(
            "random_patches", MIN_ENTROPY, 0.0, "random", rule.delta, rule.min_patches, codec, quality
        )
        yield make_point(pairs, setting, np.ones(pairs.num_images, dtype=np.bool_), payload, split)
        if not pairs.same_weights:
            for tau in tau_grid(pairs.h_min):
                offload = offloaded(pairs.h_min, tau)
                yield make_point(pairs, with_tau(setting, tau), offload, payload, split)


def two_round_points(pairs: PairedPredictions, split: str = ALL) -> Iterator[Point]:
    """Yield the points of sdt and a_mot: the server's own threshold decides on the second round."""
    for scheme in pairs.answers:
        match scheme:
            case DetailOnRequest(scale, share) if Downscaled(scale) in pairs.answers:
                first: Scheme = Downscaled(scale)
                selection = f"server_attention_after_1/{scale}"
                setting = Setting("sdt", "server_min_entropy", None, selection, share, None, "raw", 0)
            case MaskedFill(share, seed, known) if known and MaskedFill(known, seed) in pairs.answers:
                first = MaskedFill(known, seed)
                setting = Setting(
                    "a_mot", "server_min_entropy", None, "random", known + share, None, "raw", 0
                )
            case _:
                continue
        once, again = pairs.payload(first), pairs.payload(scheme)
        doubt = pairs.server_doubt(first)
        for tau in (*PAPER_TAUS, 0.0):
            payload = two_rounds(once, doubt, again, tau)
            everything = np.ones(pairs.num_images, dtype=np.bool_)
            yield make_point(pairs, with_tau(setting, tau), everything, payload, split)


def rival_gate_points(pairs: PairedPredictions, split: str = ALL) -> Iterator[Point]:
    """Yield the points of other gates on the same payloads: lots, the oracle, Shannon entropy and margin."""
    scored = {"shannon": shannon_scores(pairs.edge_logits), "margin": margin_scores(pairs.edge_logits)}
    for scheme in pairs.answers:
        setting = setting_of(scheme)
        if setting is None or setting.gate is None:
            continue
        payload = pairs.payload(scheme)
        yield from _lot_and_oracle(pairs, setting, payload, split)
        if not _is_compared(scheme):
            continue
        for gate, scores in scored.items():
            for ratio in MATCHED_RATIOS:
                threshold = threshold_for_ratio(scores, ratio)
                named = replace(setting, gate=gate, tau=threshold)
                yield make_point(pairs, named, offloaded(scores, threshold), payload, split)


def _random_name(filler: str) -> str:
    return "random" if filler == MEAN_FILL else f"random_{filler}"


def _lot_and_oracle(
    pairs: PairedPredictions, setting: Setting, payload: Payload, split: str
) -> Iterator[Point]:
    best = oracle(pairs.edge_correct, payload.correct > 0)
    yield make_point(pairs, replace(setting, method="oracle_gate", gate="oracle"), best, payload, split)
    for tau in tau_grid(pairs.h_min):
        ratio = float(offloaded(pairs.h_min, tau).mean())
        lots = random_gate_share(pairs.num_images, ratio)
        named = replace(setting, method="random_gate", gate="random", tau=tau)
        yield make_point(pairs, named, lots, payload, split)


def _is_compared(scheme: Scheme) -> bool:
    """Return whether all gates are compared on it: whole images, and raw patches at the paper's deltas."""
    match scheme:
        case Whole():
            return True
        case Ranked(rule, _, _, source):
            return source == EDGE and rule.name == "attention_sum" and rule.delta in PAPER_DELTAS
        case _:
            return False
