"""The model card's table: the operating point, chosen on calibration scenes, and a row for each figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gating.entropy import min_entropy_bits, shannon_entropy_bits
from lab.evaluation.bootstrap import mean_interval, paired_difference
from lab.evaluation.confidence import auroc
from lab.scenes.classes import GROUP_OF_CLASS, GROUPS
from lab.training.shape.answers import SceneAnswers, column_of
from lab.training.shape.choices import ALL, CALIBRATED, GATED, SHARES, WHOLE, PatchChoice, gated, share
from schemas.geometry import NUM_PATCHES

Floats = NDArray[np.float64]

MOST_COST: Final = 0.20
_MARGIN: Final = 0.95  # aim below the limit, so that fresh scenes stay below it too
_LOSS: Final = 0.005
_TAUS: Final = 100
SIDES: Final = ((0.0, 10.0), (24.0, 36.0), (36.0, 56.0), (56.0, 88.0), (88.0, 160.0))
_RESAMPLES: Final = 400
_SEED: Final = 20260102


@dataclass(frozen=True, slots=True)
class GatePoint:
    """Offload at ``tau`` bits of min-entropy or more; keep patches by ``delta``, at least ``floor``."""

    tau: float
    delta: float
    floor: int


def choose(seen: SceneAnswers) -> GatePoint:
    """Return the point that offloads the fewest frames, from answers under `CALIBRATED`.

    Its patch cost is at most 0.20 and its accuracy within half a point of the server's on whole crops; where no
    point is both, it is the most accurate affordable one.

    Raises:
        ValueError: no point is that cheap, which only happens without scenes.

    """
    entropy = min_entropy_bits(seen.edge_logits)
    edge = seen.edge_logits.argmax(1) == seen.truth
    server = seen.answers[:, column_of(CALIBRATED, WHOLE)] == seen.truth
    wanted = float(server.mean()) - _LOSS
    best: tuple[tuple[float, float], GatePoint] | None = None
    for delta, floor in GATED:
        column = column_of(CALIBRATED, gated(delta, floor))
        served = seen.answers[:, column] == seen.truth
        cost = seen.patches[:, column] / NUM_PATCHES
        for tau in np.quantile(entropy, np.linspace(0, 1, _TAUS)):
            asked = entropy >= tau
            accuracy = float(np.where(asked, served, edge).mean())
            affordable = float(np.where(asked, cost, 0).mean()) <= MOST_COST * _MARGIN
            rank = min(accuracy, wanted), -float(asked.mean())
            if affordable and (best is None or rank > best[0]):
                best = rank, GatePoint(float(tau), delta, floor)
    if best is None:
        raise ValueError(f"no operating point among {len(seen.truth)} scenes costs at most {MOST_COST}")
    return best[1]


@dataclass(frozen=True, slots=True)
class CardRow:
    """One line of the card: ``value``, its 95 % interval, whether it is as ``asked`` (None: not asked)."""

    what: str
    value: float
    low: float
    high: float
    asked: str = ""
    met: bool | None = None


def accuracy_row(what: str, right: NDArray[np.bool_], asked: str = "", met: bool | None = None) -> CardRow:
    """Return the row of a share of right answers."""
    values = right.astype(np.float64)
    low, high = mean_interval(values)
    return CardRow(what, float(values.mean()), low, high, asked, met)


def difference_row(what: str, ours: Floats, others: Floats, asked: str, least: float) -> CardRow:
    """Return the row of a paired difference of accuracies that must be at least ``least``."""
    value, (low, high) = paired_difference(ours, others)
    return CardRow(what, value, low, high, asked, value >= least)


def rows(seen: SceneAnswers, colour_right: NDArray[np.bool_], point: GatePoint) -> list[CardRow]:
    """Return all rows of the card for these scenes, answered under the choices `ALL`."""
    return [
        *accuracy_rows(seen),
        *entropy_rows(seen),
        *kept_rows(seen),
        *share_rows(seen),
        *gate_rows(seen, point),
        accuracy_row(
            "logistic regression on colours",
            colour_right,
            "below 50 %",
            bool(colour_right.mean() < 0.5),
        ),
        *breakdown_rows(seen),
    ]


def server_right(seen: SceneAnswers, choice: PatchChoice) -> NDArray[np.bool_]:
    """Return (n,) whether the server is right under a choice."""
    return np.asarray(seen.answers[:, column_of(ALL, choice)] == seen.truth)


def edge_right(seen: SceneAnswers) -> NDArray[np.bool_]:
    """Return (n,) whether the edge is right."""
    return np.asarray(seen.edge_logits.argmax(1) == seen.truth)


def accuracy_rows(seen: SceneAnswers) -> list[CardRow]:
    """Return server, edge and the gap between them."""
    server, edge = server_right(seen, WHOLE), edge_right(seen)
    gap, (low, high) = paired_difference(server.astype(np.float64), edge.astype(np.float64))
    return [
        accuracy_row("server, whole crops", server, "at least 94 %", bool(server.mean() >= 0.94)),
        accuracy_row("edge", edge),
        CardRow("server − edge", gap, low, high, "7 to 11 points", 0.07 <= gap <= 0.11),
    ]


def entropy_rows(seen: SceneAnswers) -> list[CardRow]:
    """Return how well either entropy tells the edge's errors."""
    wrong = ~edge_right(seen)
    return [
        auroc_row("min-entropy", min_entropy_bits(seen.edge_logits), wrong),
        auroc_row("Shannon entropy", shannon_entropy_bits(seen.edge_logits), wrong),
    ]


