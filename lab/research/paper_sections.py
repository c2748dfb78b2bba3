"""The paper's tables and figures as Markdown: published values beside measured ones. Pure."""

from collections.abc import Sequence

import numpy as np

from lab.evaluation.experiments import HEADLINE_DELTA, PAPER_DELTAS
from lab.evaluation.gates import PAPER_TAUS, offloaded
from lab.evaluation.models import ModelFacts, forward_macs
from lab.evaluation.paired import PairedPredictions, Timings
from lab.evaluation.points import ALL, Point, Setting, make_point
from lab.evaluation.report.markdown import change, giga, interval, kilobytes, number, percent, table
from lab.evaluation.schemes import EDGE, Ranked, Whole
from lab.evaluation.selection import Rule
from lab.research import published
from lab.research.latency_model import (
    PAPER_CLIENT_MS,
    PAPER_IMAGE_BYTES,
    PAPER_SERVER_MS,
    RATES_MBIT_S,
    latency,
)
from lab.research.published import PublishedPoint
from schemas.geometry import NUM_PATCHES


def table_i(pairs: PairedPredictions) -> str:
    """Return Table I: parameters, memory in fp32, MACs and top-1 of the models."""
    rows = [
        [
            f"{name} (published)",
            f"{row.parameters_m:g}",
            f"{row.memory_mib:g}",
            f"{row.macs_g:g}",
            f"{row.top1:g}",
        ]
        for name, row in published.TABLE_I.items()
    ]
    accuracies = {"edge": pairs.edge_correct.mean(), "server": pairs.server_correct.mean()}
    for role, facts in (("edge", pairs.edge), ("server", pairs.server)):
        rows.append([f"{role}: {facts.name}", *_sizes(facts), percent(float(accuracies[role]))])
    return "### Table I: the models\n\n" + table(
        ["model", "parameters (M)", "memory fp32 (MiB)", "GMACs", "top-1 (%)"], rows
    )


def _sizes(facts: ModelFacts) -> list[str]:
    macs = forward_macs(NUM_PATCHES, facts.embed_dim, facts.depth)
    memory = facts.num_parameters * 4 / 2**20
    return [f"{facts.num_parameters / 1e6:.2f}", f"{memory:.2f}", giga(macs)]


def tables_ii_iii(pairs: PairedPredictions) -> str:
    """Return Tables II and III: mean kept patches by delta, offload ratio by tau."""
    attention = pairs.attention[EDGE]
    kept = [
        [
            f"{delta:g}",
            number(published.TABLE_II_PATCHES.get(delta), 5),
            f"{Rule('attention_sum', delta).counts(attention).mean():.2f}",
        ]
        for delta in PAPER_DELTAS
    ]
    sent = [
        [
            f"{tau:g}",
            number(published.TABLE_III_OFFLOAD.get(tau)),
            f"{offloaded(pairs.h_min, tau).mean():.4f}",
        ]
        for tau in PAPER_TAUS
    ]
    return (
        "### Table II: mean kept patches by δ, all images\n\n"
        + table(["δ", "published", "measured"], kept)
        + "\n\n### Table III: offload ratio by τ\n\n"
        + table(["τ (bits)", "published", "measured"], sent)
        + "\n\nThe sources used here print Table II at δ = .97 and Table III at τ = .8 and 1 only."
    )


def figure_8(pairs: PairedPredictions, points: Sequence[Point]) -> str:
    """Return Fig. 8: the grid of tau and delta with raw patches."""
    if pairs.same_weights:
        return "### Fig. 8\n\nLeft out: a gate between equal weights gains nothing."
    grid = {
        (point.setting.tau, point.setting.delta): point
        for point in points
        if _is_plain_raw(point) and point.setting.tau in PAPER_TAUS and point.setting.delta in PAPER_DELTAS
    }
    rows = []
    for tau in PAPER_TAUS:
        for delta, theirs in zip(published.FIG8_DELTAS, published.FIG8[tau], strict=True):
            ours = grid.get((tau, delta))
            if ours is not None:
                rows.append(
                    [
                        f"{tau:g}",
                        f"{delta:g}",
                        f"{theirs.cost:.3f}",
                        f"{theirs.accuracy:.2f}",
                        *_raw_cells(ours),
                    ]
                )
    head = [
        "τ",
        "δ",
        "published cost",
        "published top-1",
        "cost",
        "top-1 (%)",
        "95 %",
        "kB/frame",
        "server GMACs",
    ]
    return "### Fig. 8: τ × δ with raw patches\n\n" + table(head, rows)


