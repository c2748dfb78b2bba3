"""Pages of stream measurements: what each way to send a camera's frames costs, and how far it gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lab.evaluation.corpus import calibration_half
from lab.evaluation.models import ModelFacts
from lab.evaluation.points import ALL, Point
from lab.evaluation.report.render import render
from lab.evaluation.stream.choices import BUDGETS, FAMILIES, NEAR, Choices, family
from lab.evaluation.stream.frames import Frames
from lab.evaluation.wire import record_wire_bytes

_NEAR_HEADS: Final = tuple(
    f"{-100 * distance:g} point above" if distance < 0 else f"within {100 * distance:g} points"
    for distance in NEAR
)
_CONTEXT: Final = {
    "near_heads": _NEAR_HEADS,
    "envelope": record_wire_bytes("avif", 45, b""),
    "budgets": BUDGETS,
}


@dataclass(frozen=True)
class StreamPart:
    """What was measured on one source at one rate."""

    name: str
    points: list[Point]
    choices: Choices

    @property
    def server_alone(self) -> float:
        """The server's accuracy on every raw frame, all cameras."""
        raw = ("server_only", "raw")
        return next(p for p in self.points if (p.setting.method, p.setting.codec) == raw).figures.accuracy


def stream_page(data: str, frames: Frames, part: StreamPart, plots: Path) -> str:
    """Return the page of one source and rate; its plot is in `plots`."""
    plots.mkdir(parents=True, exist_ok=True)
    _plot(plots / "methods_by_bytes.png", data, part.points, part.choices)
    return render(
        "stream.md.j2",
        data=data,
        frames=frames,
        part=part,
        fps=frames.cameras[0].fps,
        num_scored=int(frames.scored.sum()),
        num_choosing=int(calibration_half([camera.name for camera in frames.cameras]).sum()),
        **_CONTEXT,
    )


def overview(
    command: str, edge: ModelFacts, server: ModelFacts, parts: Sequence[StreamPart], wall_s: float
) -> str:
    """Return the page over all sources and rates."""
    return render(
        "stream.md.j2",
        command=command,
        edge=edge,
        server=server,
        parts=parts,
        wall_s=wall_s,
        **_CONTEXT,
    )


def _plot(path: Path, title: str, points: Sequence[Point], choices: Choices) -> None:
    figure = Figure(figsize=(7.0, 4.6))
    axes = figure.add_subplot()
    for place, name in enumerate(FAMILIES):
        every = [point for point in points if point.split == ALL and family(point) == name]
        axes.scatter(*_xy(every), s=5, alpha=0.3, color=f"C{place}", linewidths=0)
        front = sorted(
            (each.test for each in choices.frontier if each.family == name),
            key=lambda point: point.figures.bytes_per_frame,
        )
        if front:
            axes.plot(*_xy(front), marker="o", markersize=3, color=f"C{place}", label=name)
    for point in points:
        if point.setting.method == "edge_only":
            axes.axhline(100 * point.figures.accuracy, linestyle=":", color="grey", label="edge only")
    halves = (
        "lines: chosen on some cameras, shown on the others" if choices.reported_on != ALL else "lines: best"
    )
    axes.set_title(f"{title}\ndots: every setting, all cameras; {halves}", fontsize=9)
    axes.set(xlabel="bytes a frame, logarithmic", ylabel="top-1 (%)", xscale="log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110, bbox_inches="tight")


def _xy(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [p.figures.bytes_per_frame for p in points], [100 * p.figures.accuracy for p in points]
