"""PNG plots of a measurement. The only module that imports matplotlib; draws without a display."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gating.entropy import confidence
from lab.evaluation.chosen import AXES
from lab.evaluation.confidence import reliability, risk_coverage
from lab.evaluation.gates import PAPER_TAUS, margin_scores, shannon_scores
from lab.evaluation.paired import PairedPredictions
from lab.evaluation.points import ALL, METHODS, Point
from lab.evaluation.schemes import EDGE, Whole
from lab.evaluation.selection import Rule
from lab.research import published
from lab.research.published import PublishedPoint

Cost = Callable[[Point], float]
Draw = Callable[[Axes], None]

_DPI = 110
_KEPT_DELTAS = (0.87, 0.95, 0.97, 0.99)
_TOP1 = "top-1 (%)"
_PATCH_COST = "patch cost (share of raw pixels sent)"
_METHOD_PLOTS = (
    ("bytes", "bytes on the wire", "bytes a frame, logarithmic", "bytes_per_frame"),
    ("patch_cost", "share of raw pixels", _PATCH_COST, "patch_cost"),
    ("server_work", "server work", "server GMACs a frame", "server_macs"),
)
_DRAWN = tuple(method for method in METHODS if method != "edge_only")
"""As many as there are default colours; the edge alone is a grey line."""


def write_plots(
    folder: Path, pairs: PairedPredictions, points: Sequence[Point], frontiers: Mapping[str, Sequence[Point]]
) -> list[str]:
    """`folder` holds the PNG plots; returns their file names in reading order.

    Args:
        folder: made if absent.
        pairs: what was measured.
        points: all points; those of all images are drawn.
        frontiers: by axis, each method's chosen points of the test half; empty where there are no halves.
    """
    folder.mkdir(parents=True, exist_ok=True)
    every = [point for point in points if point.split == ALL]
    plots: dict[str, tuple[str, str, str, Draw]] = {
        f"methods_by_{name}": (
            f"All methods by {what}\ndots: every setting, all images; lines: chosen on one half, shown on the "
            "other",
            label,
            _TOP1,
            partial(_methods, every=every, chosen=frontiers.get(axis, ()), axis=axis),
        )
        for name, what, label, axis in _METHOD_PLOTS
    }
    if not pairs.same_weights:
        plots |= {
            "fig08_grid": (
                "Fig. 8: τ × δ, raw patches",
                _PATCH_COST,
                _TOP1,
                lambda axes: _grid(axes, every),
            ),
            "fig13_gates": (
                "Fig. 13: gates, whole raw images",
                _PATCH_COST,
                _TOP1,
                lambda axes: _gates(axes, every),
            ),
        }
    plots |= {
        "fig11_12_selection": (
            "Figs. 11, 12 and 14: which patches, no gate",
            _PATCH_COST,
            _TOP1,
            lambda axes: _selections(axes, every),
        ),
        "risk_coverage": (
            "Edge errors among the frames it keeps",
            "share of frames kept on the edge",
            "error (%)",
            lambda axes: _risk(axes, pairs),
        ),
        "reliability": (
            "Confidence against accuracy",
            "confidence",
            "accuracy",
            lambda axes: _reliability(axes, pairs),
        ),
        "kept_patches": (
            "Patches kept by the attention sum",
            "patches of 196",
            "images",
            lambda axes: _kept(axes, pairs),
        ),
    }
    for name, (title, x_label, y_label, draw) in plots.items():
        _save(folder / f"{name}.png", title, x_label, y_label, draw)
    return [f"{name}.png" for name in plots]


def _save(path: Path, title: str, x_label: str, y_label: str, draw: Draw) -> None:
    figure = Figure(figsize=(7.0, 4.6))
    axes = figure.add_subplot()
    draw(axes)
    axes.set_title(title, fontsize=10)
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        # Beside the axes: inside, it would hide points somewhere.
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=_DPI, bbox_inches="tight")


def _methods(axes: Axes, *, every: Sequence[Point], chosen: Sequence[Point], axis: str) -> None:
    """Draw each method's chosen settings as a line, and every setting faintly behind them."""
    unit = 1e-9 if axis == "server_macs" else 1.0
    log = axis == "bytes_per_frame"

    def cost(point: Point) -> float:
        return unit * AXES[axis](point)

    for place, method in enumerate(_DRAWN):
        colour = f"C{place}"
        mine = [p for p in every if p.setting.method == method and (cost(p) > 0 or not log)]
        front = [p for p in chosen if p.setting.method == method and (cost(p) > 0 or not log)]
        axes.scatter(*_xy(mine, cost), s=6, alpha=0.35, color=colour, linewidths=0)
        if front or mine:
            axes.plot(*_xy(front, cost), marker="o", markersize=3, color=colour, label=method)
    for point in chosen or every:
        if point.setting.method == "edge_only":
            axes.axhline(100 * point.figures.accuracy, linestyle=":", color="grey", label="edge_only")
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
    raw = [
        p
        for p in _raw(points, "min_entropy")
        if p.setting.selection == "attention_sum" and p.setting.min_patches == 1
    ]
    for tau in PAPER_TAUS:
        mine = sorted((p for p in raw if p.setting.tau == tau), key=_patch_cost)
        if mine:
            axes.plot(*_xy(mine, _patch_cost), marker=".", label=f"τ = {tau:g}")
    _published(axes, published.FIG8_PARETO, "Pareto curve")


