"""The summary as a person reads it at the end of a demo."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from devstack.demo.summary import Summary


def print_summary(summary: Summary, console: Console) -> None:
    """Print the figures of a run as a table."""
    table = Table(title="what the run came to", title_justify="left", show_header=False)
    table.add_column(justify="left")
    table.add_column(justify="left")
    for name, value in rows(summary):
        table.add_row(name, value)
    console.print(table)


def rows(summary: Summary) -> list[tuple[str, str]]:
    """Return the table's rows."""
    latency = summary.latency_ms
    drops = ", ".join(f"{number} {cause}" for cause, number in summary.frames_dropped.items()) or "none"
    ratio = summary.offload_bytes / summary.whole_jpeg_bytes if summary.whole_jpeg_bytes else 0.0
    return [
        (
            "frames",
            f"{summary.frames_published} published, {summary.frames_missing} missing, {summary.frames_still} still and "
            f"not classified again, dropped: {drops}",
        ),
        (
            "labels",
            f"{summary.labels_final_edge} final by the edge, {summary.labels_final_server} by the server, "
            f"{summary.labels_final_belief} by the camera's belief, {summary.labels_provisional} stayed provisional",
        ),
        (
            "accuracy",
            f"pair {percent(summary.accuracy)}; on {summary.server_sample} whole frames: edge alone "
            f"{percent(summary.accuracy_edge)}, server alone {percent(summary.accuracy_server_sample)}",
        ),
        (
            "offloaded",
            f"{summary.frames_offloaded} frames, {summary.offload_bytes / 1000:.0f} kB "
            f"({ratio:.1%} of every frame as a whole JPEG), patch cost {summary.patch_cost:.3f}",
        ),
        (
            "servers",
            f"{percent(summary.server_finals_share)} of the records sent became final in time; "
            + ", ".join(f"{name} {share:.0%}" for name, share in summary.server_worker_shares.items()),
        ),
        (
            "latency",
            f"edge p50 {latency['edge_p50']} ms, p99 {latency['edge_p99']} ms; "
            f"server p50 {latency['server_p50']} ms, p99 {latency['server_p99']} ms",
        ),
        ("uplink", f"{summary.uplink}; cap exceeded in {summary.budget_broken} windows"),
        ("dead letters", str(summary.dead_lettered)),
    ]


def percent(value: float | None) -> str:
    """Return a share as per cent, a dash for none."""
    return "–" if value is None else f"{value:.1%}"
