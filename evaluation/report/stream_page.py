"""Pages of stream measurements: what each way to send a camera's frames costs, and how far it gets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from evaluation.models import ModelFacts
from evaluation.pareto import pareto_rows
from evaluation.points import Point
from evaluation.report.markdown import giga, interval, number, percent, table
from evaluation.report.measured_sections import setting_text
from evaluation.stream.frames import Frames

NEAR: Final = (0.005, 0.01, 0.02, 0.05)
FAMILIES: Final = (
    "patches + gate",
    "still codec + gate",
    "every frame as stills",
    "every frame as video",
    "gated frames as video",
    "some stills, label held",
)
NOTES: Final = """\
Bytes are those on the uplink with the same record envelope for every method (about 460 bytes a record):
at these frame sizes the envelope often outweighs a video packet. Video: 224x224, one packet a frame, no
delay; `key2s` has a keyframe every two seconds, `key1` only the first. A video encoder needs all its
frames in order and the server a decoder for each camera; stills and patches are independent of each
other. Intervals resample whole cameras, of which there are few. Points are described, none is
recommended: nothing here was chosen on other cameras."""


def family(point: Point) -> str | None:
    """Return which family a point belongs to; None for the edge alone and raw pixels."""
    each = point.setting
    video = (each.codec or "").startswith(("h264", "av1"))
    if each.method == "edge_only" or each.codec == "raw":
        return None
    if video:
        return FAMILIES[4] if each.gate else FAMILIES[3]
    if each.gate in {"every_nth", "frame_difference"}:
        return FAMILIES[5]
    if each.method == "server_only":
        return FAMILIES[2]
    return FAMILIES[1] if each.method == "codec_gate" else FAMILIES[0]


def stream_page(data: str, frames: Frames, points: Sequence[Point], plots: Path) -> str:
    """Return the page of one source and rate; its plot is in `plots`."""
    plots.mkdir(parents=True, exist_ok=True)
    _plot(plots / "methods_by_bytes.png", data, points)
    fps = frames.cameras[0].fps
    return "\n\n".join(
        [
            f"# Streams: {data}",
            f"{frames.num_frames} frames at {fps:g} frames/s, {int(frames.scored.sum())} of them scored.",
            NOTES,
            "## Bytes that it takes to come near the server on raw frames",
            nearness(points),
            "## Each family's frontier",
            _frontiers(points, fps),
            "![methods by bytes](plots/methods_by_bytes.png)",
            "",
        ]
    )


def nearness(points: Sequence[Point]) -> str:
    """Return for each family the fewest bytes a frame within some distance of the best possible answer."""
    best = max(point.figures.accuracy for point in points if point.setting.method == "server_only")
    rows = []
    for name in FAMILIES:
        mine = [point for point in points if family(point) == name]
        cells = []
        for distance in NEAR:
            near = [p for p in mine if p.figures.accuracy >= best - distance]
            cheapest = min(near, key=lambda p: p.figures.bytes_per_frame, default=None)
            cells.append("–" if cheapest is None else f"{cheapest.figures.bytes_per_frame:.0f}")
        if mine:
            rows.append([name, *cells])
    head = ["bytes a frame", *(f"within {100 * distance:g} points" for distance in NEAR)]
    return f"Best answer by the server alone: {percent(best)} %.\n\n" + table(head, rows)


def _frontiers(points: Sequence[Point], fps: float) -> str:
    rows = []
    for name in FAMILIES:
        mine = [point for point in points if family(point) == name]
        front = pareto_rows([p.figures.bytes_per_frame for p in mine], [p.figures.accuracy for p in mine])
        rows += [[name, *_cells(mine[row], fps)] for row in front]
    rows += [["edge only", *_cells(p, fps)] for p in points if p.setting.method == "edge_only"]
    head = [
        "family",
        "what is sent",
        "gate, τ",
        "top-1 (%)",
        "95 %",
        "offloaded",
        "bytes/frame",
        "kbit/s a camera",
    ]
    return table([*head, "server GMACs"], rows)


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


def _plot(path: Path, title: str, points: Sequence[Point]) -> None:
    figure = Figure(figsize=(7.0, 4.6))
    axes = figure.add_subplot()
    for name in FAMILIES:
        mine = [point for point in points if family(point) == name]
        if not mine:
            continue
        rows = pareto_rows([p.figures.bytes_per_frame for p in mine], [p.figures.accuracy for p in mine])
        front = [mine[row] for row in rows]
        xs, ys = [p.figures.bytes_per_frame for p in front], [100 * p.figures.accuracy for p in front]
        axes.plot(xs, ys, marker="o", markersize=3, label=name)
    for point in points:
        if point.setting.method == "edge_only":
            axes.axhline(100 * point.figures.accuracy, linestyle=":", color="grey", label="edge only")
    axes.set(title=title, xlabel="bytes a frame (log)", ylabel="top-1 (%)", xscale="log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110, bbox_inches="tight")


def overview(
    command: str,
    edge: ModelFacts,
    server: ModelFacts,
    pages: Sequence[tuple[str, list[Point]]],
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
    for name, points in pages:
        parts += [f"## {name}", nearness(points), f"[all of it]({name}/report.md)"]
    return "\n\n".join(parts) + "\n"
