"""The picture of a run: budget and measured rate, operating point, accuracy and latency over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from devstack.demo.board import LinkSample
from devstack.demo.summary import Summary


def draw(path: Path, samples: Sequence[LinkSample], summary: Summary) -> None:
    """Write the picture as PNG to ``path``."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (rates, point, accuracy) = plt.subplots(3, 1, figsize=(9, 9), sharex=True, layout="constrained")
    at_s = [sample.at_s for sample in samples]
    rates.plot(at_s, [sample.measured_bytes_per_s / 1000 for sample in samples], label="measured")
    budget = [
        (sample.at_s, sample.budget_bytes_per_s)
        for sample in samples
        if sample.budget_bytes_per_s is not None
    ]
    if budget:
        rates.step(
            [s for s, _ in budget], [b / 1000 for _, b in budget], where="post", label="budget", color="black"
        )
    rates.set_ylabel("uplink, kB/s")
    rates.set_ylim(bottom=0)
    rates.legend(loc="upper right")

    point.step(at_s, [min(sample.point.tau, 4.0) for sample in samples], where="post", label="τ, bits")
    point.step(at_s, [sample.point.delta for sample in samples], where="post", label="δ")
    point.set_ylabel("operating point")
    quality = point.twinx()
    quality.step(
        at_s, [sample.point.quality for sample in samples], where="post", color="tab:green", label="quality"
    )
    quality.set_ylim(0, 100)
    quality.set_ylabel("codec quality")
    lines = [*point.get_lines(), *quality.get_lines()]
    point.legend(lines, [str(line.get_label()) for line in lines], loc="upper right")

    for name, values in (
        ("pair", [sample.accuracy for sample in samples]),
        ("edge alone", [sample.accuracy_edge for sample in samples]),
    ):
        known = [(s, 100 * value) for s, value in zip(at_s, values, strict=True) if value is not None]
        accuracy.plot([s for s, _ in known], [value for _, value in known], label=name)
    if summary.accuracy_server_sample is not None:
        share = 100 * summary.accuracy_server_sample
        accuracy.axhline(
            share, linestyle=":", color="gray", label=f"server alone ({summary.server_sample} frames)"
        )
    accuracy.set_ylabel("accuracy so far, %")
    accuracy.set_xlabel("seconds")
    accuracy.legend(loc="lower right")

    figure.suptitle(title(summary))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def title(summary: Summary) -> str:
    """Return the picture's title: frames, bytes beside whole JPEGs, and the paper's patch cost."""
    ratio = summary.offload_bytes / summary.whole_jpeg_bytes if summary.whole_jpeg_bytes else 0.0
    return (
        f"{summary.frames_published} frames, {summary.frames_offloaded} offloaded, "
        f"{summary.frames_missing} missing; {summary.offload_bytes / 1000:.0f} kB sent, "
        f"{ratio:.0%} of whole JPEGs; patch cost {summary.patch_cost:.2f}"
    )
