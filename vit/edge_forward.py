"""The edge's pass over whole crops: class scores, and how much each patch was attended.

Called by the edge worker's engine on its device thread, and by evaluation. numpy in, numpy out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from schemas.geometry import CROP_SIDE, FULL_TOKENS, GRID, NUM_PATCHES, PATCH_SIDE
from vit.attention import EqualSetAttention
from vit.backends import EdgeOutput, check_crops
from vit.cores import Cores, even_parts
from vit.cpu_attention import CpuSetAttention
from vit.hardware import best_dtype
from vit.model import Model
from vit.transformer import Transformer


class EdgeForward:
    """The model as a function of crops.

    Args:
        model: any that `load_model` returns.
        dtype: number format of the products; the fastest exact one of the device where absent.
        threads: how many of the processor's cores share a batch; the calling thread computes it where absent.
        device: where to run.
    """

    def __init__(
        self,
        model: Model,
        dtype: torch.dtype | None = None,
        *,
        threads: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        device = torch.device(device)
        self.dtype = dtype or best_dtype(device)
        self._on_cpu = device.type == "cpu"
        self._cores = Cores(threads if self._on_cpu else None)
        self._transformer = Transformer(model, device, self.dtype, scaled=self._on_cpu)

    def __call__(self, crops: NDArray[np.uint8]) -> EdgeOutput:
        """Return scores, class attention and embedding of (B, 224, 224, 3) uint8 RGB crops, B >= 1.

        The attention is the last block's class-token attention: softmax over all 197 keys in float32, mean
        over heads, class token dropped, renormalised.

        Source: eq. 10 of Im et al., arXiv 2404.07217, as in the authors' code.
        """
        check_crops(crops)
        parts = even_parts([1] * len(crops), self._cores.threads)
        outputs = self._cores.run(self._classify, [crops[part] for part in parts])
        if len(outputs) == 1:
            return outputs[0]
        return EdgeOutput(
            np.concatenate([output.logits for output in outputs]),
            np.concatenate([output.attention for output in outputs]),
            np.concatenate([output.embedding for output in outputs]),
        )

    def choose_threads(self) -> None:
        """A lone crop gets one thread or all from now on, whichever is faster on this machine at this time."""
        crop = np.zeros((1, CROP_SIDE, CROP_SIDE, 3), np.uint8)
        self._cores.choose(lambda: self._classify(crop))

    def _classify(self, crops: NDArray[np.uint8]) -> EdgeOutput:
        with torch.inference_mode():
            count, transformer = len(crops), self._transformer
            pixels = torch.from_numpy(np.require(crops, requirements=["C", "W"])).to(transformer.device)
            rows = _rows(count, transformer.device)
            tokens = transformer.embed(_patch_rows(pixels), rows.positions, rows.patches, rows.classes)
            attention = (
                CpuSetAttention([FULL_TOKENS] * count, transformer.num_heads)
                if self._on_cpu
                else EqualSetAttention(count, transformer.num_heads)
            )
            embedding = transformer.encode(tokens, rows.classes, attention)
            logits = transformer.classify(embedding)
            weights = attention.class_weights
            heads = torch.cat(weights) if isinstance(weights, list) else weights
            outputs = (logits, patch_attention(heads), embedding.float())
            return EdgeOutput(*(output.cpu().numpy() for output in outputs))


def patch_attention(class_weights: torch.Tensor) -> torch.Tensor:
    """Return (B, 196) from the class token's (B, heads, 197) attention: mean, class key dropped, sum 1."""
    patches = class_weights.float().mean(dim=1)[:, 1:]
    return patches / patches.sum(dim=1, keepdim=True)


@dataclass(frozen=True, slots=True)
class _Rows:
    positions: torch.Tensor
    patches: torch.Tensor
    classes: torch.Tensor


@lru_cache(maxsize=64)
def _rows(count: int, device: torch.device) -> _Rows:
    """Return which token each patch and each class token of `count` whole crops becomes."""
    tokens = torch.arange(count * FULL_TOKENS, device=device).view(count, FULL_TOKENS)
    positions = torch.arange(NUM_PATCHES, device=device).repeat(count)
    return _Rows(positions, tokens[:, 1:].flatten(), tokens[:, 0].contiguous())


def _patch_rows(crops: torch.Tensor) -> torch.Tensor:
    """Return (B * 196, 768) patch rows of (B, 224, 224, 3) crops."""
    grid = crops.view(len(crops), GRID[0], PATCH_SIDE, GRID[1], PATCH_SIDE, 3)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(len(crops) * NUM_PATCHES, PATCH_SIDE * PATCH_SIDE * 3)
