from collections.abc import Callable

import pytest

from lab.evaluation.comparisons import COMPARED_RATIOS, gate_comparisons, payload_comparisons
from lab.evaluation.selection import Rule
from lab.evaluation.study import Study
from lab.evaluation.treatments import EDGE_LAYER_ROLLOUT, Ranked, Tiered, Whole

PLAIN = Ranked(Rule("attention_sum", 0.6))


def test_gates_are_compared_at_equal_ratios_and_fitted_ones_on_the_test_half(
    make_study: Callable[..., Study],
) -> None:
    study = make_study({Whole(): 0.9}, size=600)
    comparisons, points = gate_comparisons(study)
    assert {each.option for each in comparisons} == {
        "shannon gate",
        "margin gate",
        "temperature gate",
        "deferral gate",
    }
    for each in comparisons:
        assert min(abs(each.offload_ratio - ratio) for ratio in COMPARED_RATIOS) < 0.003
        assert each.interval[0] <= each.gain <= each.interval[1]
        fitted = each.option in {"temperature gate", "deferral gate"}
        assert each.split == ("test" if fitted else "all")
    assert len(points) == 2 * len(COMPARED_RATIOS)
    assert {each.split for each in points} == {"test"}


def test_a_better_payload_shows_as_a_gain_with_its_change_of_bytes(make_study: Callable[..., Study]) -> None:
    study = make_study(
        {
            Whole(): 0.95,
            PLAIN: 0.5,
            Ranked(PLAIN.rule, source=EDGE_LAYER_ROLLOUT): 0.9,
            Ranked(Rule("attention_sum", 0.6, 120)): 0.9,
            Ranked(Rule("keep_crossing", 0.6)): 0.55,
        },
        size=1000,
    )
    found = {each.option: each for each in payload_comparisons(study) if each.offload_ratio == 1.0}
    assert set(found) == {"layer-selective rollout", "floor of 120", "keep the crossing patch"}
    assert found["layer-selective rollout"].gain == pytest.approx(0.4, abs=0.06)
    assert found["layer-selective rollout"].interval[0] > 0.3
    assert found["floor of 120"].bytes_change > 0.5
    assert found["floor of 120"].macs_change > 0.5


def test_tiers_are_held_against_the_same_patches_at_one_quality(make_study: Callable[..., Study]) -> None:
    rule = PLAIN.rule
    study = make_study({Whole(): 0.9, Ranked(rule, "webp", 75): 0.7, Tiered(rule, "webp", 90, 50): 0.7})
    options = {each.option for each in payload_comparisons(study)}
    assert options == {"quality by attention"}


def test_equal_weights_compare_payloads_only_with_everything_sent(make_study: Callable[..., Study]) -> None:
    study = make_study({Whole(): 0.9, PLAIN: 0.5, Ranked(Rule("keep_crossing", 0.6)): 0.5}, same=True)
    assert {each.offload_ratio for each in payload_comparisons(study)} == {1.0}
