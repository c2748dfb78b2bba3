"""The server's ragged batches on OpenVINO against the packed forward, in bf16 on one CPU thread.

    python -m lab.benchmarks.server_backends [--model NAME] [--sets N] [--rounds N] [--json FILE]

Needs the extra `openvino`. OpenVINO has no attention over packed sets, so a ragged batch goes through it in
one of two exact ways: one set at a time with a dynamic length, or all tokens in one sequence with a mask that
keeps the sets apart. OpenVINO gets tokens that are embedded already; the packed forward's time includes it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
from torch import nn

from lab.benchmarks.packed_attention import Rivals, draw_counts, timed
from lab.benchmarks.report import Figure, publish
from schemas.geometry import NUM_PATCHES
from vit.hardware import best_dtype
from vit.model import random_model
from vit.packed_forward import PackedForward
from vit.preprocess import from_patches

_OPTIONS = {
    "INFERENCE_PRECISION_HINT": "bf16",
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "PERFORMANCE_HINT": "LATENCY",
}


class OneSet(nn.Module):
    """(1, n, d) embedded tokens of one set -> (1, C)."""

    def __init__(self, vit: Any) -> None:
        super().__init__()
        self.vit = vit

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        for block in self.vit.blocks:
            tokens = block(tokens)
        scores: torch.Tensor = self.vit.head(self.vit.norm(tokens)[:, 0])
        return scores


class Masked(OneSet):
    """(1, n, d) tokens of several sets, a mask (1, 1, n, n), rows of their class tokens (B,) -> (B, C)."""

    def forward(  # type: ignore[override]
        self, tokens: torch.Tensor, mask: torch.Tensor, firsts: torch.Tensor
    ) -> torch.Tensor:
        for block in self.vit.blocks:
            tokens = block(tokens, attn_mask=mask)
        scores: torch.Tensor = self.vit.head(self.vit.norm(tokens)[0, firsts])
        return scores


class OpenVino:
    """The same sets through OpenVINO; embedding was done before."""

    def __init__(self, rivals: Rivals) -> None:
        vit, core = rivals._vit.float().eval(), openvino.Core()
        every = rivals._embed(rivals._images.float())
        self._sets = [every[index : index + 1, rows].numpy() for index, rows in enumerate(rivals._rows)]
        lengths = [each.shape[1] for each in self._sets]
        owner = np.repeat(np.arange(len(lengths)), lengths)
        self._tokens = np.concatenate(self._sets, axis=1)
        self._mask = np.where(owner[:, None] == owner, np.float32(0), np.float32(-1e4))[None, None]
        self._firsts = np.cumsum([0, *lengths[:-1]])
        width = self._tokens.shape[2]
        given = torch.from_numpy(self._sets[0])
        self._alone = core.compile_model(
            openvino.convert_model(OneSet(vit), example_input=given, input=[("tokens", [1, -1, width])]),
            "CPU",
            _OPTIONS,
        )
        inputs = tuple(torch.from_numpy(each) for each in (self._tokens, self._mask, self._firsts))
        self._masked = core.compile_model(
            openvino.convert_model(Masked(vit), example_input=inputs), "CPU", _OPTIONS
        )

    def one_by_one(self) -> np.ndarray:
        return np.concatenate([self._alone(tokens)[0] for tokens in self._sets])

    def masked(self) -> np.ndarray:
        logits: np.ndarray = self._masked([self._tokens, self._mask, self._firsts])[0]
        return logits


def measure(arguments: argparse.Namespace) -> list[Figure]:
    torch.set_num_threads(1)
    model = random_model(arguments.model, seed=0)
    counts = draw_counts(arguments.sets, 0)
    rng = np.random.default_rng(0)
    every = rng.integers(0, 256, (arguments.sets, NUM_PATCHES, 16, 16, 3), dtype=np.uint8)
    positions = [np.sort(rng.permutation(NUM_PATCHES)[:count]) for count in counts]
    patches = [grid[kept] for grid, kept in zip(every, positions, strict=True)]
    forward = PackedForward(model, dtype=best_dtype())
    crops = np.stack([from_patches(grid) for grid in every])
    with torch.inference_mode():
        other = OpenVino(Rivals(model, crops, positions, torch.float32))
    contestants: dict[str, Callable[[], np.ndarray]] = {
        "packed": lambda: forward(patches, positions),
        "OpenVINO, one by one": other.one_by_one,
        "OpenVINO, one sequence with a mask": other.masked,
    }
    answers = {name: contestant() for name, contestant in contestants.items()}
    seconds = timed(dict(contestants), arguments.rounds, time.perf_counter)
    subject = f"{arguments.model} shape, random weights; {len(counts)} sets, mean {counts.mean():.0f} patches"
    figures = []
    for name, values in seconds.items():
        figures.append(
            Figure(f"{name}: time", statistics.median(values) / len(counts) * 1e3, "ms/image", note=subject)
        )
        if name != "packed":
            ratios = [rival / packed for rival, packed in zip(values, seconds["packed"], strict=True)]
            apart = np.abs(answers[name] - answers["packed"]).max()
            note = f"largest logit difference {apart:.3f}"
            figures.append(Figure(f"packed against {name}", statistics.median(ratios), "x", note=note))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="deit_base_patch16_224", help="only its shape is used")
    parser.add_argument("--sets", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    publish(measure(arguments), arguments.json)


if __name__ == "__main__":
    main()
