"""The paper's tables and figures: published values beside measured ones. Pure; the report's template prints them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lab.evaluation.experiments import HEADLINE_DELTA, PAPER_DELTAS
from lab.evaluation.gates import PAPER_TAUS, offloaded
from lab.evaluation.paired import PairedPredictions, Timings
from lab.evaluation.points import ALL, Point, Setting, make_point
from lab.evaluation.schemes import EDGE, Ranked, Whole
from lab.evaluation.selection import Rule
from lab.evaluation.sweep import Measurement
from lab.research import published
from lab.research.latency_model import (
    PAPER_CLIENT_MS,
    PAPER_IMAGE_BYTES,
    PAPER_SERVER_MS,
    RATES_MBIT_S,
    latency,
)
from lab.research.published import PublishedModel, PublishedPoint

Curve = list[tuple[Point, float]]
"""Points by rising cost, each with the published accuracy (a share) at that cost, NaN beyond the curve."""


class TableRow(NamedTuple):
    """A value of a table: its parameter, the published value where there is one, the measured one."""

    parameter: float
    published: float | None
    measured: float


class Delay(NamedTuple):
    """A row of Figs. 15 and 16, in milliseconds."""

    rate_mbit_s: int
    what: str
    server_only_ms: float
    together_ms: float


@dataclass(frozen=True)
class PaperFigures:
    """All that the paper shows, as this run has it.

    `table_i` are the published models. `kept` is Table II (mean kept patches by delta), `sent` Table III (offload
    ratio by tau), `grid` Fig. 8, `selections` Figs. 11 and 12 by selection rule, `gates` Fig. 13 by score,
    `encoder` Fig. 14 as (accuracy by the edge's attention at that cost, point by the server's), `latency` Figs. 15
    and 16, at the operating point `headline` where that was measured.
    """

    table_i: list[tuple[str, PublishedModel]]
    kept: list[TableRow]
    sent: list[TableRow]
    grid: list[tuple[PublishedPoint, Point]]
    selections: dict[str, Curve]
    gates: dict[str, Curve]
    encoder: list[tuple[float, Point]]
    headline: Point | None
    latency: list[Delay]


def paper_figures(pairs: PairedPredictions, points: Sequence[Point], timings: Timings | None) -> PaperFigures:
    """Return the paper's figures from all points of a run."""
    raw = [point for point in points if _is_raw(point) and point.setting.min_patches == 1]
    ungated = [point for point in raw if point.setting.method == "saccade" and point.setting.tau == 0.0]
    whole = [point for point in raw if point.setting.method == "saccade" and point.setting.delta == 1.0]

    def chosen(selection: str) -> list[Point]:
        return [point for point in ungated if point.setting.selection == selection]

    attention, headline = pairs.attention[EDGE], headline_point(pairs)
    return PaperFigures(
        table_i=list(published.TABLE_I.items()),
        kept=[
            TableRow(
                delta,
                published.TABLE_II_PATCHES.get(delta),
                float(Rule("attention_sum", delta).counts(attention).mean()),
            )
            for delta in PAPER_DELTAS
        ],
        sent=[
            TableRow(tau, published.TABLE_III_OFFLOAD.get(tau), float(offloaded(pairs.h_min, tau).mean()))
            for tau in PAPER_TAUS
        ],
        grid=_grid(raw),
        selections={
            name: curve(theirs, chosen(name))
            for name, theirs in (
                ("attention_sum", published.FIG11_MEAN_ATTENTION),
                ("rollout", published.FIG11_ROLLOUT),
                ("top_k", published.FIG12_TOP_K),
                ("threshold", published.FIG12_THRESHOLD),
            )
        },
        gates={
            gate: curve(theirs, [point for point in whole if point.setting.gate == gate])
            for gate, theirs in (
                ("min_entropy", published.FIG13_MIN_ENTROPY),
                ("shannon", published.FIG13_SHANNON),
            )
        },
        encoder=_encoder(chosen("attention_sum"), chosen("server_attention")),
        headline=headline,
        latency=[
            *(Delay(rate, "published", *theirs) for rate, theirs in published.LATENCY_MS.items()),
            *(_delays(pairs, headline.figures, timings) if headline is not None else ()),
        ],
    )


