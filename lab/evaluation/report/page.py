"""The report folder of one measurement: page, results.json, tables and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from gating.entropy import confidence
from lab.evaluation.bootstrap import Interval, paired_difference
from lab.evaluation.chosen import FAMILIES, FamilyVerdict, method_frontiers, paper_curve_points, verdicts
from lab.evaluation.chosen import candidates as measure_candidates
from lab.evaluation.comparisons import Comparison, fused_comparisons, gate_comparisons, payload_comparisons
from lab.evaluation.confidence import auroc, reliability, risk_coverage
from lab.evaluation.experiments import PAPER_DELTAS
from lab.evaluation.gates import PAPER_TAUS, margin_scores, offloaded, shannon_scores
from lab.evaluation.methods import all_points
from lab.evaluation.models import ModelFacts, forward_macs
from lab.evaluation.paired import PairedPredictions, Timings
from lab.evaluation.points import ALL, Point, Setting, make_point
from lab.evaluation.report.plots import write_plots
from lab.evaluation.report.render import render
from lab.evaluation.report.results import results_document, write_csv, write_json, write_points_csv
from lab.evaluation.schemes import EDGE, Ranked, Scheme, Whole
from lab.evaluation.selection import Rule
from lab.evaluation.sweep import accuracy_at_cost
from lab.research.paper_figures import paper_figures
from lab.research.published import FIG8_PARETO
from schemas.geometry import NUM_PATCHES

COVERAGES: Final = (0.2, 0.4, 0.6, 0.8, 1.0)
_FRONTIER_ROWS: Final = 8
_COMPARISON_COLUMNS: Final = (
    *("option", "against", "setting", "split", "offload_ratio", "gain", "low", "high"),
    *("bytes_change", "macs_change"),
)


@dataclass(frozen=True)
class RunNotes:
    """What a report says of the run itself, beside the predictions."""

    command: str
    unreadable: Sequence[str] = ()
    timings: Timings | None = None
    equivalents: float = 0.0
    left_out: Sequence[str] = ()
    wall_s: float = 0.0
    extra_sections: Sequence[str] = field(default=())


def write_report(out: Path, pairs: PairedPredictions, notes: RunNotes) -> Path:
    """`out` holds the whole report; returns the path of its page."""
    out.mkdir(parents=True, exist_ok=True)
    points = all_points(pairs)
    comparisons = payload_comparisons(pairs)
    judged: list[FamilyVerdict] = []
    chosen: list[tuple[float, Point]] = []
    frontiers: dict[str, list[Point]] = {}
    if pairs.calibration.any() and not pairs.calibration.all():
        frontiers = method_frontiers(pairs)
    if frontiers and not pairs.same_weights:
        fused, fused_points = fused_comparisons(pairs)
        comparisons = [*fused, *gate_comparisons(pairs), *comparisons]
        points = [*points, *fused_points]
        candidates = measure_candidates(pairs)
        judged, chosen = verdicts(pairs, candidates), paper_curve_points(candidates)
    points = [*points, *_distinct(judged, chosen, frontiers)]
    write_json(out / "results.json", _results(pairs, points))
    write_json(out / "run.json", _run_document(pairs, notes))
    write_points_csv(out / "points.csv", points)
    _write_tables(out, pairs, comparisons)
    text = render(
        "report.md.j2",
        pairs=pairs,
        notes=notes,
        half=int(pairs.calibration.sum()),
        models=_models(pairs),
        paper=paper_figures(pairs, points, notes.timings),
        chosen=[(budget, _published_at(budget), point) for budget, point in chosen],
        verdicts=judged,
        families=FAMILIES,
        methods=five_of_each(points),
        frontier_rows=_thinned(frontiers.get("bytes_per_frame", ())),
        comparisons=comparisons,
        losses=losses(pairs, points),
        gate_heads=[f"risk at {each:.0%} kept (%)" for each in COVERAGES],
        gate_rows=gate_rows(pairs),
        calibration_errors=_calibration_errors(pairs),
        plots=write_plots(out / "plots", pairs, points, frontiers),
    )
    page = out / "report.md"
    page.write_text(text, encoding="utf-8")
    return page


def other_server_schemes() -> list[Scheme]:
    """Return the payloads that Fig. 9 needs: the paper's deltas with raw patches, and the raw whole image."""
    return [Whole(), *(Ranked(Rule("attention_sum", delta)) for delta in PAPER_DELTAS)]


