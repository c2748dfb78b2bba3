"""Which rows each subject of `saccade research` measures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import torch

from lab.progress import Progress
from lab.research.rivals import (
    Bench,
    ExitRow,
    RivalsRequest,
    TableRow,
    aecnn_rows,
    early_exit_rows,
    exit_and_code,
    gated_rows,
    prepare,
    reference_row,
    whole_image_rows,
)

QUALITIES: Final[tuple[tuple[Literal["JPEG", "WEBP"], int], ...]] = (
    ("JPEG", 10),
    ("JPEG", 40),
    ("WEBP", 0),
    ("WEBP", 20),
    ("WEBP", 60),
)


def measure(
    subject: str,
    request: RivalsRequest,
    points: Sequence[tuple[int, int]],
    code_maps: int,
    progress: Progress,
    *,
    threads: int,
) -> tuple[Bench, list[TableRow], list[ExitRow]]:
    """Return the bench and the rows of "aecnn", "early-exit", or both and whole images for "table"."""
    torch.set_num_threads(threads)
    bench = prepare(request, progress)
    rows = [reference_row(bench)]
    exit_rows: list[ExitRow] = []
    if subject in {"early-exit", "table"}:
        parts = exit_and_code(bench, code_maps)
        exit_rows = early_exit_rows(bench, parts)
    if subject == "table":
        rows += whole_image_rows(bench, QUALITIES)
        rows += gated_rows(bench, QUALITIES, parts)
    if subject in {"aecnn", "table"}:
        rows += aecnn_rows(bench, points)
    return bench, rows, exit_rows
