"""Packed token sets against padding, one by one, and whole images, on the CPU.

    python -m lab.benchmarks.packed_attention [--threads N] [--clock processor] [--json FILE]

Set lengths are drawn from patch_counts.json (photos that DeiT-Tiny is unsure of, delta .97). The model has
DeiT-Base's shape and random weights, which changes no timing. All contestants take turns in every round, and
a ratio is the median over rounds of two times of the same round, so that a busy machine moves both. Where
others use the same cores, `--clock processor` counts this process's own processor time.

The rivals are timm's own modules in the same number format, as one would write them; `same kernels` are this
project's own products and attention without packing, which shows what packing alone is worth.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from lab.benchmarks.report import Figure, publish
from schemas.geometry import FULL_TOKENS, NUM_PATCHES
from vit.hardware import best_dtype
from vit.model import Model, random_model
from vit.packed_forward import PackedForward, normalised
from vit.preprocess import from_patches
from vit.process import available_threads

COUNTS = Path(__file__).with_name("patch_counts.json")
Contestant = Callable[[], object]


def draw_counts(num_sets: int, seed: int) -> np.ndarray:
    """Return (num_sets,) patch counts drawn from the histogram."""
    histogram = json.loads(COUNTS.read_text())["images_by_patches"]
    images = np.array(list(histogram.values()), dtype=float)
    counts = np.array([int(count) for count in histogram])
    return np.random.default_rng(seed).choice(counts, num_sets, p=images / images.sum())


class Rivals:
    """timm's own forward in the same number format, fed with the same sets in three ways."""

    def __init__(
        self, model: Model, crops: np.ndarray, positions: list[np.ndarray], dtype: torch.dtype
    ) -> None:
        self._vit = copy.deepcopy(model.timm).to(dtype)
        self._images = normalised(crops, model).to(dtype)
        self._rows = [torch.from_numpy(np.concatenate([[0], kept + 1])) for kept in positions]

    @torch.inference_mode()
    def one_by_one(self) -> torch.Tensor:
        logits = []
        for index, rows in enumerate(self._rows):
            tokens = self._embed(self._images[index : index + 1])[:, rows]
            logits.append(self._vit.forward_head(self._vit.norm(self._vit.blocks(tokens))))
        return torch.cat(logits)

    @torch.inference_mode()
    def padded(self) -> torch.Tensor:
        """Pad to the longest set; a mask hides the padding from attention."""
        every, longest = self._embed(self._images), max(len(rows) for rows in self._rows)
        tokens = every.new_zeros(len(every), longest, every.shape[2])
        mask = torch.zeros(len(every), 1, 1, longest, dtype=torch.bool)
        for index, rows in enumerate(self._rows):
            tokens[index, : len(rows)] = every[index, rows]
            mask[index, ..., : len(rows)] = True
        for block in self._vit.blocks:
            tokens = block(tokens, attn_mask=mask)
        return self._vit.forward_head(self._vit.norm(tokens))

    @torch.inference_mode()
    def full_images(self) -> torch.Tensor:
        logits: torch.Tensor = self._vit(self._images)
        return logits

    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        return self._vit._pos_embed(self._vit.patch_embed(images))


def timed(
    contestants: dict[str, Contestant], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Return seconds of every contestant in every round, after one unmeasured round."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for round_idx in range(rounds + 1):
        for name, contestant in contestants.items():
            began_s = clock()
            contestant()
            if round_idx:
                seconds[name].append(clock() - began_s)
    return seconds


def measure(arguments: argparse.Namespace) -> list[Figure]:
    torch.set_num_threads(arguments.threads)
    dtype = best_dtype()
    model = random_model(arguments.model, seed=arguments.seed)
    counts = draw_counts(arguments.sets, arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    every = rng.integers(0, 256, (arguments.sets, NUM_PATCHES, 16, 16, 3), dtype=np.uint8)
    positions = [np.sort(rng.permutation(NUM_PATCHES)[:count]) for count in counts]
    patches = [grid[kept] for grid, kept in zip(every, positions, strict=True)]
    forward = PackedForward(model, dtype=dtype)
    rivals = Rivals(model, np.stack([from_patches(grid) for grid in every]), positions, dtype)
    all_positions = [np.arange(NUM_PATCHES)] * arguments.sets
    difference = np.abs(forward(patches, positions) - rivals.one_by_one().float().numpy()).max()
    contestants: dict[str, Contestant] = {
        "packed": lambda: forward(patches, positions),
        "padded": rivals.padded,
        "one by one": rivals.one_by_one,
        "full images": rivals.full_images,
        "one by one, same kernels": lambda: [
            forward([kept], [places]) for kept, places in zip(patches, positions, strict=True)
        ],
        "full images, same kernels": lambda: forward(list(every), all_positions),
    }
    clock = time.perf_counter if arguments.clock == "wall" else time.process_time
    seconds = timed(contestants, arguments.rounds, clock)
    kind = str(dtype).removeprefix("torch.")
    subject = f"{arguments.model} shape, random weights, {kind}, {arguments.threads} threads"
    return figures_of(seconds, counts, arguments.threads, subject, float(difference))


def figures_of(
    seconds: dict[str, list[float]], counts: np.ndarray, threads: int, subject: str, difference: float
) -> list[Figure]:
    tokens = (counts + 1).mean()
    drawn = f"{subject}; {len(counts)} sets, mean {counts.mean():.0f} of {NUM_PATCHES} patches"
    figures = [
        Figure(f"{name}: time", statistics.median(values) / len(counts) * 1e3, "ms/image", note=drawn)
        for name, values in seconds.items()
    ]
    amx = torch.cpu._is_amx_tile_supported()
    goals = {"padded": 1.4, "one by one": 1.4 if amx or threads > 1 else 1.0, "full images": 1.25}
    notes = {
        "padded": "padded to the longest set, with a mask",
        "full images": f"tokens alone: {FULL_TOKENS / tokens:.2f}",
        "full images, same kernels": f"tokens alone: {FULL_TOKENS / tokens:.2f}",
    }
    for name, values in seconds.items():
        if name != "packed":
            ratios = [other / packed for other, packed in zip(values, seconds["packed"], strict=True)]
            figures.append(
                Figure(
                    f"packed against {name}",
                    statistics.median(ratios),
                    "x",
                    goals.get(name),
                    note=notes.get(name, ""),
                )
            )
    figures.append(
        Figure(
            "largest logit difference, packed and one by one",
            difference,
            "logits",
            note="both in this format",
        )
    )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", default="deit_base_patch16_224", help="a timm name; only its shape is used"
    )
    parser.add_argument("--threads", type=int, default=1, help=f"here up to {available_threads()}")
    parser.add_argument("--sets", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    publish(measure(arguments), arguments.json)


if __name__ == "__main__":
    main()
