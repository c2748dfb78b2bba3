from collections.abc import Callable

import pytest

from lab.evaluation.comparisons import (
    COMPARED_RATIOS,
    fused_comparisons,
    gate_comparisons,
    payload_comparisons,
)
from lab.evaluation.paired import PairedPredictions
from lab.evaluation.schemes import EDGE_LAYER_ROLLOUT, Ranked, Tiered, Whole
from lab.evaluation.selection import Rule

PLAIN = Ranked(Rule("attention_sum", 0.6))


def test_gates_are_compared_at_equal_ratios(pair_up: Callable[..., PairedPredictions]) -> None:
    comparisons = gate_comparisons(pair_up({Whole(): 0.9}, size=600))
    assert {each.option for each in comparisons} == {"shannon gate", "margin gate"}
    for each in comparisons:
        assert min(abs(each.offload_ratio - ratio) for ratio in COMPARED_RATIOS) < 0.003
        assert each.interval[0] <= each.gain <= each.interval[1]
        assert each.split == "all"


def test_a_better_payload_shows_as_a_gain_with_its_change_of_bytes(
    pair_up: Callable[..., PairedPredictions],
) -> None:
    pairs = pair_up(
        {
            Whole(): 0.95,
            PLAIN: 0.5,
            Ranked(PLAIN.rule, source=EDGE_LAYER_ROLLOUT): 0.9,
            Ranked(Rule("attention_sum", 0.6, 120)): 0.9,
            Ranked(Rule("keep_crossing", 0.6)): 0.55,
        },
        size=1000,
    )
    found = {each.option: each for each in payload_comparisons(pairs) if each.offload_ratio == 1.0}
    assert set(found) == {"layer-selective rollout", "floor of 120", "keep the crossing patch"}
    assert found["layer-selective rollout"].gain == pytest.approx(0.4, abs=0.06)
    assert found["layer-selective rollout"].interval[0] > 0.3
    assert found["floor of 120"].bytes_change > 0.5
    assert found["floor of 120"].macs_change > 0.5


def test_tiers_are_held_against_the_same_patches_at_one_quality(
    pair_up: Callable[..., PairedPredictions],
) -> None:
    rule = PLAIN.rule
    pairs = pair_up({Whole(): 0.9, Ranked(rule, "webp", 75): 0.7, Tiered(rule, "webp", 90, 50): 0.7})
    options = {each.option for each in payload_comparisons(pairs)}
    assert options == {"quality by attention"}


def test_equal_weights_compare_payloads_only_with_everything_sent(
    pair_up: Callable[..., PairedPredictions],
) -> None:
    pairs = pair_up({Whole(): 0.9, PLAIN: 0.5, Ranked(Rule("keep_crossing", 0.6)): 0.5}, same=True)
    assert {each.offload_ratio for each in payload_comparisons(pairs)} == {1.0}


def test_the_edges_own_answer_joins_the_servers(pair_up: Callable[..., PairedPredictions]) -> None:
    """Two independent answers together are right more often than either."""
    pairs = pair_up({Whole("avif", 45): 0.7}, size=4000)
    pairs.answers[Whole("avif", 45)].probabilities[:] = 0.7
    comparisons, points = fused_comparisons(pairs)
    assert [each.setting for each in comparisons] == [
        "whole image, avif-45, all sent",
        "whole image, avif-45, gated",
    ]
    assert {each.split for each in comparisons} == {"test"}
    everything = comparisons[0]
    assert everything.offload_ratio == 1.0
    assert everything.interval[0] > 0
    assert everything.bytes_change == 0
    assert [point.setting.method for point in points] == ["fused", "fused"]
