from collections.abc import Callable

import pytest

from lab.evaluation.chosen import (
    AXES,
    CODED_PATCHES,
    RAW_PATCHES,
    WHOLE_CODEC,
    best_within,
    candidates,
    frontier_candidates,
    method_frontiers,
    paper_curve_points,
    verdicts,
)
from lab.evaluation.methods import all_points
from lab.evaluation.paired import PairedPredictions
from lab.evaluation.schemes import Ranked, Whole
from lab.evaluation.selection import Rule


@pytest.fixture
def pairs(pair_up: Callable[..., PairedPredictions]) -> PairedPredictions:
    return pair_up(
        {
            Whole(): 0.95,
            Whole("webp", 75): 0.9,
            Ranked(Rule("attention_sum", 0.5)): 0.8,
            Ranked(Rule("attention_sum", 0.5), "webp", 75): 0.75,
        },
        size=400,
    )


def test_a_choice_is_made_on_one_half_and_reported_on_the_other(pairs: PairedPredictions) -> None:
    options = candidates(pairs)
    assert {each.family for each in options} == {RAW_PATCHES, CODED_PATCHES, WHOLE_CODEC}
    assert {each.calibration.split for each in options} == {"calibration"}
    assert {each.test.split for each in options} == {"test"}
    budget = 1500.0
    best = best_within(options, lambda point: point.figures.bytes_per_frame, budget)
    assert best is not None
    within = [each for each in options if each.calibration.figures.bytes_per_frame <= budget]
    top = max(each.calibration.figures.accuracy for each in within)
    assert best.calibration.figures.accuracy == top
    assert best_within(options, lambda point: point.figures.bytes_per_frame, -1.0) is None


def test_the_frontier_rises_on_the_calibration_half(pairs: PairedPredictions) -> None:
    chosen = frontier_candidates(candidates(pairs))
    costs = [each.calibration.figures.bytes_per_frame for each in chosen]
    accuracies = [each.calibration.figures.accuracy for each in chosen]
    assert costs == sorted(costs)
    assert accuracies == sorted(set(accuracies))


def test_verdicts_compare_families_at_each_budget(pairs: PairedPredictions) -> None:
    found = verdicts(pairs, candidates(pairs))
    assert {each.axis for each in found} == {"bytes_per_frame", "server_macs"}
    judged = [each for each in found if each.gain is not None]
    assert judged
    for each in judged:
        assert each.interval is not None
        assert each.gain is not None
        assert each.interval[0] <= each.gain <= each.interval[1]


def test_the_papers_costs_are_kept(pairs: PairedPredictions) -> None:
    for budget, point in paper_curve_points(candidates(pairs)):
        assert point.setting.codec == "raw"
        assert point.figures.patch_cost < budget * 1.3


@pytest.mark.slow
def test_each_methods_frontier_is_chosen_on_one_half_and_reported_on_the_other(
    pairs: PairedPredictions,
) -> None:
    """Recomputed for one method from the points of the calibration half."""
    by_setting = {
        point.setting: point
        for point in all_points(pairs, "calibration")
        if point.setting.method == "saccade"
    }
    for axis, cost in AXES.items():
        front = [point for point in method_frontiers(pairs)[axis] if point.setting.method == "saccade"]
        assert front
        assert {point.split for point in front} == {"test"}
        for point in front:
            here = by_setting[point.setting]
            better = [
                each
                for each in by_setting.values()
                if cost(each) <= cost(here) and each.figures.accuracy > here.figures.accuracy
            ]
            assert not better
