"""The order of the uplink's queue on a real link: `python -m lab.benchmarks.control_order [--rounds N] ...`.

The course of rates of `lab.benchmarks.control`, its budget told, once with the most uncertain record first and
once with the record first whose expected gain per byte is the largest; in turns, the same frames at the same times.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

import numpy as np

from lab.benchmarks.control import HARD_SHARE, RATES, SEEDS, SHOTS_EACH, measure
from lab.benchmarks.control_figures import Key, Run
from lab.benchmarks.control_frontier import Measured, measure_shots
from lab.benchmarks.link import can_shape
from lab.benchmarks.recorded import record
from lab.benchmarks.report import Figure, publish
from lab.evaluation.bootstrap import paired_difference
from schemas.rates import RateSchedule

PROGRAMS = {"most uncertain first": "saccade", "most gain per byte first": "lab.benchmarks.edge_by_gain"}


async def measure_in_turns(args: argparse.Namespace, measured: Measured) -> dict[str, list[Run]]:
    """Return the runs of each order."""
    starts = tuple(idx * args.seconds for idx in range(len(RATES.kbits)))
    steps = RateSchedule(starts, tuple(args.scale * kbit * 125.0 for kbit in RATES.kbits))
    shaped = not args.relay and can_shape()
    runs: dict[str, list[Run]] = {order: [] for order in PROGRAMS}
    for number in range(args.rounds):
        for order in list(PROGRAMS)[:: 1 if number % 2 == 0 else -1]:
            began_s = time.monotonic()
            run = await measure(
                RATES,
                steps,
                told=True,
                fps=args.fps,
                shaped=shaped,
                loss=0.0,
                measured=measured,
                program=PROGRAMS[order],
            )
            runs[order].append(run)
            print(f"round {number + 1}, {order}: {time.monotonic() - began_s:.0f} s", flush=True)
    return runs


def rightness(run: Run) -> dict[Key, float]:
    """1 for each frame since the first step whose last label is its truth, else 0."""
    last = {(write.camera, write.seq): write for write in run.writes}
    return {
        key: float(run.right(last[key]))
        for key, shown in run.shown.items()
        if 0 <= shown.at_s < run.end_s and key in last
    }


def figures_of(runs: dict[str, list[Run]]) -> list[Figure]:
    """Accuracy and bytes of each order, and the paired difference, whose interval is by shot."""
    found = []
    for order, each in runs.items():
        values = [value for run in each for value in rightness(run).values()]
        num_bytes = sum(run.topic_bytes for run in each)
        found.append(Figure(f"{order}: accuracy", 100.0 * float(np.mean(values)), "%"))
        found.append(Figure(f"{order}: record bytes", num_bytes / max(len(values), 1), "B/frame"))
    values, others, shots = [], [], []
    for uncertain, gain in zip(*runs.values(), strict=True):
        before, after = rightness(uncertain), rightness(gain)
        for key in before.keys() & after.keys():
            values.append(after[key])
            others.append(before[key])
            shots.append(gain.shown[key].place)
    difference, (low, high) = paired_difference(np.array(values), np.array(others), np.array(shots))
    note = f"95 %: {100 * low:+.2f} to {100 * high:+.2f}, by shot; {len(values)} frames of {len(set(shots))} shots"
    found.append(Figure("gain per byte against uncertainty", 100.0 * difference, "points", note=note))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="of all rates")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each step")
    parser.add_argument("--fps", type=float, default=40.0, help="frames a second, all cameras together")
    parser.add_argument("--rounds", type=int, default=1, help="of both orders")
    parser.add_argument(
        "--relay", action="store_true", help="a TCP relay, also where namespaces could be made"
    )
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    shots = [shot for stream in record(SEEDS, SHOTS_EACH) for shot in stream]
    runs = asyncio.run(measure_in_turns(args, measure_shots(shots, HARD_SHARE)))
    publish(figures_of(runs), args.json)


if __name__ == "__main__":
    main()
