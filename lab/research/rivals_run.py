"""Which rows each subject of `saccade research` measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from lab.progress import Progress
from lab.research.bench import Bench, RivalsRequest, TableRow, prepare, reference_rows
from lab.research.exit_rows import ExitRow, analogue_recordings, digital_recordings, judge
from lab.research.own_rows import own_rows
from lab.research.rivals import (
    QUALITIES,
    EqualAccuracy,
    aecnn_rows,
    at_equal_accuracy,
    whole_image_rows,
)


@dataclass(frozen=True)
class Measured:
    """All that a run found; lists are empty where the subject has no such rows."""

    bench: Bench
    rows: list[TableRow]
    exit_rows: list[ExitRow] = field(default_factory=list)
    equals: list[EqualAccuracy] = field(default_factory=list)


def measure(
    subject: str,
    request: RivalsRequest,
    points: Sequence[tuple[int, int]],
    code_maps: int,
    progress: Progress,
    *,
    threads: int,
) -> Measured:
    """Return the rows of "aecnn", of "early-exit", or of "table": both, whole images and Saccade's own."""
    torch.set_num_threads(threads)
    bench = prepare(request, progress)
    rows = reference_rows(bench)
    exit_rows: list[ExitRow] = []
    if subject in {"aecnn", "table"}:
        rows += aecnn_rows(bench, points)
    if subject in {"early-exit", "table"}:
        analogue = analogue_recordings(bench, code_maps)
        digital = digital_recordings(bench, analogue, points[0])
        exit_rows = [
            row
            for code, each in (("analogue", analogue), ("digital", digital))
            for row in judge(code, each, seed=request.seed)
        ]
        if subject == "table":
            rows += whole_image_rows(bench, QUALITIES, (analogue.held.exit, analogue.test.exit))
    if subject == "table" and request.data is not None:
        rows += own_rows(bench, request.data)
    return Measured(bench, rows, exit_rows, at_equal_accuracy(rows, bench.test.tracks))
