"""The report folder of one pairs: page, results.json, tables and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lab.evaluation.chosen import FamilyVerdict, method_frontiers, paper_curve_points, verdicts
from lab.evaluation.chosen import candidates as measure_candidates
from lab.evaluation.comparisons import Comparison, gate_comparisons, payload_comparisons
from lab.evaluation.confidence import risk_coverage
from lab.evaluation.experiments import PAPER_DELTAS
from lab.evaluation.methods import all_points
from lab.evaluation.models import ModelFacts
from lab.evaluation.paired import PairedPredictions, Timings
from lab.evaluation.points import Point
from lab.evaluation.report import measured_sections as measured
from lab.evaluation.report.markdown import interval, percent, table
from lab.evaluation.report.plots import write_plots
from lab.evaluation.report.results import results_document, write_csv, write_json, write_points_csv
from lab.evaluation.schemes import EDGE
from lab.evaluation.selection import Rule
from lab.evaluation.sweep import accuracy_at_cost
from lab.research import paper_sections as paper
from lab.research.published import FIG8_PARETO, NOT_PUBLISHED

SAME_WEIGHTS = (
    "**Edge and server have the same weights.** A gate between them decides nothing, so the pair's accuracy "
    "under gates, the oracle, deferral and Figs. 8, 9, 13 and 14 are left out. What remains: how well the "
    "gate finds the edge's own errors, what patches and codecs lose against the raw whole image, and what a "
    "frame costs in bytes and time."
)


@dataclass(frozen=True)
class RunNotes:
    """What a report says of the run itself, beside the pairs."""

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
        comparisons = [*gate_comparisons(pairs), *comparisons]
        candidates = measure_candidates(pairs)
        judged, chosen = verdicts(pairs, candidates), paper_curve_points(candidates)
    points = [*points, *_distinct(judged, chosen, frontiers)]
    write_json(out / "results.json", _results(pairs, points))
    write_json(out / "run.json", _run_document(pairs, notes))
    write_points_csv(out / "points.csv", points)
    _write_tables(out, pairs, comparisons)
    plots = write_plots(out / "plots", pairs, points, frontiers)
    sections = [
        *_head(pairs, notes),
        *_paper_part(pairs, points, chosen, notes),
        *_measured_part(pairs, points, frontiers, comparisons, judged),
        *notes.extra_sections,
        "## Plots\n\n" + "\n\n".join(f"![{name}](plots/{name})" for name in plots),
    ]
    page = out / "report.md"
    page.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    return page


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


def _head(pairs: PairedPredictions, notes: RunNotes) -> list[str]:
    half = int(pairs.calibration.sum())
    unreadable = f"{len(notes.unreadable)}" + (
        f" ({', '.join(notes.unreadable[:20])})" if notes.unreadable else ""
    )
    left = ", ".join(notes.left_out)
    lines = [
        f"- data: {pairs.data}; {pairs.num_images} images, {half} of them choose and "
        f"{pairs.num_images - half} test",
        f"- unreadable: {unreadable}",
        f"- truth: {'labels' if pairs.accuracy_kind == 'label' else 'the server on the raw whole image'}",
        f"- edge: {_model_line(pairs.edge)}, top-1 {percent(float(pairs.edge_correct.mean()))} %",
        f"- server: {_model_line(pairs.server)}, top-1 {percent(float(pairs.server_correct.mean()))} %",
        f"- server work of this run: {notes.equivalents:.1f} full-image passes an image, {notes.wall_s:.0f} "
        "s",
    ]
    if left:
        lines.append(f"- left out by the budget of passes (`--full` measures them): {left}")
    if notes.timings is not None:
        lines.append(
            f"- measured here: edge {notes.timings.edge_ms:.1f} ms an image, server "
            f"{notes.timings.server_full_ms:.1f} ms a whole image"
        )
    head = [f"# Evaluation: {pairs.data}", f"`{notes.command}`", "\n".join(lines)]
    if pairs.same_weights:
        head.append(SAME_WEIGHTS)
    head.append(
        "Accuracies are top-1 in percent with 95 % bootstrap intervals. Bytes are those on the uplink: the "
        "encoded record, Kafka's framing and TCP/IP headers; for every method alike. `patch cost` is pixels "
        "sent over pixels of all frames; costs a frame count frames that stay on the edge as zero."
    )
    return head


def _model_line(facts: ModelFacts) -> str:
    return f"{facts.name} ({facts.weights_hash[:12]}, {facts.dtype})"


def _paper_part(
    pairs: PairedPredictions, points: Sequence[Point], chosen: Sequence[tuple[float, Point]], notes: RunNotes
) -> list[str]:
    parts = [
        "## The paper's tables and figures",
        "Published values: Im et al., arXiv 2404.07217, DeiT-Ti with DeiT-B on the 50,000 ImageNet "
        "validation images. They are comparable only with the same models and images; `--check-paper` tests "
        "exactly that. " + NOT_PUBLISHED,
        paper.table_i(pairs),
        paper.tables_ii_iii(pairs),
        paper.figure_8(pairs, points),
    ]
    if chosen:
        parts.append(_chosen_curve(chosen))
    parts.append(paper.figures_11_to_14(pairs, points))
    parts.append(paper.figures_15_16(pairs, paper.headline_point(pairs), notes.timings))
    return parts


def _chosen_curve(chosen: Sequence[tuple[float, Point]]) -> str:
    costs, accuracies = [p.cost for p in FIG8_PARETO], [p.accuracy / 100 for p in FIG8_PARETO]
    rows = [
        [
            f"{budget:g}",
            percent(accuracy_at_cost(costs, accuracies, budget)),
            f"{point.figures.patch_cost:.3f}",
            percent(point.figures.accuracy),
            interval(*point.accuracy_ci),
            f"δ {point.setting.delta:g}, τ {point.setting.tau:g}",
        ]
        for budget, point in chosen
    ]
    title = "**The Pareto curve of Fig. 8**, chosen on the calibration half, reported on the test half"
    return f"{title}\n\n" + table(
        ["cost allowed", "published top-1", "cost", "top-1 (%)", "95 %", "setting"], rows
    )


def _measured_part(
    pairs: PairedPredictions,
    points: Sequence[Point],
    frontiers: Mapping[str, Sequence[Point]],
    comparisons: Sequence[Comparison],
    judged: Sequence[FamilyVerdict],
) -> list[str]:
    parts = ["## Beyond the paper"]
    if judged:
        parts.append(measured.patches_or_codec(judged))
    parts.append(measured.figure_10(points))
    if frontiers:
        parts.append(measured.byte_frontiers(frontiers["bytes_per_frame"]))
    parts += [measured.RECONSTRUCTIONS, measured.options(comparisons)]
    parts += [measured.losses(pairs, points), measured.gate_section(pairs)]
    parts.append(
        "Per-class accuracy is in `per_class.csv`, kept patches by image in `kept_patches.csv`, risk by "
        "coverage in `risk_coverage.csv`, all points in `points.csv` and `results.json`, comparisons in "
        "`comparisons.csv`."
    )
    return parts


def _write_tables(out: Path, pairs: PairedPredictions, comparisons: Sequence[Comparison]) -> None:
    write_csv(
        out / "per_class.csv",
        ["class", "images", "edge_accuracy", "server_accuracy"],
        measured.per_class_rows(pairs),
    )
    counts = [Rule("attention_sum", delta).counts(pairs.attention[EDGE]) for delta in PAPER_DELTAS]
    write_csv(
        out / "kept_patches.csv",
        ["kept", *(f"delta_{delta:g}" for delta in PAPER_DELTAS)],
        [[kept, *(int((each == kept).sum()) for each in counts)] for kept in range(1, 197)],
    )
    coverage, risk = risk_coverage(pairs.h_min, pairs.edge_correct)
    write_csv(out / "risk_coverage.csv", ["coverage", "risk"], list(zip(coverage, risk, strict=True)))
    head = [
        "option",
        "against",
        "setting",
        "split",
        "offload_ratio",
        "gain",
        "low",
        "high",
        "bytes_change",
        "macs_change",
    ]
    rows = [
        [
            e.option,
            e.against,
            e.setting,
            e.split,
            e.offload_ratio,
            e.gain,
            *e.interval,
            e.bytes_change,
            e.macs_change,
        ]
        for e in comparisons
    ]
    write_csv(out / "comparisons.csv", head, rows)


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