def auroc_row(name: str, entropy: Floats, wrong: NDArray[np.bool_]) -> CardRow:
    """Return the row of the probability that a wrong answer has more entropy than a right one."""
    low, high = resampled(lambda chosen: auroc(entropy[chosen], wrong[chosen]), len(wrong))
    return CardRow(f"AUROC of {name} for the edge's errors", auroc(entropy, wrong), low, high)


def kept_rows(seen: SceneAnswers) -> list[CardRow]:
    """Return the 10th, 50th and 90th percentile of the patches kept by δ."""
    kept = ((0.9, seen.counts_90), (0.97, seen.counts_97))
    return [percentile_row(delta, counts, percent) for delta, counts in kept for percent in (10, 50, 90)]


def percentile_row(delta: float, counts: NDArray[np.int64], percent: int) -> CardRow:
    """Return the row of one percentile; of the median it is asked that it is neither tiny nor nearly all."""
    value = float(np.percentile(counts, percent))
    low, high = resampled(lambda chosen: float(np.percentile(counts[chosen], percent)), len(counts))
    asked, met = ("8 to 150", 8 <= value <= 150) if percent == 50 else ("", None)
    return CardRow(f"patches kept at δ = {delta}, {percent}th percentile", value, low, high, asked, met)


def share_rows(seen: SceneAnswers) -> list[CardRow]:
    """Return the server's accuracy on shares of the patches, by attention and at random."""
    whole = server_right(seen, WHOLE).astype(np.float64)
    found = []
    for value in SHARES:
        best = server_right(seen, share(value))
        chance = server_right(seen, share(value, by_attention=False))
        label = f"{value:.0%} of the patches"
        found += [
            accuracy_row(f"server, {label} by attention", best),
            accuracy_row(f"server, {label} at random", chance),
        ]
        if value == 0.50:
            found.append(_loss_row(f"lost at {label}", whole, best, 0.01))
        if value == 0.25:
            found.append(_loss_row(f"lost at {label}", whole, best, 0.03))
            ours, others = best.astype(np.float64), chance.astype(np.float64)
            found.append(
                difference_row(f"attention − random at {label}", ours, others, "at least 15 points", 0.15)
            )
    return found


def _loss_row(what: str, whole: Floats, part: NDArray[np.bool_], most: float) -> CardRow:
    value, (low, high) = paired_difference(whole, part.astype(np.float64))
    return CardRow(what, value, low, high, f"at most {100 * most:.0f} points", value <= most)


