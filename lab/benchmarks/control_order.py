"""The order of the uplink's queue on a real link: `python -m lab.benchmarks.control_order [--rounds N] ...`.

The course of rates of `lab.benchmarks.control`, its budget told, once with the most uncertain record first and
once with the record first whose expected gain per byte is the largest; in turns, the same frames at the same times.
"""

from __future__ import annotations

import asyncio
import time

import numpy as np

from lab.benchmarks.control import RATES, hard_shots, measure, rates_of
from lab.benchmarks.control_figures import Run, rightness
from lab.benchmarks.link import can_shape
from lab.benchmarks.report import Figure, options, publish
from lab.evaluation.bootstrap import paired_difference

PROGRAMS = {"most uncertain first": "saccade", "most gain per byte first": "lab.benchmarks.edge_by_gain"}
_FPS = 40.0
"""All cameras together."""


async def measure_in_turns(rounds: int, seconds: float) -> dict[str, list[Run]]:
    """Return the runs of each order."""
    measured, steps, shaped = hard_shots(), rates_of(RATES, seconds), can_shape()
    runs: dict[str, list[Run]] = {order: [] for order in PROGRAMS}
    for number in range(rounds):
        for order in list(PROGRAMS)[:: 1 if number % 2 == 0 else -1]:
            began_s = time.monotonic()
            run = await measure(
                RATES,
                steps,
                told=True,
                fps=_FPS,
                shaped=shaped,
                loss=0.0,
                measured=measured,
                program=PROGRAMS[order],
            )
            runs[order].append(run)
            print(f"round {number + 1}, {order}: {time.monotonic() - began_s:.0f} s", flush=True)
    return runs


def figures_of(runs: dict[str, list[Run]]) -> list[Figure]:
    """Accuracy and bytes of each order, and the paired difference, whose interval is by shot."""
    found = []
    for order, each in runs.items():
        right = [value for run in each for value in rightness(run).values()]
        found.append(Figure(f"{order}: accuracy", 100.0 * float(np.mean(right)), "%"))
        found.append(
            Figure(f"{order}: records", float(np.mean([run.topic_bytes for run in each])) / 1e6, "MB/run")
        )
    values, others, shots = [], [], []
    for uncertain, gain in zip(*runs.values(), strict=True):
        before, after = rightness(uncertain), rightness(gain)
        for key in before.keys() & after.keys():
            values.append(float(after[key]))
            others.append(float(before[key]))
            shots.append(gain.shown[key].place)
    difference, (low, high) = paired_difference(np.array(values), np.array(others), np.array(shots))
    note = f"95 %: {100 * low:+.2f} to {100 * high:+.2f}, by shot; {len(values)} frames of {len(set(shots))} shots"
    found.append(Figure("gain per byte against uncertainty", 100.0 * difference, "points", note=note))
    return found


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each step")
    parser.add_argument("--rounds", type=int, default=1, help="of both orders")
    args = parser.parse_args()
    publish(figures_of(asyncio.run(measure_in_turns(args.rounds, args.seconds))), args.json)


if __name__ == "__main__":
    main()
