"""Batches cut in parts that the processor's cores compute side by side, one thread each.

Called by the forwards on a CPU. Threads that share one product meet at its end some two hundred times an image.
Where another process needs the cores, each meeting waits for the scheduler, and torch's threads spin meanwhile:
two edges and a server on two cores made each other ten times slower. Parts of a batch meet once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from math import inf
from typing import TypeVar

import numpy as np
import torch

P = TypeVar("P")
R = TypeVar("R")

WORTH_IT = 0.8
"""A lone item gets all threads where that takes at most so much of one thread's time."""
_TRIALS = 3


class Cores:
    """Computes parts of batches.

    A batch of one item is computed by the calling thread, with as many of torch's threads as `choose` found to
    be worth it; one before that. Where no number of threads is told, the calling thread computes all, and its
    threads stay as they are.
    """

    def __init__(self, threads: int | None) -> None:
        self.threads = 1 if threads is None else threads
        if threads is not None:
            torch.set_num_threads(1)
        # The first thread of all that torch is asked with decides how many it keeps: each has one from its start.
        self._pool = ThreadPoolExecutor(self.threads, "core", torch.set_num_threads, (1,))

    def run(self, call: Callable[[P], R], parts: Sequence[P]) -> list[R]:
        """Return what `call` returned for each part, or raise what one of them raised."""
        if len(parts) == 1:
            return [call(parts[0])]
        begun = [self._pool.submit(call, part) for part in parts]
        wait(begun)
        return [each.result() for each in begun]

    def choose(self, lone: Callable[[], object]) -> None:
        """The calling thread uses one or all threads for a lone item, as trials of `lone` advise."""
        if self.threads == 1:
            return
        seconds: dict[int, float] = {}
        for threads in (1, self.threads) * (1 + _TRIALS):
            torch.set_num_threads(threads)
            began_s = time.perf_counter()
            lone()
            seconds[threads] = min(seconds.get(threads, inf), time.perf_counter() - began_s)
        torch.set_num_threads(threads_of_lone(seconds))


def threads_of_lone(seconds: dict[int, float]) -> int:
    """Return with how many threads a lone item is computed, from what each number took.

    More threads than the fewest must be clearly faster: they also take cores from others.
    """
    fewest, fastest = min(seconds), min(seconds, key=lambda threads: (seconds[threads], threads))
    return fastest if seconds[fastest] <= WORTH_IT * seconds[fewest] else fewest


def even_parts(sizes: Sequence[int], most: int) -> list[slice]:
    """Return up to `most` slices that cut `sizes` in neighbouring parts of about the same sum, none empty."""
    parts, done = min(most, len(sizes)), np.cumsum(sizes)
    ends = [0]
    for part in range(1, parts):
        nearest = int(np.abs(done - done[-1] * part / parts).argmin()) + 1
        ends.append(min(max(nearest, ends[-1] + 1), len(sizes) - parts + part))
    ends.append(len(sizes))
    return [slice(start, end) for start, end in pairwise(ends)]
