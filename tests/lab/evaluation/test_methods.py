from collections.abc import Callable

import numpy as np
import pytest

from lab.evaluation.gates import PAPER_TAUS, tau_grid
from lab.evaluation.methods import all_points
from lab.evaluation.paired import PairedPredictions
from lab.evaluation.points import METHODS, Point
from lab.evaluation.schemes import (
    DetailOnRequest,
    Downscaled,
    MaskedFill,
    RandomPatches,
    Ranked,
    Scheme,
    Whole,
)
from lab.evaluation.selection import Rule

HEADLINE = Ranked(Rule("attention_sum", 0.97))
QUARTER = Rule("top_k", 0.25)
SCHEMES: dict[Scheme, float] = {
    Whole(): 0.9,
    HEADLINE: 0.85,
    Whole("webp", 75): 0.88,
    RandomPatches(QUARTER, 1): 0.5,
    RandomPatches(QUARTER, 2): 0.6,
    RandomPatches(QUARTER, 3): 0.55,
    Downscaled(2): 0.7,
    MaskedFill(0.25, 1): 0.4,
    MaskedFill(0.25, 1, 0.25): 0.6,
}


def by_method(points: list[Point]) -> dict[str, list[Point]]:
    grouped: dict[str, list[Point]] = {}
    for point in points:
        grouped.setdefault(point.setting.method, []).append(point)
    return grouped


@pytest.fixture
def pairs(pair_up: Callable[..., PairedPredictions]) -> PairedPredictions:
    return pair_up({**SCHEMES, DetailOnRequest(2, 0.25): 0.8})


def test_every_method_is_measured(pairs: PairedPredictions) -> None:
    assert set(by_method(all_points(pairs))) == set(METHODS)


def test_every_point_has_exactly_the_published_keys_and_sane_figures(pairs: PairedPredictions) -> None:
    keys = [
        *(
            "method",
            "gate",
            "tau",
            "selection",
            "delta",
            "min_patches",
            "codec",
            "quality",
            "memory",
            "split",
        ),
        *("accuracy", "accuracy_ci", "offload_ratio", "patches_mean", "bytes_per_offload"),
        *("patch_cost", "bytes_per_frame", "server_macs"),
    ]
    for point in all_points(pairs):
        document = point.to_json()
        assert list(document) == keys
        low, high = point.accuracy_ci
        assert 0 <= low <= point.figures.accuracy <= high <= 1
        assert document["split"] == "all"


def test_the_gated_point_equals_a_loop_over_images(pairs: PairedPredictions) -> None:
    (point,) = [
        each
        for each in all_points(pairs)
        if each.setting.method == "saccade"
        and each.setting.tau == 0.8
        and each.setting.delta == 0.97
        and each.setting.gate == "min_entropy"
    ]
    probabilities = np.exp(pairs.edge_logits) / np.exp(pairs.edge_logits).sum(1, keepdims=True)
    answers = pairs.answers[HEADLINE]
    right = sent = patches = num_bytes = 0
    for idx in range(pairs.num_images):
        if -np.log2(probabilities[idx].max()) < 0.8:
            right += probabilities[idx].argmax() == pairs.truth[idx]
        else:
            right += answers.top1[idx] == pairs.truth[idx]
            sent += 1
            patches += answers.sent_patches[idx]
            num_bytes += answers.wire_bytes[idx]
    assert point.figures.accuracy == pytest.approx(right / 200)
    assert point.figures.offload_ratio == pytest.approx(sent / 200)
    assert point.figures.patches_mean == pytest.approx(patches / sent)
    assert point.figures.patch_cost == pytest.approx(patches / (196 * 200))
    assert point.figures.bytes_per_frame == pytest.approx(num_bytes / 200)


def test_the_grids_are_complete(pairs: PairedPredictions) -> None:
    grouped = by_method(all_points(pairs))
    gated = [each.setting.tau for each in grouped["codec_gate"] if each.setting.gate == "min_entropy"]
    assert set(gated) == set(tau_grid(pairs.h_min))
    assert set(PAPER_TAUS) <= set(gated)
    assert [each.setting.tau for each in grouped["edge_only"]] == [None]
    assert {each.setting.tau for each in grouped["server_only"]} == {0.0}
    assert {each.setting.codec for each in grouped["server_only"]} == {"raw", "webp"}


def test_server_only_and_edge_only_are_the_models_own_accuracies(pairs: PairedPredictions) -> None:
    grouped = by_method(all_points(pairs))
    raw = next(each for each in grouped["server_only"] if each.setting.codec == "raw")
    assert raw.figures.accuracy == pairs.server_correct.mean()
    assert raw.figures.patch_cost == 1.0
    assert grouped["edge_only"][0].figures.accuracy == pairs.edge_correct.mean()
    assert grouped["edge_only"][0].figures.bytes_per_frame == 0


def test_the_oracle_beats_every_gate_of_the_same_payload(pairs: PairedPredictions) -> None:
    grouped = by_method(all_points(pairs))
    for best in grouped["oracle_gate"]:
        same = [
            each
            for name in ("saccade", "codec_gate", "random_gate")
            for each in grouped[name]
            if (each.setting.codec, each.setting.delta) == (best.setting.codec, best.setting.delta)
        ]
        assert all(best.figures.accuracy >= each.figures.accuracy - 1e-12 for each in same)


def test_random_patches_are_the_mean_of_their_seeds(pairs: PairedPredictions) -> None:
    grouped = by_method(all_points(pairs))
    (everything,) = [each for each in grouped["random_patches"] if each.setting.tau == 0.0]
    seeds = [pairs.payload(RandomPatches(QUARTER, seed)).correct.mean() for seed in (1, 2, 3)]
    assert everything.figures.accuracy == pytest.approx(np.mean(seeds))


def test_equal_weights_leave_out_what_means_nothing(pair_up: Callable[..., PairedPredictions]) -> None:
    grouped = by_method(all_points(pair_up(SCHEMES, same=True)))
    assert not {"oracle_gate", "random_gate", "codec_gate"} & set(grouped)
    assert {each.setting.tau for each in grouped["saccade"]} == {0.0}


def test_streams_have_wider_intervals(pair_up: Callable[..., PairedPredictions]) -> None:
    """Whole cameras are resampled, which no more than widens what can be said."""
    pairs = pair_up({Whole(): 0.9}, clusters=True)
    assert all(low <= high for low, high in (each.accuracy_ci for each in all_points(pairs)))
