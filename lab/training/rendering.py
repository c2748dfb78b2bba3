"""Renders a pool on several processes; a cut-off run goes on after the last part finished in order."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Final

from lab.evaluation.reporter import Reporter
from lab.training.pool import Pool, fill_part

PART: Final = 250


def render_pool(
    folder: Path, size: int, first_seed: int, *, easy: int, processes: int, reporter: Reporter
) -> Pool:
    """Return the full pool in ``folder``, scene ``first_seed + i`` at index i for any ``processes``."""
    pool = Pool.open(folder, size, create=True)
    filled = pool.filled()
    reporter.start("render scenes", size)
    reporter.advance(filled)
    parts = [range(start, min(start + PART, size)) for start in range(filled, size, PART)]
    if not parts:
        return pool
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as workers:
        done = workers.map(_render, repeat(folder), repeat(size), parts, repeat(first_seed), repeat(easy))
        for part, _ in zip(parts, done, strict=True):
            pool.mark(part.stop)
            reporter.advance(len(part))
    return pool


def _render(folder: Path, size: int, part: range, first_seed: int, easy: int) -> None:
    fill_part(Pool.open(folder, size), part, first_seed, easy=easy)
