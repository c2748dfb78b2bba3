"""What the paper does not show: real bytes, rivals, options with their gain or loss, calibration. Pure."""

from collections.abc import Sequence

import numpy as np

from gating.entropy import confidence
from lab.evaluation.bootstrap import Interval, paired_difference
from lab.evaluation.chosen import CODED_PATCHES, RAW_PATCHES, WHOLE_CODEC, FamilyVerdict
from lab.evaluation.comparisons import Comparison
from lab.evaluation.confidence import auroc, reliability, risk_coverage
from lab.evaluation.gates import margin_scores, shannon_scores
from lab.evaluation.paired import PairedPredictions
from lab.evaluation.points import ALL, Point, Setting
from lab.evaluation.report.markdown import (
    change,
    giga,
    interval,
    kilobytes,
    number,
    percent,
    signed_interval,
    table,
)
from lab.evaluation.report.markdown import points as in_points
from lab.evaluation.schemes import Whole

COVERAGES = (0.2, 0.4, 0.6, 0.8, 1.0)
_FRONTIER_ROWS = 8
RECONSTRUCTIONS = """\
What is a reconstruction: the paper compares with four methods without saying how it adapted them,
and prints no values.

- **SDT**: the crop at half its side goes first, raw; where the server stays unsure it asks for its
  most attended quarter of the patches at full resolution, pastes them into the up-sampled image and
  classifies again.
- **ISR**: the crop at 1/2 or 1/4 of its side, raw, up-sampled on the server: always bicubic, a lower
  bound for the published method; with Real-ESRGAN too where `--super-resolution` gives its weights.
- **MOT**: a random quarter of the patches, raw, the rest filled with the mean colour, a lower bound
  too; painted by a masked auto-encoder where `--masked-autoencoder` gives its weights. **A-MOT**: a
  second random quarter where the server stays unsure. Work of restoring networks is not counted.
- Their `tau` is the server's own threshold for the second round; they have no model at the edge.
  `patch_cost` counts pixels sent / 50,176.
- **random_gate** is the exact mean over all draws of lots, at the offload ratio of the min-entropy
  gate at its `tau`; **random_patches** the mean of three seeds; **oracle_gate** sends a frame
  exactly when the edge is wrong and the server right on that very payload."""


def setting_text(each: Setting) -> str:
    """Return a setting in a few words."""
    if each.selection is None:
        return "nothing"
    share = "" if each.delta is None else f" {number(each.delta)}"
    kept = "whole image" if each.delta == 1.0 else f"{each.selection}{share}"
    codec = each.codec if not each.quality or "/" in str(each.codec) else f"{each.codec}-{each.quality}"
    floor = f", floor {each.min_patches}" if each.min_patches and each.min_patches > 1 else ""
    return f"{kept}{floor}, {codec}"


def point_cells(point: Point) -> list[str]:
    """Return accuracy, interval, ratio, cost, bytes and work of a point as cells."""
    figures = point.figures
    return [
        percent(figures.accuracy),
        interval(*point.accuracy_ci),
        f"{figures.offload_ratio:.3f}",
        f"{figures.patch_cost:.3f}",
        kilobytes(figures.bytes_per_frame),
        giga(figures.server_macs),
    ]


POINT_HEAD = ["top-1 (%)", "95 %", "offloaded", "patch cost", "kB/frame", "server GMACs"]