def gate_rows(seen: SceneAnswers, point: GatePoint) -> list[CardRow]:
    """Return what the chosen operating point brings, and what chance brings at the same cost."""
    choice = gated(point.delta, point.floor)
    asked = min_entropy_bits(seen.edge_logits) >= point.tau
    edge, whole = (right.astype(np.float64) for right in (edge_right(seen), server_right(seen, WHOLE)))
    served = server_right(seen, choice).astype(np.float64)
    unaimed = server_right(seen, gated(point.delta, point.floor, by_attention=False)).astype(np.float64)
    pair = np.where(asked, served, edge)
    cost = np.where(asked, seen.patches[:, column_of(ALL, choice)] / NUM_PATCHES, 0.0)
    ratio = float(asked.mean())
    random_gate = ratio * served + (1 - ratio) * edge
    low, high = mean_interval(cost)
    name = f"pair at τ = {point.tau:.2f}, δ = {point.delta}, min_patches = {point.floor}"
    share_low, share_high = mean_interval(asked.astype(np.float64))
    pair_low, pair_high = mean_interval(pair)
    return [
        CardRow(name, float(pair.mean()), pair_low, pair_high),
        CardRow("frames offloaded there", ratio, share_low, share_high),
        CardRow("patch cost there", float(cost.mean()), low, high, "at most 0.20", bool(cost.mean() <= 0.20)),
        _below_row("server − pair", whole, pair),
        difference_row("pair − edge", pair, edge, "at least 5 points", 0.05),
        difference_row("pair − random gate at the same cost", pair, random_gate, "above 0", 1e-9),
        difference_row(
            "pair − random patches at the same cost", pair, np.where(asked, unaimed, edge), "above 0", 1e-9
        ),
    ]


def _below_row(what: str, server: Floats, pair: Floats) -> CardRow:
    value, (low, high) = paired_difference(server, pair)
    return CardRow(what, value, low, high, "at most 1 point", value <= 0.01)


def breakdown_rows(seen: SceneAnswers) -> list[CardRow]:
    """Return both models' accuracy by the object's side in the crop and by group of classes."""
    groups = np.array(GROUP_OF_CLASS)[seen.truth]
    parts = {
        f"side {low:.0f} to {high:.0f} px": (seen.side_px >= low) & (seen.side_px < high) & (seen.truth > 0)
        for low, high in SIDES[1:]
    }
    parts |= {f"group {name}": groups == index for index, name in enumerate(GROUPS)}
    edge, server = edge_right(seen), server_right(seen, WHOLE)
    return [
        accuracy_row(f"{model}, {name}", right[chosen])
        for name, chosen in parts.items()
        if chosen.any()
        for model, right in (("edge", edge), ("server", server))
    ]


def resampled(statistic: Callable[[NDArray[np.int64]], float], count: int) -> tuple[float, float]:
    """Return the percentile interval of ``statistic`` (row indices → number) over resampled rows."""
    random = np.random.default_rng(_SEED)
    values = [statistic(random.integers(0, count, count)) for _ in range(_RESAMPLES)]
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


BEGIN: Final = "<!-- measured: begin -->"
END: Final = "<!-- measured: end -->"


def markdown(rows: Sequence[CardRow]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| measured | value | 95 % interval | asked | |", "|---|---|---|---|---|"]
    for row in rows:
        verdict = "" if row.met is None else "yes" if row.met else "**no**"
        interval = f"{number(row, row.low)} to {number(row, row.high)}"
        lines.append(f"| {row.what} | {number(row, row.value)} | {interval} | {row.asked} | {verdict} |")
    return "\n".join(lines)


def number(row: CardRow, value: float) -> str:
    """Return a value in the row's unit: patches as they are, AUROC as a share, all else in per cent."""
    if "patches kept" in row.what:
        return f"{value:.0f}"
    if "AUROC" in row.what:
        return f"{value:.3f}"
    if row.what.startswith("patch cost"):
        return f"{value:.3f}"
    return f"{100 * value:.1f} %"


def replace_table(card: Path, table: str) -> None:
    """Put the table between the card's marks.

    Raises:
        ValueError: the card lacks the marks.

    """
    text = card.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{card}: no place for the table; it needs the lines {BEGIN} and {END}")
    card.write_text(f"{head}{BEGIN}\n{table}\n{END}{tail}", encoding="utf-8")
