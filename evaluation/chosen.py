"""Points that somebody would choose: picked on the calibration half, reported on the test half. Pure.

Families of methods are compared at budgets of bytes or of server work. At each budget every family fields the
setting that did best on the calibration half among those within the budget there; the test half then judges.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evaluation.bootstrap import Interval, paired_difference
from evaluation.gates import offloaded
from evaluation.methods import setting_of
from evaluation.pareto import pareto_rows
from evaluation.points import CALIBRATION, TEST, Point, make_point
from evaluation.study import Study
from evaluation.treatments import EDGE, Ranked, Treatment, Whole

PATCH_COST_BUDGETS: Final = (0.20, 0.25, 0.32, 0.45)
"""Costs at which the paper's curve is compared, in units of raw whole images."""
BYTE_BUDGETS: Final = (250, 500, 1000, 2000, 4000, 8000)
QUANTILE_STEPS: Final = 20

RAW_PATCHES: Final = "raw patches + gate"
CODED_PATCHES: Final = "coded patches + gate"
WHOLE_CODEC: Final = "whole image by codec + gate"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A gated setting measured on both halves."""

    family: str
    calibration: Point
    test: Point


@dataclass(frozen=True, slots=True)
class Verdict:
    """The families' choices at one budget; `gain` is what coded patches win over the whole-image codec."""

    axis: str
    budget: float
    choices: dict[str, Point]
    gain: float | None
    interval: Interval | None


def candidates(study: Study) -> list[Candidate]:
    """Return every plain gated setting at fine steps of tau, on both halves."""
    taus = sorted({round(float(tau), 4) for tau in _tau_steps(study)} | {0.0})
    found = []
    for treatment in study.answers:
        family, setting = _family(treatment), setting_of(treatment)
        if family is None or setting is None:
            continue
        payload = study.payload(treatment)
        for tau in taus:
            offload, named = offloaded(study.h_min, tau), replace(setting, tau=tau)
            found.append(
                Candidate(
                    family,
                    make_point(study, named, offload, payload, CALIBRATION),
                    make_point(study, named, offload, payload, TEST),
                )
            )
    return found


def best_within(
    options: Sequence[Candidate], cost: Callable[[Point], float], budget: float
) -> Candidate | None:
    """Return the candidate that is most accurate on the calibration half within the budget there; cheaper on
    a tie.
    """
    affordable = [each for each in options if cost(each.calibration) <= budget]
    if not affordable:
        return None
    return max(affordable, key=lambda each: (each.calibration.figures.accuracy, -cost(each.calibration)))


def verdicts(study: Study, options: Sequence[Candidate]) -> list[Verdict]:
    """Return the comparison of families at budgets of bytes a frame and of server work a frame."""
    full = study.payload(Whole()).server_macs[0] if Whole() in study.answers else 0.0
    axes: list[tuple[str, Callable[[Point], float], Sequence[float]]] = [
        ("bytes_per_frame", lambda point: point.figures.bytes_per_frame, BYTE_BUDGETS),
        (
            "server_macs",
            lambda point: point.figures.server_macs,
            [full * x for x in (0.05, 0.1, 0.2, 0.3, 0.5)],
        ),
    ]
    return [
        _verdict(study, options, axis, cost, budget) for axis, cost, budgets in axes for budget in budgets
    ]


def paper_curve_points(options: Sequence[Candidate]) -> list[tuple[float, Point]]:
    """Return (budget, test point) of raw patches at the paper's costs."""
    raw = [each for each in options if each.family == RAW_PATCHES]
    found = [(budget, best_within(raw, _patch_cost, budget)) for budget in PATCH_COST_BUDGETS]
    return [(budget, each.test) for budget, each in found if each is not None]


def frontier_candidates(options: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates on the calibration half's frontier of bytes a frame against accuracy."""
    rows = pareto_rows(
        [each.calibration.figures.bytes_per_frame for each in options],
        [each.calibration.figures.accuracy for each in options],
    )
    return [options[row] for row in rows]


def _verdict(
    study: Study,
    options: Sequence[Candidate],
    axis: str,
    cost: Callable[[Point], float],
    budget: float,
) -> Verdict:
    choices: dict[str, Point] = {}
    for family in (RAW_PATCHES, CODED_PATCHES, WHOLE_CODEC):
        best = best_within([each for each in options if each.family == family], cost, budget)
        if best is not None:
            choices[family] = best.test
    if CODED_PATCHES not in choices or WHOLE_CODEC not in choices:
        return Verdict(axis, budget, choices, None, None)
    clusters = None if study.clusters is None else study.clusters[~study.calibration]
    ours, theirs = choices[CODED_PATCHES].figures.correct, choices[WHOLE_CODEC].figures.correct
    gain, interval = paired_difference(ours, theirs, clusters)
    return Verdict(axis, budget, choices, gain, interval)


def _patch_cost(point: Point) -> float:
    return point.figures.patch_cost


def _family(treatment: Treatment) -> str | None:
    match treatment:
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


def _tau_steps(study: Study) -> list[float]:
    levels = np.linspace(0, 1, QUANTILE_STEPS + 1)[1:-1]
    return [float(each) for each in np.quantile(study.h_min[study.calibration], levels)]