def other_server_section(pairs: PairedPredictions, other: PairedPredictions) -> str:
    """Return Fig. 9: both servers' accuracy over the paper's grid, at equal offload ratio and patches."""
    rows = []
    for tau in PAPER_TAUS:
        offload = offloaded(pairs.h_min, tau)
        for delta in PAPER_DELTAS:
            scheme = Ranked(Rule("attention_sum", delta))
            if scheme in pairs.answers:
                setting = Setting("saccade", "min_entropy", tau, "attention_sum", delta, 1, "raw", 0)
                both = (make_point(each, setting, offload, each.payload(scheme)) for each in (pairs, other))
                rows.append((tau, delta, *(point.figures for point in both)))
    top1 = [float(np.mean(each.server_correct)) for each in (pairs, other)]
    return render("other_server.md.j2", pairs=pairs, other=other, top1=top1, rows=rows)


def five_of_each(points: Sequence[Point]) -> list[Point]:
    """Return of every method the cheapest, dearest and three settings between, by bytes on all images."""
    found = []
    for method in dict.fromkeys(point.setting.method for point in points):
        mine = sorted(
            (point for point in points if point.setting.method == method and point.split == ALL),
            key=lambda point: point.figures.bytes_per_frame,
        )
        places = {0, len(mine) // 4, len(mine) // 2, 3 * len(mine) // 4, len(mine) - 1}
        found += [mine[place] for place in (sorted(places) if mine else ())]
    return found


def losses(pairs: PairedPredictions, points: Sequence[Point]) -> list[tuple[Point, float, Interval]]:
    """Return what patches and codecs cost against the raw whole image, everything sent, paired."""
    reference = pairs.payload(Whole())
    return [
        (point, *paired_difference(point.figures.correct, reference.correct, pairs.clusters))
        for point in sorted(points, key=lambda each: each.figures.bytes_per_frame)
        if point.split == ALL
        and point.setting.tau == 0.0
        and point.setting.method in {"saccade", "server_only"}
        and (point.setting.method, point.setting.codec) != ("server_only", "raw")
    ]


def gate_rows(pairs: PairedPredictions) -> list[tuple[str, float, list[float]]]:
    """Return by score how well it finds the edge's own errors (AUROC), and the risk at each of `COVERAGES`."""
    scored = {
        "min-entropy": pairs.h_min,
        "Shannon": shannon_scores(pairs.edge_logits),
        "margin": margin_scores(pairs.edge_logits),
    }
    rows = []
    for name, scores in scored.items():
        coverage, risk = risk_coverage(scores, pairs.edge_correct)
        at = [float(risk[min(int(np.searchsorted(coverage, c)), risk.size - 1)]) for c in COVERAGES]
        rows.append((name, auroc(scores, ~pairs.edge_correct), at))
    return rows


def per_class_rows(pairs: PairedPredictions) -> list[list[object]]:
    """Return class, count, edge and server accuracy for every class that occurs."""
    rows: list[list[object]] = []
    for label in np.unique(pairs.truth):
        members = pairs.truth == label
        accuracies = (float(each[members].mean()) for each in (pairs.edge_correct, pairs.server_correct))
        rows.append([pairs.edge.classes[label], int(members.sum()), *accuracies])
    return rows


def _models(pairs: PairedPredictions) -> list[tuple[str, ModelFacts, float, int]]:
    """Return role, facts, top-1 and MACs of a whole image of both models."""
    both = (("edge", pairs.edge, pairs.edge_correct), ("server", pairs.server, pairs.server_correct))
    return [
        (role, facts, float(right.mean()), forward_macs(NUM_PATCHES, facts.embed_dim, facts.depth))
        for role, facts, right in both
    ]


def _published_at(cost: float) -> float:
    return accuracy_at_cost(
        [each.cost for each in FIG8_PARETO], [each.accuracy / 100 for each in FIG8_PARETO], cost
    )


def _thinned(front: Sequence[Point]) -> list[Point]:
    """Return at most `_FRONTIER_ROWS` points of each method's frontier, its two ends among them."""
    found = []
    for method in dict.fromkeys(point.setting.method for point in front):
        mine = [point for point in front if point.setting.method == method]
        places = np.unique(np.linspace(0, len(mine) - 1, _FRONTIER_ROWS).round().astype(int))
        found += [mine[place] for place in places]
    return found


def _calibration_errors(pairs: PairedPredictions) -> tuple[float, float]:
    """Return the expected calibration errors of edge and server."""
    edge = reliability(confidence(pairs.edge_logits), pairs.edge_correct)
    return edge.error, reliability(pairs.answers[Whole()].confidence, pairs.server_correct).error


def _results(pairs: PairedPredictions, points: Sequence[Point]) -> dict[str, object]:
    edge = (pairs.edge.name, float(pairs.edge_correct.mean()))
    server = (pairs.server.name, float(pairs.server_correct.mean()))
    return results_document(pairs.data, pairs.num_images, edge, server, points)


def _distinct(
    judged: Sequence[FamilyVerdict],
    chosen: Sequence[tuple[float, Point]],
    frontiers: Mapping[str, Sequence[Point]],
) -> list[Point]:
    """Return the chosen points once each: several budgets and frontiers may choose the same."""
    found = [point for verdict in judged for point in verdict.choices.values()]
    found += [point for _, point in chosen]
    found += [point for front in frontiers.values() for point in front]
    return list({(point.setting, point.split): point for point in found}.values())


def _write_tables(out: Path, pairs: PairedPredictions, comparisons: Sequence[Comparison]) -> None:
    head = ["class", "images", "edge_accuracy", "server_accuracy"]
    write_csv(out / "per_class.csv", head, per_class_rows(pairs))
    counts = [Rule("attention_sum", delta).counts(pairs.attention[EDGE]) for delta in PAPER_DELTAS]
    write_csv(
        out / "kept_patches.csv",
        ["kept", *(f"delta_{delta:g}" for delta in PAPER_DELTAS)],
        [[kept, *(int((each == kept).sum()) for each in counts)] for kept in range(1, NUM_PATCHES + 1)],
    )
    coverage, risk = risk_coverage(pairs.h_min, pairs.edge_correct)
    write_csv(out / "risk_coverage.csv", ["coverage", "risk"], list(zip(coverage, risk, strict=True)))
    rows = [[cell for value in astuple(each) for cell in _cells(value)] for each in comparisons]
    write_csv(out / "comparisons.csv", _COMPARISON_COLUMNS, rows)


def _cells(value: object) -> Sequence[object]:
    return value if isinstance(value, tuple) else (value,)


def _run_document(pairs: PairedPredictions, notes: RunNotes) -> dict[str, object]:
    def model(facts: ModelFacts) -> dict[str, object]:
        return {key: value for key, value in asdict(facts).items() if key not in {"classes", "identity"}}

    return {
        "command": notes.command,
        "data": pairs.data,
        "accuracy_kind": pairs.accuracy_kind,
        "same_weights": pairs.same_weights,
        "edge": model(pairs.edge),
        "server": model(pairs.server),
        "unreadable": list(notes.unreadable),
        "timings_ms": None if notes.timings is None else asdict(notes.timings),
        "full_image_equivalents": notes.equivalents,
        "left_out": list(notes.left_out),
        "wall_s": notes.wall_s,
    }