def curve(theirs: Sequence[PublishedPoint], ours: Sequence[Point]) -> Curve:
    """Return every measured point with the published curve's accuracy at the same share of raw pixels."""
    costs, accuracies = [each.cost for each in theirs], [each.accuracy / 100 for each in theirs]
    by_cost = sorted(ours, key=_patch_cost)
    reached = np.interp([_patch_cost(each) for each in by_cost], costs, accuracies, left=np.nan, right=np.nan)
    return list(zip(by_cost, reached.tolist(), strict=True))


def headline_point(pairs: PairedPredictions) -> Point | None:
    """Return the paper's operating point (delta .97, tau .8, raw), None where it was not measured."""
    scheme = Ranked(Rule("attention_sum", HEADLINE_DELTA))
    if scheme not in pairs.answers:
        return None
    setting = Setting("saccade", "min_entropy", 0.8, "attention_sum", HEADLINE_DELTA, 1, "raw", 0)
    return make_point(pairs, setting, offloaded(pairs.h_min, 0.8), pairs.payload(scheme))


def _patch_cost(point: Point) -> float:
    return point.figures.patch_cost


def _is_raw(point: Point) -> bool:
    return point.setting.codec == "raw" and point.split == ALL


def _grid(raw: Sequence[Point]) -> list[tuple[PublishedPoint, Point]]:
    ours = {
        (point.setting.tau, point.setting.delta): point
        for point in raw
        if (point.setting.method, point.setting.gate, point.setting.selection)
        == ("saccade", "min_entropy", "attention_sum")
    }
    return [
        (theirs, ours[tau, delta])
        for tau in PAPER_TAUS
        for delta, theirs in zip(published.FIG8_DELTAS, published.FIG8[tau], strict=True)
        if (tau, delta) in ours
    ]


def _encoder(edge: Sequence[Point], server: Sequence[Point]) -> list[tuple[float, Point]]:
    by_cost = sorted(edge, key=_patch_cost)
    costs, accuracies = [_patch_cost(each) for each in by_cost], [each.figures.accuracy for each in by_cost]
    return [(float(np.interp(_patch_cost(point), costs, accuracies)), point) for point in server]


def _delays(pairs: PairedPredictions, figures: Measurement, timings: Timings | None) -> list[Delay]:
    full_macs = float(pairs.payload(Whole()).server_macs[0])
    work = figures.server_macs / full_macs / figures.offload_ratio if figures.offload_ratio else 0.0
    # What is measured, client and server milliseconds, bytes a frame, bytes of a whole image.
    raw = figures.patch_cost * PAPER_IMAGE_BYTES
    cases = [("paper's times, raw pixels", PAPER_CLIENT_MS, PAPER_SERVER_MS, raw, float(PAPER_IMAGE_BYTES))]
    if timings is not None:
        whole = float(pairs.answers[Whole()].wire_bytes.mean())
        times = timings.edge_ms, timings.server_full_ms
        cases.append(("measured times and bytes", *times, figures.bytes_per_frame, whole))
    delays = []
    for what, client_ms, server_ms, frame_bytes, whole_bytes in cases:
        for rate in RATES_MBIT_S:
            result = latency(
                rate_mbit_s=rate,
                client_ms=client_ms,
                server_full_ms=server_ms,
                offload_ratio=figures.offload_ratio,
                bytes_per_frame=frame_bytes,
                server_macs_ratio=work,
                whole_image_bytes=whole_bytes,
            )
            delays.append(Delay(rate, what, result.server_only_ms, result.total_ms))
    return delays
