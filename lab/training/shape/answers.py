"""Renders scenes and passes them through both models, chunk by chunk; finished chunks stay on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812

from gating.select import attention_sum_counts, rank
from lab.progress import Progress
from lab.scenes.seeds import generator
from lab.scenes.views import render_view
from lab.training.pool import camera_crop, quality_of
from lab.training.shape.choices import PatchChoice
from schemas.geometry import NUM_PATCHES
from vit.edge_forward import EdgeForward
from vit.model import Model
from vit.packed_forward import PackedForward
from vit.preprocess import to_patches

CHUNK: Final = 100
BATCH: Final = 25


@dataclass(frozen=True, slots=True)
class SceneAnswers:
    """What is known of n scenes with a clear truth, and of what the pair answered.

    truth: (n,). side_px: (n,), 0 without an object. edge_logits: (n, C) float32. counts_90, counts_97: (n,)
    patches that δ = .9 and .97 keep without a floor. answers and patches: (n, T), the server's class
    and the number of patches shown under each choice. colours: (n, 512) float32.
    """

    truth: NDArray[np.int64]
    side_px: NDArray[np.float32]
    edge_logits: NDArray[np.float32]
    counts_90: NDArray[np.int64]
    counts_97: NDArray[np.int64]
    answers: NDArray[np.int64]
    patches: NDArray[np.int64]
    colours: NDArray[np.float32]


class PairAnswers:
    """The pair as a function of scene seeds, with a memory on disk.

    A chunk's file name holds a hash of both models and of the choices, so that nothing stale is ever read.
    """

    def __init__(
        self, edge: Model, server: Model, folder: Path, choices: Sequence[PatchChoice], threads: int
    ) -> None:
        self._edge, self._server = EdgeForward(edge, threads=threads), PackedForward(server, threads=threads)
        self._choices = tuple(choices)
        folder.mkdir(parents=True, exist_ok=True)
        identity = [edge.weights_hash, server.weights_hash, *(each.name for each in self._choices), CHUNK]
        key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
        self._stem = str(folder / key)

    def see(self, seeds: range, num_scenes: int, progress: Progress) -> tuple[SceneAnswers, int]:
        """Return the first ``num_scenes`` clear scenes of ``seeds``, and how many were ignored on the way.

        Raises:
            ValueError: ``seeds`` holds fewer clear scenes.

        """
        chunks: list[SceneAnswers] = []
        found = ignored = 0
        for start in range(seeds.start, seeds.stop, CHUNK):
            if found >= num_scenes:
                break
            chunk = self._chunk(range(start, min(start + CHUNK, seeds.stop)))
            clear = len(chunk.truth)
            ignored += CHUNK - clear
            found += clear
            chunks.append(chunk)
            progress.advance(clear)
        if found < num_scenes:
            raise ValueError(f"scenes: {num_scenes} wanted, {found} clear ones in {seeds}")
        joined = {
            field.name: np.concatenate([getattr(chunk, field.name) for chunk in chunks])[:num_scenes]
            for field in fields(SceneAnswers)
        }
        return SceneAnswers(**joined), ignored

    def _chunk(self, seeds: range) -> SceneAnswers:
        path = Path(f"{self._stem}-{seeds.start}.npz")
        if path.exists():
            with np.load(path) as stored:
                return SceneAnswers(**{field.name: stored[field.name] for field in fields(SceneAnswers)})
        seen = self._measure(seeds)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, **{field.name: getattr(seen, field.name) for field in fields(SceneAnswers)})
        partial.replace(path)
        return seen

    def _measure(self, seeds: range) -> SceneAnswers:
        clear = [(seed, view) for seed in seeds if (view := render_view(seed)).truth >= 0]
        crops = np.stack([camera_crop(view.image, quality_of(seed)) for seed, view in clear])
        outputs = [self._edge(crops[start : start + BATCH]) for start in range(0, len(crops), BATCH)]
        attention = np.concatenate([output.attention for output in outputs])
        chance = np.stack([generator("chance", seed).permutation(NUM_PATCHES) for seed, _ in clear])
        counts = np.stack([choice.counts(attention) for choice in self._choices], axis=1)
        answers = [
            self._answer(crops, rank(attention) if choice.by_attention else chance, counts[:, column])
            for column, choice in enumerate(self._choices)
        ]
        return SceneAnswers(
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


def column_of(choices: Sequence[PatchChoice], choice: PatchChoice) -> int:
    """Return a choice's column in ``SceneAnswers.answers`` and ``SceneAnswers.patches``."""
    return tuple(choices).index(choice)


def known_colours(
    seeds: range, num_scenes: int, progress: Progress
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
            progress.advance()
    return np.stack(colours), np.array(truths, np.int64)


BINS: Final = 512
_LEVELS: Final = 8
_PENALTY: Final = 1e-4


def histogram(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the (512,) square roots of the shares of 8 × 8 × 8 colours in a (224, 224, 3) crop."""
    cells = (crop >> 5).astype(np.int64)
    index = (cells[..., 0] * _LEVELS + cells[..., 1]) * _LEVELS + cells[..., 2]
    shares = np.bincount(index.ravel(), minlength=BINS) / index.size
    return np.sqrt(shares).astype(np.float32)


def colour_accuracy(
    known: NDArray[np.float32],
    known_truth: NDArray[np.int64],
    fresh: NDArray[np.float32],
    fresh_truth: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Return (m,) whether a logistic regression on colour histograms of known scenes is right on fresh ones.

    Args:
        known: (n, 512) of scenes to fit on.
        known_truth: (n,) class indices.
        fresh: (m, 512).
        fresh_truth: (m,).

    """
    inputs, labels = standardised(known, known), torch.from_numpy(known_truth)
    classes = int(max(known_truth.max(), fresh_truth.max())) + 1
    weights = torch.zeros(BINS + 1, classes, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=200, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(inputs @ weights, labels) + _PENALTY * weights.square().sum()
        torch.autograd.backward(value)
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        answers = (standardised(fresh, known) @ weights).argmax(1).numpy()
    return np.asarray(answers == fresh_truth)


def standardised(inputs: NDArray[np.float32], known: NDArray[np.float32]) -> torch.Tensor:
    """Return inputs with the known ones' mean 0 and deviation 1 per bin, and a column of ones."""
    scaled = (inputs - known.mean(0)) / np.maximum(known.std(0), 1e-3)
    return torch.from_numpy(np.hstack([scaled, np.ones((len(inputs), 1))]).astype(np.float32))
