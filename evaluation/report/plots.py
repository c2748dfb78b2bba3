"""PNG plots of a study. The only module that imports matplotlib; draws without a display."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from evaluation import published
from evaluation.confidence import reliability, risk_coverage
from evaluation.gates import PAPER_TAUS, margin_scores, shannon_scores
from evaluation.pareto import pareto_rows
from evaluation.points import Point
from evaluation.published import PublishedPoint
from evaluation.selection import Rule
from evaluation.study import Study
from evaluation.treatments import EDGE, Whole
from vit.entropy import confidence

Cost = Callable[[Point], float]
Draw = Callable[[Axes], None]

_DPI = 110
_KEPT_DELTAS = (0.87, 0.95, 0.97, 0.99)


def write_plots(folder: Path, study: Study, points: Sequence[Point]) -> list[str]:
    """`folder` holds the PNG plots; returns their file names in reading order."""
    folder.mkdir(parents=True, exist_ok=True)
    plots: dict[str, tuple[str, str, str, Draw]] = {
        "methods_by_bytes": (
            "All methods by bytes on the wire",
            "bytes a frame (log)",
            "top-1 (%)",
            lambda axes: _methods(axes, points, lambda point: point.figures.bytes_per_frame, log=True),
        ),
        "methods_by_patch_cost": (
            "All methods by share of raw pixels",
            "patch cost",
            "top-1 (%)",
            lambda axes: _methods(axes, points, lambda point: point.figures.patch_cost),
        ),
        "methods_by_server_work": (
            "All methods by server work",
            "GMACs a frame",
            "top-1 (%)",
            lambda axes: _methods(axes, points, lambda point: point.figures.server_macs / 1e9),
        ),
        "fig08_grid": (
            "Fig. 8: τ × δ, raw patches",
            "patch cost",
            "top-1 (%)",
            lambda axes: _grid(axes, points),
        ),
        "fig11_12_selection": (
            "Figs. 11 and 12: which patches, no gate",
            "patch cost",
            "top-1 (%)",
            lambda axes: _selections(axes, points),
        ),
        "fig13_gates": (
            "Fig. 13: gates, whole raw images",
            "patch cost",
            "top-1 (%)",
            lambda axes: _gates(axes, points),
        ),
        "risk_coverage": (
            "Edge errors among the frames it keeps",
            "share of frames kept on the edge",
            "error (%)",
            lambda axes: _risk(axes, study),
        ),
        "reliability": (
            "Confidence against accuracy",
            "confidence",
            "accuracy",
            lambda axes: _reliability(axes, study),
        ),
        "kept_patches": (
            "Patches kept by the attention sum",
            "patches of 196",
            "images",
            lambda axes: _kept(axes, study),
        ),
    }
    for name, (title, x_label, y_label, draw) in plots.items():
        _save(folder / f"{name}.png", title, x_label, y_label, draw)
    return [f"{name}.png" for name in plots]


def _save(path: Path, title: str, x_label: str, y_label: str, draw: Draw) -> None:
    figure = Figure(figsize=(7.0, 4.6))
    axes = figure.add_subplot()
    draw(axes)
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=_DPI, bbox_inches="tight")


def _methods(axes: Axes, points: Sequence[Point], cost: Cost, *, log: bool = False) -> None:
    """Draw each method's frontier, and every point faintly behind it."""
    for method in dict.fromkeys(point.setting.method for point in points):
        mine = [p for p in points if p.setting.method == method and (cost(p) > 0 or not log)]
        if not mine:
            continue
        rows = pareto_rows([cost(p) for p in mine], [p.figures.accuracy for p in mine])
        front = [mine[row] for row in rows]
        (line,) = axes.plot(*_xy(front, cost), marker="o", markersize=3, label=method)
        axes.scatter(*_xy(mine, cost), s=4, alpha=0.2, color=line.get_color())
    if log:
        axes.set_xscale("log")


def _xy(points: Sequence[Point], cost: Cost) -> tuple[list[float], list[float]]:
    return [cost(point) for point in points], [100 * point.figures.accuracy for point in points]


def _published(axes: Axes, curve: Sequence[PublishedPoint], label: str) -> None:
    axes.plot(
        [p.cost for p in curve], [p.accuracy for p in curve], "--", linewidth=1, label=f"{label} (published)"
    )


def _patch_cost(point: Point) -> float:
    return point.figures.patch_cost


def _raw(points: Sequence[Point], gate: str) -> list[Point]:
    return [
        p
        for p in points
        if p.setting.method == "saccade" and p.setting.codec == "raw" and p.setting.gate == gate
    ]


def _grid(axes: Axes, points: Sequence[Point]) -> None:
    raw = [p for p in _raw(points, "min_entropy") if p.setting.selection == "attention_sum"]
    for tau in PAPER_TAUS:
        mine = sorted((p for p in raw if p.setting.tau == tau), key=_patch_cost)
        if mine:
            axes.plot(*_xy(mine, _patch_cost), marker=".", label=f"τ = {tau:g}")
    _published(axes, published.FIG8_PARETO, "Pareto curve")


def _selections(axes: Axes, points: Sequence[Point]) -> None:
    raw = [p for p in _raw(points, "min_entropy") if p.setting.tau == 0.0]
    for selection in dict.fromkeys(p.setting.selection for p in raw):
        mine = sorted((p for p in raw if p.setting.selection == selection), key=_patch_cost)
        axes.plot(*_xy(mine, _patch_cost), marker=".", label=selection)
    for label, curve in (
        ("mean attention", published.FIG11_MEAN_ATTENTION),
        ("rollout", published.FIG11_ROLLOUT),
        ("top-k", published.FIG12_TOP_K),
    ):
        _published(axes, curve, label)


def _gates(axes: Axes, points: Sequence[Point]) -> None:
    whole = [p for p in points if p.setting.delta == 1.0 and p.setting.codec == "raw" and p.split == "all"]
    for gate in ("min_entropy", "shannon", "margin", "random", "oracle"):
        mine = sorted((p for p in whole if p.setting.gate == gate), key=_patch_cost)
        if mine:
            axes.plot(*_xy(mine, _patch_cost), marker=".", label=gate)
    _published(axes, published.FIG13_MIN_ENTROPY, "min-entropy")
    _published(axes, published.FIG13_SHANNON, "Shannon")


def _risk(axes: Axes, study: Study) -> None:
    logits = study.edge_logits
    scored = {"min-entropy": study.h_min, "Shannon": shannon_scores(logits), "margin": margin_scores(logits)}
    for name, scores in scored.items():
        coverage, risk = risk_coverage(scores, study.edge_correct)
        axes.plot(coverage, 100 * risk, label=name)


def _reliability(axes: Axes, study: Study) -> None:
    edge = reliability(confidence(study.edge_logits), study.edge_correct)
    server = reliability(study.answers[Whole()].confidence, study.server_correct)
    for name, bins in (("edge", edge), ("server", server)):
        filled = bins.counts > 0
        label = f"{name}: error {100 * bins.error:.1f} %"
        axes.plot(bins.mean_confidence[filled], bins.accuracy[filled], marker="o", label=label)
    axes.plot([0, 1], [0, 1], ":", color="grey")


def _kept(axes: Axes, study: Study) -> None:
    for delta in _KEPT_DELTAS:
        counts = Rule("attention_sum", delta).counts(study.attention[EDGE])
        axes.hist(counts, bins=list(range(0, 204, 7)), histtype="step", label=f"δ = {delta:g}")