def _selections(axes: Axes, points: Sequence[Point]) -> None:
    raw = [p for p in _raw(points, "min_entropy") if p.setting.tau == 0.0 and p.setting.min_patches == 1]
    for selection in dict.fromkeys(p.setting.selection for p in raw):
        mine = sorted((p for p in raw if p.setting.selection == selection), key=_patch_cost)
        axes.plot(*_xy(mine, _patch_cost), marker="o", markersize=4, label=selection)
    for label, curve in (
        ("mean attention", published.FIG11_MEAN_ATTENTION),
        ("rollout", published.FIG11_ROLLOUT),
        ("top-k", published.FIG12_TOP_K),
        ("threshold", published.FIG12_THRESHOLD),
    ):
        _published(axes, curve, label)


def _gates(axes: Axes, points: Sequence[Point]) -> None:
    whole = [p for p in points if p.setting.delta == 1.0 and p.setting.codec == "raw"]
    for gate in ("min_entropy", "shannon", "margin", "random", "oracle"):
        mine = sorted((p for p in whole if p.setting.gate == gate), key=_patch_cost)
        if mine:
            axes.plot(*_xy(mine, _patch_cost), marker=".", label=gate)
    _published(axes, published.FIG13_MIN_ENTROPY, "min-entropy")
    _published(axes, published.FIG13_SHANNON, "Shannon")


def _risk(axes: Axes, pairs: PairedPredictions) -> None:
    logits = pairs.edge_logits
    scored = {"min-entropy": pairs.h_min, "Shannon": shannon_scores(logits), "margin": margin_scores(logits)}
    for name, scores in scored.items():
        coverage, risk = risk_coverage(scores, pairs.edge_correct)
        axes.plot(coverage, 100 * risk, label=name)


def _reliability(axes: Axes, pairs: PairedPredictions) -> None:
    edge = reliability(confidence(pairs.edge_logits), pairs.edge_correct)
    server = reliability(pairs.answers[Whole()].confidence, pairs.server_correct)
    for name, bins in (("edge", edge), ("server", server)):
        filled = bins.counts > 0
        label = f"{name}: error {100 * bins.error:.1f} %"
        axes.plot(bins.mean_confidence[filled], bins.accuracy[filled], marker="o", label=label)
    axes.plot([0, 1], [0, 1], ":", color="grey")


def _kept(axes: Axes, pairs: PairedPredictions) -> None:
    for delta in _KEPT_DELTAS:
        counts = Rule("attention_sum", delta).counts(pairs.attention[EDGE])
        axes.hist(counts, bins=list(range(0, 204, 7)), histtype="step", label=f"δ = {delta:g}")
