"""Batches cut in parts that the processor's cores compute side by side, one thread each.

Called by the forwards on a CPU. Threads that share one product meet at its end some two hundred times an image.
Where another process needs the cores, each meeting waits for the scheduler, and torch's threads spin meanwhile:
two edges and a server on two cores made each other ten times slower. Parts of a batch meet once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
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
    """Computes parts of batches on `threads` cores.

    The calling thread computes a batch of one item itself, with as many of torch's threads as `choose` found to
    be worth it, one before that. Its own number of threads is afterwards what it was. Where none is told it
    computes everything, and as it is.
    """

    def __init__(self, threads: int | None) -> None:
        self.threads = 1 if threads is None else threads
        self._of_lone = threads and 1
        self._pool = ThreadPoolExecutor(self.threads, "core", torch.set_num_threads, (1,))

    def run(self, call: Callable[[P], R], parts: Sequence[P]) -> list[R]:
        """Return what `call` returned for each part, or raise what one of them raised."""
        if len(parts) == 1:
            with _torch_threads(self._of_lone):
                return [call(parts[0])]
        begun = [self._pool.submit(call, part) for part in parts]
        wait(begun)
        return [each.result() for each in begun]

    def in_each_way(self, call: Callable[[], object]) -> None:
        """`call` has been made as for a lone item and as for a part: oneDNN's code differs by number of threads."""
        self.run(lambda _: call(), [None])
        if self.threads > 1:
            self._pool.submit(call).result()

    def choose(self, lone: Callable[[], object]) -> None:
        """A lone item gets one or all threads from now on, as trials of `lone` advise."""
        seconds: dict[int, float] = {}
        for threads in (1, self.threads) * (1 + _TRIALS) if self.threads > 1 else ():
            with _torch_threads(threads):
                began_s = time.perf_counter()
                lone()
                seconds[threads] = min(seconds.get(threads, inf), time.perf_counter() - began_s)
        if seconds:
            self._of_lone = threads_of_lone(seconds)


@contextmanager
def _torch_threads(threads: int | None) -> Iterator[None]:
    """What is inside is computed by so many of torch's threads; by those that there are, where none is told."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
