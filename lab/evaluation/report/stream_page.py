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
from lab.evaluation.report.markdown import giga, interval, number, percent, signed_interval, table
from lab.evaluation.report.markdown import points as in_points
from lab.evaluation.report.measured_sections import setting_text
from lab.evaluation.stream.choices import FAMILIES, NEAR, Choices, family
from lab.evaluation.stream.frames import Frames

NOTES: Final = """\
Bytes are those on the uplink with the same record envelope for every method (about 460 bytes a record):
at these frame sizes the envelope often outweighs a video packet. Video: 224x224, one packet a frame, no
delay; `key2s` has a keyframe every two seconds, `key1` only the first. A video encoder needs all its
frames in order and the server a decoder for each camera; stills and patches are independent of each
other. Intervals resample whole cameras, of which there are few, so they are wide."""


@dataclass(frozen=True)
class StreamPart:
    """What was measured on one source at one rate."""

    name: str
    points: list[Point]
    choices: Choices


def stream_page(data: str, frames: Frames, points: Sequence[Point], choices: Choices, plots: Path) -> str:
    """Return the page of one source and rate; its plot is in `plots`."""
    plots.mkdir(parents=True, exist_ok=True)
    _plot(plots / "methods_by_bytes.png", data, points, choices)
    fps = frames.cameras[0].fps
    half = int(calibration_half([camera.name for camera in frames.cameras]).sum())
    return "\n\n".join(
        [
            f"# Streams: {data}",
            f"{frames.num_frames} frames at {fps:g} frames/s, {int(frames.scored.sum())} of them scored. "
            f"{half} cameras choose, {len(frames.cameras) - half} report.",
            NOTES,
            "## Bytes that it takes to come near the server on raw frames",
            nearness(points, choices),
            "## Each family's frontier",
            _frontiers(points, choices, fps),
            "![methods by bytes](plots/methods_by_bytes.png)",
            "",
        ]
    )


def nearness(points: Sequence[Point], choices: Choices) -> str:
    """Return for each family the fewest bytes a frame within some distance of the server on raw frames, and
    how far it then was on the cameras that report.
    """
    rows = []
    for name, chosen in choices.near.items():
        cells = [
            "–"
            if each is None
            else f"{each.test.figures.bytes_per_frame:.0f} ({in_points(each.gain)}, "
            f"{signed_interval(*each.interval)})"
            for each in chosen
        ]
        rows.append([name, *cells])
    head = ["chosen to be", *(f"within {100 * distance:g} points" for distance in NEAR)]
    alone = next(p for p in points if (p.setting.method, p.setting.codec) == ("server_only", "raw"))
    return (
        f"The server alone on raw frames: {percent(alone.figures.accuracy)} %. Cells: bytes a frame (difference "
        f"to it in points, paired, 95 %). {_how_chosen(choices)}\n\n" + table(head, rows)
    )


def _how_chosen(choices: Choices) -> str:
    if choices.reported_on == ALL:
        return "**Too few cameras to choose on others: settings were chosen on these very frames.**"
    return "Settings were chosen on half of the cameras, figures are those of the other half."


def _frontiers(points: Sequence[Point], choices: Choices, fps: float) -> str:
    rows = [
        [each.family, *_cells(each.test, fps), f"{in_points(each.gain)} ({signed_interval(*each.interval)})"]
        for each in choices.frontier
    ]
    rows += [
        ["edge only, all cameras", *_cells(p, fps), ""] for p in points if p.setting.method == "edge_only"
    ]
    head = [
        "family",
        "what is sent",
        "gate, τ",
        "top-1 (%)",
        "95 %",
        "offloaded",
        "bytes/frame",
        "kbit/s a camera",
        "server GMACs",
        "against raw frames (points)",
    ]
    return f"{_how_chosen(choices)}\n\n" + table(head, rows)


def _cells(point: Point, fps: float) -> list[str]:
    each, figures = point.setting, point.figures
    gate = "–" if not each.gate else f"{each.gate} {number(each.tau, 3)}"
    return [
        setting_text(each),
        gate,
        percent(figures.accuracy),
        interval(*point.accuracy_ci),
        f"{figures.offload_ratio:.2f}",
        f"{figures.bytes_per_frame:.0f}",
        f"{figures.bytes_per_frame * fps * 8 / 1000:.1f}",
        giga(figures.server_macs),
    ]


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


def overview(
    command: str,
    edge: ModelFacts,
    server: ModelFacts,
    pages: Sequence[StreamPart],
    wall_s: float,
) -> str:
    """Return the page over all sources and rates."""
    parts = [
        "# Streams",
        f"`{command}`",
        f"Edge {edge.name} ({edge.dtype}), server {server.name} ({server.dtype}); {wall_s:.0f} s.",
        NOTES,
    ]
    if edge.weights_hash == server.weights_hash:
        parts.append(
            "**Edge and server have the same weights**, so gates are left out; what stands is what codecs "
            "lose."
        )
    for part in pages:
        parts += [
            f"## {part.name}",
            nearness(part.points, part.choices),
            f"[all of it]({part.name}/report.md)",
        ]
    return "\n\n".join(parts) + "\n"