def _raw_cells(point: Point) -> list[str]:
    figures = point.figures
    return [
        f"{figures.patch_cost:.3f}",
        percent(figures.accuracy),
        interval(*point.accuracy_ci),
        kilobytes(figures.bytes_per_frame),
        giga(figures.server_macs),
    ]


def _is_plain_raw(point: Point) -> bool:
    each = point.setting
    return (
        each.method == "saccade"
        and each.gate == "min_entropy"
        and each.selection == "attention_sum"
        and each.codec == "raw"
        and each.min_patches == 1
        and point.split == ALL
    )


def curve_table(title: str, theirs: Sequence[PublishedPoint], ours: Sequence[Point]) -> str:
    """Return every measured point, and the published curve's accuracy at the same share of raw pixels."""
    if not ours:
        return f"**{title}**: not measured in this run; `--full` does."
    rows = []
    for point in sorted(ours, key=lambda each: each.figures.patch_cost):
        cost = point.figures.patch_cost
        rows.append(
            [
                f"{cost:.3f}",
                percent(_published_at(theirs, cost)),
                percent(point.figures.accuracy),
                interval(*point.accuracy_ci),
            ]
        )
    return f"**{title}**\n\n" + table(["cost", "published top-1", "measured top-1 (%)", "95 %"], rows)


def _published_at(curve: Sequence[PublishedPoint], cost: float) -> float:
    """Return the published accuracy (a share) at a cost, NaN beyond the curve's two ends."""
    if not curve[0].cost <= cost <= curve[-1].cost:
        return float("nan")
    return float(np.interp(cost, [each.cost for each in curve], [each.accuracy / 100 for each in curve]))


def figures_11_to_14(pairs: PairedPredictions, points: Sequence[Point]) -> str:
    """Return Figs. 11 (rollout), 12 (selection rules), 13 (gates), and 14 (encoder) as curves."""
    ungated = [
        point
        for point in points
        if point.setting.method == "saccade" and point.setting.tau == 0.0 and point.split == ALL
    ]
    raw = [point for point in ungated if point.setting.codec == "raw"]

    def chosen(*selections: str) -> list[Point]:
        return [
            point for point in raw if point.setting.selection in selections and point.setting.min_patches == 1
        ]

    parts = [
        "### Figs. 11 and 12: which patches, no gate",
        curve_table("Mean attention, attention sum", published.FIG11_MEAN_ATTENTION, chosen("attention_sum")),
        curve_table("Rollout over all layers, attention sum", published.FIG11_ROLLOUT, chosen("rollout")),
        curve_table("Top-k", published.FIG12_TOP_K, chosen("top_k")),
        curve_table("Threshold", published.FIG12_THRESHOLD, chosen("threshold")),
        "A dash means that the published curve does not reach that cost. The default run measures rivals at "
        "few kept shares, `--full` at all. What each gains or loses at equal share, paired, is under "
        "*Options*.",
    ]
    if pairs.same_weights:
        parts.append("### Figs. 13 and 14\n\nLeft out: edge and server have the same weights.")
        return "\n\n".join(parts)
    whole = [
        point
        for point in points
        if point.setting.delta == 1.0 and point.setting.codec == "raw" and point.split == ALL
    ]
    for gate, theirs in (("min_entropy", published.FIG13_MIN_ENTROPY), ("shannon", published.FIG13_SHANNON)):
        curve = [point for point in whole if point.setting.gate == gate and point.setting.method == "saccade"]
        parts.append(curve_table(f"Fig. 13: {gate.replace('_', '-')} gate, whole raw images", theirs, curve))
    server = chosen("server_attention")
    parts.append("### Fig. 14: whose attention\n\n" + _encoder_table(chosen("attention_sum"), server))
    return "\n\n".join(parts)


