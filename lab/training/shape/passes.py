"""Renders scenes and passes them through both models, chunk by chunk; finished chunks stay on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gating.select import attention_sum_counts, rank
from lab.evaluation.reporter import Reporter
from lab.scenes.seeds import generator
from lab.scenes.views import render_view
from lab.training.pool import camera_crop, quality_of
from lab.training.shape.colours import histogram
from lab.training.shape.treatments import Treatment
from schemas.geometry import NUM_PATCHES
from vit.edge_forward import EdgeForward
from vit.model import Model
from vit.packed_forward import PackedForward
from vit.preprocess import to_patches

CHUNK: Final = 100
BATCH: Final = 25


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of n scenes with a clear truth, and of what the pair answered.

    truth: (n,). side_px: (n,), 0 without an object. edge_logits: (n, C) float32. counts_90, counts_97: (n,)
    patches that δ = .9 and .97 keep without a floor. answers and patches: (n, T), the server's class
    and the number of patches shown under each treatment. colours: (n, 512) float32.
    """

    truth: NDArray[np.int64]
    side_px: NDArray[np.float32]
    edge_logits: NDArray[np.float32]
    counts_90: NDArray[np.int64]
    counts_97: NDArray[np.int64]
    answers: NDArray[np.int64]
    patches: NDArray[np.int64]
    colours: NDArray[np.float32]


class Passes:
    """The pair as a function of scene seeds, with a memory on disk.

    A chunk's file name holds a hash of both models and of the treatments, so that nothing stale is ever read.
    """

    def __init__(
        self, edge: Model, server: Model, folder: Path, treatments: Sequence[Treatment], threads: int
    ) -> None:
        self._edge, self._server = EdgeForward(edge, threads=threads), PackedForward(server, threads=threads)
        self._treatments = tuple(treatments)
        folder.mkdir(parents=True, exist_ok=True)
        identity = [edge.weights_hash, server.weights_hash, *(each.name for each in self._treatments), CHUNK]
        key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
        self._stem = str(folder / key)

    def see(self, seeds: range, num_scenes: int, reporter: Reporter) -> tuple[Seen, int]:
        """Return the first ``num_scenes`` clear scenes of ``seeds``, and how many were ignored on the way.

        Raises:
            ValueError: ``seeds`` holds fewer clear scenes.

        """
        chunks: list[Seen] = []
        found = ignored = 0
        for start in range(seeds.start, seeds.stop, CHUNK):
            if found >= num_scenes:
                break
            chunk = self._chunk(range(start, min(start + CHUNK, seeds.stop)))
            clear = len(chunk.truth)
            ignored += CHUNK - clear
            found += clear
            chunks.append(chunk)
            reporter.advance(clear)
        if found < num_scenes:
            raise ValueError(f"scenes: {num_scenes} wanted, {found} clear ones in {seeds}")
        joined = {
            field.name: np.concatenate([getattr(chunk, field.name) for chunk in chunks])[:num_scenes]
            for field in fields(Seen)
        }
        return Seen(**joined), ignored

    def _chunk(self, seeds: range) -> Seen:
        path = Path(f"{self._stem}-{seeds.start}.npz")
        if path.exists():
            with np.load(path) as stored:
                return Seen(**{field.name: stored[field.name] for field in fields(Seen)})
        seen = self._measure(seeds)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, **{field.name: getattr(seen, field.name) for field in fields(Seen)})
        partial.replace(path)
        return seen

    def _measure(self, seeds: range) -> Seen:
        clear = [(seed, view) for seed in seeds if (view := render_view(seed)).truth >= 0]
        crops = np.stack([camera_crop(view.image, quality_of(seed)) for seed, view in clear])
        outputs = [self._edge(crops[start : start + BATCH]) for start in range(0, len(crops), BATCH)]
        attention = np.concatenate([output.attention for output in outputs])
        chance = np.stack([generator("chance", seed).permutation(NUM_PATCHES) for seed, _ in clear])
        counts = np.stack([treatment.counts(attention) for treatment in self._treatments], axis=1)
        answers = [
            self._answer(crops, rank(attention) if treatment.by_attention else chance, counts[:, column])
            for column, treatment in enumerate(self._treatments)
        ]
        return Seen(
            truth=np.array([view.truth for _, view in clear], np.int64),
            side_px=np.array([view.side_px for _, view in clear], np.float32),
            edge_logits=np.concatenate([output.logits for output in outputs]),
            counts_90=attention_sum_counts(attention, 0.9),
            counts_97=attention_sum_counts(attention, 0.97),
            answers=np.stack(answers, axis=1),
            patches=counts,
            colours=np.stack([histogram(crop) for crop in crops]),
        )

    def _answer(
        self, crops: NDArray[np.uint8], order: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the server's classes from the first ``counts`` patches in ``order`` of each crop."""
        answers: list[NDArray[Any]] = []
        for start in range(0, len(crops), BATCH):
            rows = range(start, min(start + BATCH, len(crops)))
            kept = [np.sort(order[row, : counts[row]]) for row in rows]
            patches = [to_patches(crops[row])[positions] for row, positions in zip(rows, kept, strict=True)]
            answers.append(self._server(patches, kept).argmax(axis=1))
        return np.concatenate(answers)


def column_of(treatments: Sequence[Treatment], treatment: Treatment) -> int:
    """Return a treatment's column in ``Seen.answers`` and ``Seen.patches``."""
    return tuple(treatments).index(treatment)


def known_colours(
    seeds: range, num_scenes: int, reporter: Reporter
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return colour histograms (n, 512) and truths (n,) of the first clear scenes of ``seeds``."""
    colours: list[NDArray[np.float32]] = []
    truths: list[int] = []
    for seed in seeds:
        if len(truths) == num_scenes:
            break
        view = render_view(seed)
        if view.truth >= 0:
            colours.append(histogram(camera_crop(view.image, quality_of(seed))))
            truths.append(view.truth)
            reporter.advance()
    return np.stack(colours), np.array(truths, np.int64)
