"""Ways to use two cores, on quiet cores and beside others: the product's, torch's own, and what lies between.

    python -m lab.benchmarks.threads [--rounds 6] [--seconds 1] [--json FILE]

`quiet`: one engine of DeiT-Base's shape with sets of 134 patches, alone, in batches of 1 and of 8; ms an image.
`shared`: that engine with ten sets a second beside two edge engines of DeiT-Tiny's shape with five crops a second
each, all on the same cores; how old an answer is. All ways take turns, whoever has none waits; medians of rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from lab.benchmarks.report import Figure, options, publish
from vit.process import SPINS

BATCHES = (1, 8)
PATCHES = 134
LATE_S = 2.0
"""A record's default deadline."""
WAYS: dict[str, tuple[str, dict[str, str]]] = {
    "saccade": ("parts", {"GOMP_SPINCOUNT": str(SPINS)}),
    "torch's own": ("all", {}),
    "all threads, passive": ("all", {"OMP_WAIT_POLICY": "passive"}),
    "one thread": ("one", {}),
}
"""Way → how threads share a batch, and the environment."""


class Engine:
    """A process with one model, which computes when it is told to."""

    def __init__(self, role: str, sharing: str, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lab.benchmarks.threads", "--child", role, sharing],
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, *order: object) -> None:
        """Begin what `order` says."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def answer(self) -> list[float]:
        """Wait; what the order measured."""
        assert self._process.stdout
        found: list[float] = json.loads(self._process.stdout.readline())
        return found

    def end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def child(role: str, sharing: str) -> None:
    """Obey orders from standard input: ["flat out", batch, seconds] or ["paced", rate, seconds, start]."""
    compute = _engine(role, sharing)
    for batch in (*BATCHES, 2, 4):
        compute(batch)
    print("[]", flush=True)
    for line in sys.stdin:
        kind, amount, seconds, *rest = json.loads(line)
        found = (
            _flat_out(compute, amount, seconds)
            if kind == "flat out"
            else _paced(compute, amount, seconds, *rest)
        )
        print(json.dumps(found), flush=True)


def _engine(role: str, sharing: str) -> Callable[[int], object]:
    """Return what computes a batch of so many images."""
    import torch

    from vit.edge_forward import EdgeForward
    from vit.model import random_model
    from vit.packed_forward import PackedForward
    from vit.process import available_threads, keep_freed_memory

    keep_freed_memory()
    rng, cores = np.random.default_rng(0), available_threads()
    torch.set_num_threads(1 if sharing == "one" else cores)
    threads = cores if sharing == "parts" else None
    if role == "edge":
        edge = EdgeForward(random_model("deit_tiny_patch16_224"), threads=threads)
        if threads:
            edge.choose_threads()
        crops = rng.integers(0, 256, (max(BATCHES), 224, 224, 3), np.uint8)
        return lambda batch: edge(crops[:batch])
    server = PackedForward(random_model("deit_base_patch16_224"), threads=threads)
    if threads:
        server.build_kernels()
    patches = rng.integers(0, 256, (PATCHES, 16, 16, 3), np.uint8)
    positions = np.sort(rng.permutation(196)[:PATCHES])
    return lambda batch: server([patches] * batch, [positions] * batch)


def _flat_out(compute: Callable[[int], object], batch: int, seconds: float) -> list[float]:
    """Return the median milliseconds of an image."""
    spent: list[float] = []
    end_s = time.perf_counter() + seconds
    while not spent or time.perf_counter() < end_s:
        began_s = time.perf_counter()
        compute(batch)
        spent.append((time.perf_counter() - began_s) / batch * 1e3)
    return [statistics.median(spent)]


def _paced(compute: Callable[[int], object], rate: float, seconds: float, start_unix_s: float) -> list[float]:
    """Return each image's age in seconds when it was answered; those that wait go through together.

    What is not answered when the last one's deadline has passed is given up with the age that it has by then.
    """
    due_s = [start_unix_s + number / rate for number in range(round(rate * seconds))]
    ages: list[float] = []
    while len(ages) < len(due_s):
        now_s = time.time()
        if now_s > due_s[-1] + LATE_S:
            return [*ages, *(now_s - each for each in due_s[len(ages) :])]
        waiting = due_s[len(ages) :]
        if waiting[0] > now_s:
            time.sleep(waiting[0] - now_s)
        ready = max(1, sum(each <= time.time() for each in waiting[: max(BATCHES)]))
        compute(ready)
        ages += [time.time() - each for each in waiting[:ready]]
    return ages


def measure(rounds: int, seconds: float) -> list[Figure]:
    """Return the figures of both cases."""
    engines = {
        way: [Engine("server", *how), Engine("edge", *how), Engine("edge", *how)] for way, how in WAYS.items()
    }
    for each in (engine for trio in engines.values() for engine in trio):
        each.answer()
    quiet: dict[tuple[str, int], list[float]] = {(way, batch): [] for way in WAYS for batch in BATCHES}
    ages: dict[str, list[float]] = {way: [] for way in WAYS}
    for round_number in range(rounds):
        for way, trio in engines.items():
            for batch in BATCHES:
                trio[0].tell("flat out", batch, seconds)
                quiet[way, batch] += trio[0].answer()
        for way, trio in engines.items():
            start_unix_s = time.time() + 0.1
            for engine, rate in zip(trio, (10.0, 5.0, 5.0), strict=True):
                engine.tell("paced", rate, 4 * seconds, start_unix_s)
            ages[way] += trio[0].answer()
            for engine in trio[1:]:
                engine.answer()
        print(f"round {round_number + 1} of {rounds}: {quiet}", file=sys.stderr, flush=True)
    for each in (engine for trio in engines.values() for engine in trio):
        each.end()
    return _figures(quiet, ages)


def _figures(quiet: dict[tuple[str, int], list[float]], ages: dict[str, list[float]]) -> list[Figure]:
    figures = []
    for (way, batch), spent in quiet.items():
        note = f"fastest turn {min(spent):.0f}"
        figures.append(
            Figure(f"quiet, batch {batch}: {way}", statistics.median(spent), "ms/image", note=note)
        )
    for batch in BATCHES:
        ours, best = quiet["saccade", batch], [quiet[way, batch] for way in WAYS if way != "saccade"]
        ratio = statistics.median(own / min(others) for own, *others in zip(ours, *best, strict=True))
        figures.append(
            Figure(
                f"quiet, batch {batch}: saccade against the best of the others",
                ratio,
                "x",
                1.25,
                at_least=False,
            )
        )
    for way, each in ages.items():
        late = sum(age > LATE_S for age in each)
        goal = 0.0 if way == "saccade" else None
        figures.append(
            Figure(f"shared: {way}, late of {len(each)}", late, "", goal, at_least=False, note=_ages(each))
        )
    return figures


def _ages(ages: Sequence[float]) -> str:
    return f"mean age {statistics.mean(ages):.3f} s, p99 {np.quantile(ages, 0.99):.3f} s"


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
    else:
        publish(measure(arguments.rounds, arguments.seconds), arguments.json)


if __name__ == "__main__":
    main()