def figure_10(points: Sequence[Point]) -> str:
    """Return Fig. 10: every method on the same axes, at its cheapest, middle and dearest settings."""
    rows = []
    for method in dict.fromkeys(point.setting.method for point in points):
        mine = sorted(
            (point for point in points if point.setting.method == method and point.split == ALL),
            key=lambda point: point.figures.bytes_per_frame,
        )
        picked = {0, len(mine) // 4, len(mine) // 2, 3 * len(mine) // 4, len(mine) - 1}
        rows += [
            [method, *_what_and_gate(mine[place]), *point_cells(mine[place])]
            for place in (sorted(picked) if mine else ())
        ]
    return (
        "### Fig. 10: all methods on the same axes\n\nFive settings of each by rising bytes; all are in "
        "`points.csv`.\n\n" + table(["method", "what is sent", "gate, τ", *POINT_HEAD], rows)
    )


def byte_frontiers(front: Sequence[Point]) -> str:
    """Return every method's frontier of bytes, chosen on one half and reported on the other."""
    rows = []
    for method in dict.fromkeys(point.setting.method for point in front):
        mine = [point for point in front if point.setting.method == method]
        picked = np.unique(np.linspace(0, len(mine) - 1, _FRONTIER_ROWS).round().astype(int))
        rows += [[method, *_what_and_gate(mine[place]), *point_cells(mine[place])] for place in picked]
    return (
        "### Each method's frontier of bytes against accuracy\n\nSettings that no other of the method beats on "
        "the calibration half, with the figures of the test half; at most "
        f"{_FRONTIER_ROWS} a method, all in `points.csv` (split `test`).\n\n"
        + table(["method", "what is sent", "gate, τ", *POINT_HEAD], rows)
    )


def patches_or_codec(verdicts: Sequence[FamilyVerdict]) -> str:
    """Return where patches win and where a whole image by codec does."""
    rows = []
    for each in verdicts:
        cells = [_budget(each)]
        for family in (RAW_PATCHES, CODED_PATCHES, WHOLE_CODEC):
            point = each.choices.get(family)
            cells.append("–" if point is None else _choice(point))
        rows.append([*cells, "–" if each.interval is None else _gain(each.gain or 0.0, each.interval)])
    return (
        "### Patches or a whole image by codec?\n\nAt each budget a frame every family fields its most "
        "accurate setting of the calibration half; accuracy (%) is the test half's. The last column is coded "
        "patches minus whole image by codec, in points, paired, with its 95 % interval.\n\n"
        + table(["budget a frame", RAW_PATCHES, CODED_PATCHES, WHOLE_CODEC, "patches − codec"], rows)
        + "\n\n"
        + verdict_sentence(verdicts)
    )


def verdict_sentence(verdicts: Sequence[FamilyVerdict]) -> str:
    """Return in words who wins on bytes and who on server work."""
    sentences = []
    for axis, name in (("bytes_per_frame", "bytes"), ("server_macs", "server work")):
        judged = [(each, each.interval) for each in verdicts if each.axis == axis and each.interval]
        patches = [_budget(each) for each, (low, _) in judged if low > 0]
        codec = [_budget(each) for each, (_, high) in judged if high < 0]
        if patches:
            sentences.append(f"On {name}, patches win at {', '.join(patches)} a frame.")
        if codec:
            sentences.append(f"On {name}, the whole-image codec wins at {', '.join(codec)} a frame.")
        if judged and not patches and not codec:
            sentences.append(f"On {name}, no difference is beyond chance at any budget.")
    return " ".join(sentences) or "This run holds too few settings to judge."


def _what_and_gate(point: Point) -> list[str]:
    each = point.setting
    gate = f"{each.gate or 'none'}" + ("" if each.tau is None else f" {each.tau:.3g}")
    return [setting_text(each), "–" if each.gate is None and each.tau is None else gate]


def _choice(point: Point) -> str:
    each = point.setting
    return f"{percent(point.figures.accuracy)} ({setting_text(each)}, τ {number(each.tau)})"


def _gain(gain: float, around: Interval) -> str:
    return f"{in_points(gain)} ({signed_interval(*around)})"


def _budget(verdict: FamilyVerdict) -> str:
    in_bytes = verdict.axis == "bytes_per_frame"
    return f"{kilobytes(verdict.budget)} kB" if in_bytes else f"{giga(verdict.budget)} GMACs"


def options(comparisons: Sequence[Comparison]) -> str:
    """Return every variation with its measured gain or loss."""
    rows = [
        [
            each.option,
            each.against,
            each.setting,
            f"{each.offload_ratio:.2f}",
            each.split,
            in_points(each.gain),
            signed_interval(*each.interval),
            change(each.bytes_change),
            change(each.macs_change),
        ]
        for each in comparisons
    ]
    head = ["option", "against", "on", "offloaded", "split", "gain (points)", "95 %", "bytes", "server work"]
    return "### Options, each against the plain method on the same images\n\n" + table(head, rows)


def gate_section(pairs: PairedPredictions) -> str:
    """Return how well the edge's scores find its own errors, and its risk by coverage."""
    scored = {
        "min-entropy": pairs.h_min,
        "Shannon": shannon_scores(pairs.edge_logits),
        "margin": margin_scores(pairs.edge_logits),
    }
    rows = []
    for name, scores in scored.items():
        coverage, risk = risk_coverage(scores, pairs.edge_correct)
        at = [percent(float(risk[min(int(np.searchsorted(coverage, c)), risk.size - 1)])) for c in COVERAGES]
        rows.append([name, f"{auroc(scores, ~pairs.edge_correct):.3f}", *at])
    edge = reliability(confidence(pairs.edge_logits), pairs.edge_correct)
    server = reliability(pairs.answers[Whole()].confidence, pairs.server_correct)
    return (
        "### The gate on the edge's own errors\n\n"
        + table(["score", "AUROC", *(f"risk at {c:.0%} kept (%)" for c in COVERAGES)], rows)
        + f"\n\nCalibration error (15 bins): edge {percent(edge.error)} %, server {percent(server.error)} %."
    )


def losses(pairs: PairedPredictions, points: Sequence[Point]) -> str:
    """Return what patches and codecs cost against the raw whole image, everything sent, paired."""
    reference = pairs.payload(Whole())
    rows = []
    for point in sorted(points, key=lambda each: each.figures.bytes_per_frame):
        each = point.setting
        raw_again = each.method == "server_only" and each.codec == "raw"
        if (
            point.split != ALL
            or each.tau != 0.0
            or each.method not in {"saccade", "server_only"}
            or raw_again
        ):
            continue
        gain, around = paired_difference(point.figures.correct, reference.correct, pairs.clusters)
        rows.append([setting_text(each), *point_cells(point), in_points(gain), signed_interval(*around)])
    head = ["what is sent", *POINT_HEAD, "change (points)", "95 %"]
    return "### Everything sent: loss against the raw whole image (δ = 1)\n\n" + table(head, rows)


def per_class_rows(pairs: PairedPredictions) -> list[list[object]]:
    """Return class, count, edge and server accuracy for every class that occurs."""
    rows: list[list[object]] = []
    for label in np.unique(pairs.truth):
        members = pairs.truth == label
        rows.append(
            [
                pairs.edge.classes[label],
                int(members.sum()),
                float(pairs.edge_correct[members].mean()),
                float(pairs.server_correct[members].mean()),
            ]
        )
    return rows
