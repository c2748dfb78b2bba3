"""The files of `saccade research`: report.md, rows.json, and the plots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lab.research.rivals import (
    DEVICE_GMACS_PER_S,
    RATES_MBIT_S,
    SERVER_GMACS_PER_S,
    SNRS_DB,
    Bench,
    ExitRow,
    TableRow,
)

PLOTTED = ("never", "always", "confidence, blind", "expected gain > 0", "expected gain > 0.05", "oracle")


def write_report(
    out: Path, command: str, bench: Bench, rows: Sequence[TableRow], exit_rows: Sequence[ExitRow]
) -> Path:
    """Write the report into `out` and return report.md; tables and plots that have no rows are left out."""
    out.mkdir(parents=True, exist_ok=True)
    text = [*_head(command, bench), *_works(bench)]
    if rows:
        text += _table(rows)
        text += ["![accuracy against bytes](table.png)", ""]
        _plot_table(rows, out / "table.png")
    if exit_rows:
        text += _exits(exit_rows)
        text += ["![accuracy against SNR](early-exit.png)", ""]
        _plot_exits(exit_rows, out / "early-exit.png")
    (out / "rows.json").write_text(
        json.dumps(
            {"table": [r._asdict() for r in rows], "early_exit": [r._asdict() for r in exit_rows]}, indent=1
        )
    )
    report = out / "report.md"
    report.write_text("\n".join(text))
    return report


def _head(command: str, bench: Bench) -> list[str]:
    request = bench.request
    pictures = "drawn pictures" if request.data is None else request.data.name
    return [
        "# Rivals on the same pictures",
        "",
        f"`{command}`",
        "",
        f"{request.network} at {request.side}², cut after {request.split}, seed {request.seed}, "
        f"epochs × {request.length:g}; {pictures}: {len(bench.learn)} pictures to learn from, "
        f"{len(bench.held)} to fit decisions on, {len(bench.test)} to judge by. "
        "The three share no track; intervals are 95 %, by track.",
        "",
    ]


def _works(bench: Bench) -> list[str]:
    return [
        _line("split after", "device MMACs", "server MMACs", "map", "float32 bytes"),
        _rule(5),
        *(
            _line(
                each.split,
                f"{each.device_macs / 1e6:.1f}",
                f"{each.server_macs / 1e6:.1f}",
                "×".join(map(str, each.shape)),
                str(each.float_bytes),
            )
            for each in bench.works
        ),
        "",
    ]


def _table(rows: Sequence[TableRow]) -> list[str]:
    rates = [f"ms at {rate:g} Mbit/s" for rate in RATES_MBIT_S]
    names = (
        "method",
        "setting",
        "accuracy",
        "95 %",
        "sent",
        "bytes",
        "rate estimate",
        "without coder",
        "wire",
    )
    lines = [
        "Bytes are means over all pictures, kept ones count 0. *Wire* adds record framing and TCP/IP of a lone "
        f"record. Latency is modelled at {DEVICE_GMACS_PER_S:g} GMAC/s on the device and {SERVER_GMACS_PER_S:g} on "
        "the server (stated, not measured).",
        "",
        _line(*names, "device MMACs", "server MMACs", *rates),
        _rule(len(names) + 2 + len(rates)),
    ]
    lines += [
        _line(
            row.method,
            row.setting,
            f"{row.accuracy:.3f}",
            f"{row.interval[0]:.3f} to {row.interval[1]:.3f}",
            f"{row.sent:.2f}",
            f"{row.payload_bytes:.0f}",
            _whole(row.ideal_bytes),
            _whole(row.plain_bytes),
            f"{row.wire_bytes:.0f}",
            f"{row.device_macs / 1e6:.1f}",
            f"{row.server_macs / 1e6:.1f}",
            *(f"{each:.1f}" for each in row.latency_ms),
        )
        for row in rows
    ]
    return [*lines, ""]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(columns: int) -> str:
    return "|---" * columns + "|"


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _exits(rows: Sequence[ExitRow]) -> list[str]:
    lines = ["Accuracy (mean symbols a picture) by mean SNR.", ""]
    for channel in dict.fromkeys(row.channel for row in rows):
        mine = {(row.decision, row.snr_db): row for row in rows if row.channel == channel}
        lines += [
            _line(channel, *(f"{snr:g} dB" for snr in SNRS_DB)),
            _rule(1 + len(SNRS_DB)),
        ]
        for decision in dict.fromkeys(name for name, _ in mine):
            cells = (mine[decision, snr] for snr in SNRS_DB)
            lines.append(_line(decision, *(f"{c.accuracy:.3f} ({c.symbols:.0f})" for c in cells)))
        lines.append("")
    return lines


def _plot_table(rows: Sequence[TableRow], file: Path) -> None:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for method in dict.fromkeys(row.method for row in rows):
        mine = [row for row in rows if row.method == method]
        errors = list(
            zip(*((r.accuracy - r.interval[0], r.interval[1] - r.accuracy) for r in mine), strict=True)
        )
        axes.errorbar(
            [row.payload_bytes for row in mine],
            [row.accuracy for row in mine],
            yerr=errors,
            fmt="o",
            label=method,
            capsize=2,
        )
    axes.set_xscale("log")
    axes.set_xlabel("payload bytes a picture")
    axes.set_ylabel("accuracy")
    axes.legend(fontsize="small")
    FigureCanvasAgg(figure)
    figure.savefig(file)


def _plot_exits(rows: Sequence[ExitRow], file: Path) -> None:
    channels = tuple(dict.fromkeys(row.channel for row in rows))
    figure = Figure(figsize=(9, 4), layout="constrained")
    for place, channel in enumerate(channels, 1):
        axes = figure.add_subplot(1, len(channels), place)
        for decision in PLOTTED:
            mine = [row for row in rows if (row.channel, row.decision) == (channel, decision)]
            axes.plot(
                [row.snr_db for row in mine], [row.accuracy for row in mine], marker=".", label=decision
            )
        axes.set_title(channel)
        axes.set_xlabel("mean SNR (dB)")
        axes.set_ylabel("accuracy")
        axes.legend(fontsize="x-small")
    FigureCanvasAgg(figure)
    figure.savefig(file)