def _encoder_table(edge: Sequence[Point], server: Sequence[Point]) -> str:
    if not server:
        return "Not measured in this run: no pass of the server's own choice fitted the budget."
    rows = []
    edge = sorted(edge, key=lambda each: each.figures.patch_cost)
    for point in server:
        costs = [each.figures.patch_cost for each in edge]
        accuracies = [each.figures.accuracy for each in edge]
        cost = point.figures.patch_cost
        rows.append(
            [
                f"{cost:.3f}",
                percent(float(np.interp(cost, costs, accuracies))),
                percent(point.figures.accuracy),
                interval(*point.accuracy_ci),
            ]
        )
    return table(["cost", "edge's attention (%)", "server's attention (%)", "95 %"], rows)


def figures_15_16(pairs: PairedPredictions, headline: Point | None, timings: Timings | None) -> str:
    """Return the latency model with the paper's constants and with measured times and bytes."""
    title = "### Figs. 15 and 16: latency model (client + uplink + server, nothing queued)"
    rows = [
        [f"{rate}", "published", f"{theirs[0]:.1f}", f"{theirs[1]:.1f}", change(theirs[1] / theirs[0] - 1)]
        for rate, theirs in published.LATENCY_MS.items()
    ]
    if headline is not None:
        full_macs = pairs.payload(Whole()).server_macs[0]
        figures = headline.figures
        work = figures.server_macs / full_macs / figures.offload_ratio if figures.offload_ratio else 0.0
        times: list[tuple[str, float, float, float | None]] = [
            ("paper's times, raw pixels", PAPER_CLIENT_MS, PAPER_SERVER_MS, None)
        ]
        if timings is not None:
            whole = float(pairs.answers[Whole()].wire_bytes.mean())
            times.append(("measured times and bytes", timings.edge_ms, timings.server_full_ms, whole))
        for name, client_ms, server_ms, whole_bytes in times:
            for rate in RATES_MBIT_S:
                raw = whole_bytes is None
                result = latency(
                    rate_mbit_s=rate,
                    client_ms=client_ms,
                    server_full_ms=server_ms,
                    offload_ratio=figures.offload_ratio,
                    bytes_per_frame=figures.patch_cost * PAPER_IMAGE_BYTES
                    if raw
                    else figures.bytes_per_frame,
                    server_macs_ratio=work,
                    whole_image_bytes=PAPER_IMAGE_BYTES if whole_bytes is None else whole_bytes,
                )
                rows.append(
                    [
                        f"{rate}",
                        name,
                        f"{result.server_only_ms:.1f}",
                        f"{result.total_ms:.1f}",
                        change(-result.reduction),
                    ]
                )
    where = "" if headline is None else _headline_text(headline)
    return f"{title}\n\n{where}" + table(
        ["Mbit/s", "what", "server only (ms)", "saccade (ms)", "change"], rows
    )


def _headline_text(point: Point) -> str:
    each = point.setting
    return f"At δ = {each.delta:g}, τ = {each.tau:g}, raw patches.\n\n"


def headline_point(pairs: PairedPredictions) -> Point | None:
    """Return the paper's operating point (delta .97, tau .8, raw), None where it was not measured."""
    scheme = Ranked(Rule("attention_sum", HEADLINE_DELTA))
    if scheme not in pairs.answers:
        return None
    setting = Setting("saccade", "min_entropy", 0.8, "attention_sum", HEADLINE_DELTA, 1, "raw", 0)
    return make_point(pairs, setting, offloaded(pairs.h_min, 0.8), pairs.payload(scheme))
