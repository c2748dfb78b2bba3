"""Points that somebody would choose: picked on the calibration half, reported on the test half. Pure.

Families of methods are compared at budgets of bytes or of server work. At each budget every family fields the
setting that did best on the calibration half among those within the budget there; the test half then judges.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from lab.evaluation.bootstrap import Interval, paired_difference
from lab.evaluation.gates import offloaded
from lab.evaluation.methods import all_points, setting_of
from lab.evaluation.paired import PairedPredictions
from lab.evaluation.points import CALIBRATION, TEST, Point, make_point
from lab.evaluation.schemes import EDGE, Ranked, Scheme, Whole
from lab.evaluation.sweep import pareto_rows

PATCH_COST_BUDGETS: Final = (0.20, 0.25, 0.32, 0.45)
"""Costs at which the paper's curve is compared, in units of raw whole images."""
BYTE_BUDGETS: Final = (250, 500, 1000, 2000, 4000, 8000)
SERVER_SHARES: Final = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Budgets of server work, as shares of a whole-image pass for every frame."""
QUANTILE_STEPS: Final = 20

Cost = Callable[[Point], float]
AXES: Final[dict[str, Cost]] = {
    "bytes_per_frame": lambda point: point.figures.bytes_per_frame,
    "patch_cost": lambda point: point.figures.patch_cost,
    "server_macs": lambda point: point.figures.server_macs,
}
"""What a setting costs, by the name of the field in results.json."""

RAW_PATCHES: Final = "raw patches + gate"
CODED_PATCHES: Final = "coded patches + gate"
WHOLE_CODEC: Final = "whole image by codec + gate"
FAMILIES: Final = (RAW_PATCHES, CODED_PATCHES, WHOLE_CODEC)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A gated setting measured on both halves."""

    family: str
    calibration: Point
    test: Point


@dataclass(frozen=True, slots=True)
class FamilyVerdict:
    """The families' choices at one budget; `gain` is what coded patches win over the whole-image codec."""

    axis: str
    budget: float
    choices: dict[str, Point]
    gain: float | None
    interval: Interval | None


def candidates(pairs: PairedPredictions) -> list[Candidate]:
    """Return every plain gated setting at fine steps of tau, on both halves."""
    taus = sorted({round(float(tau), 4) for tau in _tau_steps(pairs)} | {0.0})
    found = []
    for scheme in pairs.answers:
        family, setting = _family(scheme), setting_of(scheme)
        if family is None or setting is None:
            continue
        payload = pairs.payload(scheme)
        for tau in taus:
            offload, named = offloaded(pairs.h_min, tau), replace(setting, tau=tau)
            found.append(
                Candidate(
                    family,
                    make_point(pairs, named, offload, payload, CALIBRATION),
                    make_point(pairs, named, offload, payload, TEST),
                )
            )
    return found


def method_frontiers(pairs: PairedPredictions) -> dict[str, list[Point]]:
    """Return by axis, for every method, the settings that no other of it beats on the calibration half.

    The points are those of the test half, by rising cost within each method.
    """
    chosen_on, reported = all_points(pairs, CALIBRATION), all_points(pairs, TEST)
    methods = dict.fromkeys(point.setting.method for point in reported)
    found: dict[str, list[Point]] = {}
    for axis, cost in AXES.items():
        found[axis] = []
        for method in methods:
            rows = [row for row, point in enumerate(reported) if point.setting.method == method]
            front = pareto_rows(
                [cost(chosen_on[row]) for row in rows], [chosen_on[row].figures.accuracy for row in rows]
            )
            found[axis] += sorted((reported[rows[place]] for place in front), key=cost)
    return found


def best_within(options: Sequence[Candidate], cost: Cost, budget: float) -> Candidate | None:
    """Return the candidate that is most accurate on the calibration half within the budget there; cheaper on
    a tie.
    """
    affordable = [each for each in options if cost(each.calibration) <= budget]
    if not affordable:
        return None
    return max(affordable, key=lambda each: (each.calibration.figures.accuracy, -cost(each.calibration)))


def verdicts(pairs: PairedPredictions, options: Sequence[Candidate]) -> list[FamilyVerdict]:
    """Return the comparison of families at budgets of bytes a frame and of server work a frame."""
    full = pairs.payload(Whole()).server_macs[0] if Whole() in pairs.answers else 0.0
    budgets: dict[str, Sequence[float]] = {
        "bytes_per_frame": BYTE_BUDGETS,
        "server_macs": [full * share for share in SERVER_SHARES],
    }
    return [
        _verdict(pairs, options, axis, AXES[axis], budget) for axis in budgets for budget in budgets[axis]
    ]


def paper_curve_points(options: Sequence[Candidate]) -> list[tuple[float, Point]]:
    """Return (budget, test point) of raw patches at the paper's costs."""
    raw = [each for each in options if each.family == RAW_PATCHES]
    found = [(budget, best_within(raw, AXES["patch_cost"], budget)) for budget in PATCH_COST_BUDGETS]
    return [(budget, each.test) for budget, each in found if each is not None]


def frontier_candidates(options: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates on the calibration half's frontier of bytes a frame against accuracy."""
    rows = pareto_rows(
        [each.calibration.figures.bytes_per_frame for each in options],
        [each.calibration.figures.accuracy for each in options],
    )
    return [options[row] for row in rows]


def _verdict(
    pairs: PairedPredictions,
    options: Sequence[Candidate],
    axis: str,
    cost: Cost,
    budget: float,
) -> FamilyVerdict:
    choices: dict[str, Point] = {}
    for family in FAMILIES:
        best = best_within([each for each in options if each.family == family], cost, budget)
        if best is not None:
            choices[family] = best.test
    if CODED_PATCHES not in choices or WHOLE_CODEC not in choices:
        return FamilyVerdict(axis, budget, choices, None, None)
    clusters = None if pairs.clusters is None else pairs.clusters[~pairs.calibration]
    ours, theirs = choices[CODED_PATCHES].figures.correct, choices[WHOLE_CODEC].figures.correct
    gain, interval = paired_difference(ours, theirs, clusters)
    return FamilyVerdict(axis, budget, choices, gain, interval)


def _family(scheme: Scheme) -> str | None:
    match scheme:
        case Whole("raw"):
            return RAW_PATCHES
        case Whole():
            return WHOLE_CODEC
        case Ranked(_, "raw", _, source) if source == EDGE:
            return RAW_PATCHES
        case Ranked(_, _, _, source) if source == EDGE:
            return CODED_PATCHES
        case _:
            return None


def _tau_steps(pairs: PairedPredictions) -> list[float]:
    levels = np.linspace(0, 1, QUANTILE_STEPS + 1)[1:-1]
    return [float(each) for each in np.quantile(pairs.h_min[pairs.calibration], levels)]
