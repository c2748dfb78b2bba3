"""The files of `saccade research`: report.md, rows.json, and the plots."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lab.evaluation.bootstrap import Interval
from lab.research.bench import Bench, TableRow, all_rows
from lab.research.cost import DEVICE_GMACS_PER_S, RATES_MBIT_S, SERVER_GMACS_PER_S
from lab.research.exit_rows import AWARE, SNRS_DB, ExitRow
from lab.research.rivals import EqualAccuracy
from lab.research.rivals_run import Measured

PLOTTED: Final = ("never", "always", "confidence, blind", AWARE, "expected gain > 0.05", "oracle")


def write_report(out: Path, command: str, measured: Measured, wall_s: float) -> Path:
    """Write the report into `out` and return report.md; tables and plots that have no rows are left out."""
    out.mkdir(parents=True, exist_ok=True)
    rows, exit_rows = measured.rows, measured.exit_rows
    text = [*_head(command, measured.bench, wall_s), *_works(measured.bench), *_table(rows, measured.bench)]
    text += ["![accuracy against bytes](table.png)", ""]
    _plot_table(rows, out / "table.png")
    if measured.equals:
        text += _equals(measured.equals)
    if exit_rows:
        text += _exits(exit_rows)
        text += ["![accuracy against SNR](early-exit.png)", ""]
        _plot_exits(exit_rows, out / "early-exit.png")
    document = {
        "table": [{**row._asdict(), "cost": row.cost._asdict(), "right": None} for row in rows],
        "early_exit": [row._asdict() for row in exit_rows],
    }
    (out / "rows.json").write_text(json.dumps(document, indent=1))
    report = out / "report.md"
    report.write_text("\n".join(text))
    return report


def _head(command: str, bench: Bench, wall_s: float) -> list[str]:
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
        f"The three share no track; intervals are 95 %, by track. This run took {wall_s / 60:.1f} minutes; what "
        "earlier ones had left in the folder was not made again.",
        "",
    ]


def _works(bench: Bench) -> list[str]:
    return _lines(
        ("split after", "device MMACs", "server MMACs", "map", "float32 bytes"),
        [
            (
                each.split,
                f"{each.device_macs / 1e6:.1f}",
                f"{each.server_macs / 1e6:.1f}",
                "×".join(map(str, each.shape)),
                str(each.float_bytes),
            )
            for each in bench.works
        ],
    )


def _table(rows: Sequence[TableRow], bench: Bench) -> list[str]:
    rates = " / ".join(f"{rate:g}" for rate in RATES_MBIT_S)
    return [
        "Bytes are means over all pictures, kept ones count 0. *Wire* adds record framing and TCP/IP of a lone record; "
        f"the map at the cut is {bench.work.float_bytes} bytes as float32. Latency in ms at {rates} Mbit/s is device, "
        f"uplink and server without queues: *stated* at {DEVICE_GMACS_PER_S:g} GMAC/s on the device and "
        f"{SERVER_GMACS_PER_S:g} on the server, *measured* with the times of this machine, one picture at a time, "
        "coders left out. Saccade's settings are chosen on half of the test tracks and shown on the other half.",
        "",
        *_lines(
            (
                *("method", "setting", "accuracy", "95 %", "sent", "bytes", "rate estimate", "without coder"),
                *("wire", "device MMACs", "server MMACs", "ms stated", "ms measured"),
            ),
            [
                (
                    row.method,
                    row.setting,
                    f"{row.accuracy:.3f}",
                    _interval(row.interval),
                    f"{row.sent:.2f}",
                    f"{row.payload_bytes:.0f}",
                    _whole(row.ideal_bytes),
                    _whole(row.plain_bytes),
                    f"{row.wire_bytes:.0f}",
                    f"{row.cost.device_macs / 1e6:.1f}",
                    f"{row.cost.server_macs / 1e6:.1f}",
                    _times(row.cost.stated.latency_ms(row.wire_bytes)),
                    _times(row.cost.latency_ms(row.wire_bytes)),
                )
                for row in rows
            ],
        ),
    ]


def _equals(equals: Sequence[EqualAccuracy]) -> list[str]:
    return [
        "AECNN's cheapest row that is at least as accurate as each row of BottleNet++:",
        "",
        *_lines(
            (
                "BottleNet++",
                "accuracy",
                "bytes",
                "AECNN",
                "accuracy",
                "bytes",
                "difference in points, paired",
            ),
            [
                (
                    each.theirs.setting,
                    f"{each.theirs.accuracy:.3f}",
                    f"{each.theirs.payload_bytes:.0f}",
                    each.ours.setting,
                    f"{each.ours.accuracy:.3f}",
                    f"{each.ours.payload_bytes:.0f}",
                    f"{100 * each.gain:+.1f} ({_interval(each.interval, scale=100.0, digits=1)})",
                )
                for each in equals
            ],
        ),
    ]


def _exits(rows: Sequence[ExitRow]) -> list[str]:
    lines = ["Accuracy (mean symbols a picture) by mean SNR.", ""]
    for code, channel in _kinds(rows):
        mine = {(row.decision, row.snr_db): row for row in rows if (row.code, row.channel) == (code, channel)}
        table = [
            (decision, *(_cell(mine[decision, snr]) for snr in SNRS_DB))
            for decision in dict.fromkeys(name for name, _ in mine)
        ]
        aware = (mine[AWARE, snr] for snr in SNRS_DB)
        against = (f"{100 * row.gain:+.1f} ({_interval(row.gain_interval, 100.0, 1)})" for row in aware)
        table.append((f"points of {AWARE} above the better of always and never", *against))
        lines += _lines((f"{code}, {channel}", *(f"{snr:g} dB" for snr in SNRS_DB)), table)
    return lines


def _cell(row: ExitRow) -> str:
    return f"{row.accuracy:.3f} ({row.symbols:.0f})"


def _kinds(rows: Sequence[ExitRow]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row.code, row.channel) for row in rows))


def _lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_line(head), "|---" * len(head) + "|", *map(_line, rows), ""]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _interval(interval: Interval, scale: float = 1.0, digits: int = 3) -> str:
    low, high = (f"{scale * each:.{digits}f}" for each in interval)
    return f"{low} to {high}"


def _times(times_ms: Sequence[float]) -> str:
    return " / ".join(f"{each:.1f}" for each in times_ms)


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _plot_table(rows: Sequence[TableRow], file: Path) -> None:
    sizes: tuple[tuple[str, Callable[[TableRow], float]], ...] = (
        ("payload bytes a picture", lambda row: row.payload_bytes),
        ("wire bytes a picture, lone record", lambda row: row.wire_bytes),
    )
    figure = Figure(figsize=(12, 5), layout="constrained")
    for place, (label, size_of) in enumerate(sizes, 1):
        axes = figure.add_subplot(1, len(sizes), place)
        for method in dict.fromkeys(row.method for row in rows):
            _plot_method(axes, all_rows(rows, method), size_of)
        axes.set_xscale("log")
        axes.set_xlabel(label)
        axes.set_ylabel("accuracy")
    axes.legend(fontsize="small")
    FigureCanvasAgg(figure)
    figure.savefig(file)


def _plot_method(axes: Axes, rows: Sequence[TableRow], size_of: Callable[[TableRow], float]) -> None:
    errors = zip(*((r.accuracy - r.interval[0], r.interval[1] - r.accuracy) for r in rows), strict=True)
    axes.errorbar(
        [size_of(row) for row in rows],
        [row.accuracy for row in rows],
        yerr=list(errors),
        fmt="o",
        label=rows[0].method,
        capsize=2,
    )


def _plot_exits(rows: Sequence[ExitRow], file: Path) -> None:
    kinds = _kinds(rows)
    figure = Figure(figsize=(9, 3.5 * len(kinds) / 2), layout="constrained")
    for place, (code, channel) in enumerate(kinds, 1):
        axes = figure.add_subplot(-(-len(kinds) // 2), 2, place, title=f"{code}, {channel}")
        axes.set(xlabel="mean SNR (dB)", ylabel="accuracy")
        for decision in PLOTTED:
            mine = [row for row in rows if (row.code, row.channel, row.decision) == (code, channel, decision)]
            axes.plot(
                [row.snr_db for row in mine], [row.accuracy for row in mine], marker=".", label=decision
            )
    figure.axes[0].legend(fontsize="x-small")
    FigureCanvasAgg(figure)
    figure.savefig(file)
