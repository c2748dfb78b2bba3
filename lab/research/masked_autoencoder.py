"""A masked auto-encoder that paints missing patches, for the evaluation's random-patch baselines.

numpy in, numpy out. Architecture and weight names: He et al., "Masked Autoencoders Are Scalable Vision
Learners", CVPR 2022.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers.norm import LayerNorm
from timm.models.vision_transformer import Block
from torch import nn

from lab.research.restoration_weights import fill_module, read_weights
from schemas.errors import ModelError
from schemas.geometry import FULL_TOKENS, NUM_PATCHES, PATCH_SIDE
from vit.model import IMAGENET_MEAN, IMAGENET_STD
from vit.preprocess import to_patches

_HEAD_DIM = 64
_DECODER_HEADS = 16
_PATCH_VALUES = PATCH_SIDE * PATCH_SIDE * 3


class MaskedAutoencoder:
    """An encoder and pixel decoder from a safetensors file; widths and depths are read off the weights.

    The pixels must have been learned without per-patch normalisation, as in the released "visualize" weights.

    Raises:
        ModelError: no such file, or no masked auto-encoder with patch 16.
    """

    def __init__(self, path: Path) -> None:
        state, self.identity = read_weights(path)
        try:
            width = state["cls_token"].shape[-1]
            decoder_width = state["mask_token"].shape[-1]
        except KeyError as error:
            raise ModelError(f"model {path}: it has no {error}, so it is no masked auto-encoder") from None
        depth, decoder_depth = _depth(state, "blocks"), _depth(state, "decoder_blocks")
        self._network = fill_module(_Network(width, depth, decoder_width, decoder_depth), state, path)

    def __call__(self, crop: NDArray[np.uint8], visible: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return all (196, 16, 16, 3) patches: those at `visible` as they are, the others painted.

        Args:
            crop: (224, 224, 3) uint8; only its visible patches are read.
            visible: (k,) positions in any order, k >= 1.
        """
        patches = to_patches(crop).copy()
        mean, std = np.asarray(IMAGENET_MEAN, np.float32), np.asarray(IMAGENET_STD, np.float32)
        values = (patches[visible].astype(np.float32) / 255.0 - mean) / std
        with torch.inference_mode():
            painted = self._network(torch.from_numpy(values), torch.from_numpy(visible)).numpy()
        pixels = painted.reshape(NUM_PATCHES, PATCH_SIDE, PATCH_SIDE, 3) * std + mean
        hidden = np.setdiff1d(np.arange(NUM_PATCHES), visible)
        patches[hidden] = (pixels[hidden] * 255.0).round().clip(0, 255).astype(np.uint8)
        return patches


class _Network(nn.Module):
    def __init__(self, width: int, depth: int, decoder_width: int, decoder_depth: int) -> None:
        super().__init__()
        projection = nn.Conv2d(3, width, PATCH_SIDE, PATCH_SIDE)
        self.patch_embed = nn.ModuleDict({"proj": projection})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, FULL_TOKENS, width))
        heads = max(1, width // _HEAD_DIM)
        self.blocks = nn.Sequential(*(_block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder_embed = nn.Linear(width, decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        self.decoder_pos_embed = nn.Parameter(torch.zeros(1, FULL_TOKENS, decoder_width))
        self.decoder_blocks = nn.Sequential(
            *(_block(decoder_width, _DECODER_HEADS) for _ in range(decoder_depth))
        )
        self.decoder_norm = nn.LayerNorm(decoder_width, eps=1e-6)
        self.decoder_pred = nn.Linear(decoder_width, _PATCH_VALUES)

    def forward(self, values: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        """Return (196, 768) pixel values from (k, 16, 16, 3) normalised patches and their (k,) positions."""
        # (k, 16, 16, 3) -> (k, 3, 16, 16) -> (1, k, D)
        embedded = self.patch_embed["proj"](values.permute(0, 3, 1, 2)).flatten(1)[None]
        embedded = embedded + self.pos_embed[:, visible + 1]
        tokens = torch.cat([self.cls_token + self.pos_embed[:, :1], embedded], dim=1)
        encoded = self.decoder_embed(self.norm(self.blocks(tokens)))
        whole = self.mask_token.repeat(1, FULL_TOKENS, 1)
        whole[:, :1] = encoded[:, :1]
        whole[:, visible + 1] = encoded[:, 1:]
        decoded = self.decoder_norm(self.decoder_blocks(whole + self.decoder_pos_embed))
        result: torch.Tensor = self.decoder_pred(decoded)[0, 1:]
        return result


def _block(width: int, heads: int) -> Block:
    # timm's own LayerNorm has the epsilon of 1e-6 that the released weights were trained with.
    return Block(width, heads, 4.0, qkv_bias=True, norm_layer=LayerNorm)


def _depth(state: dict[str, torch.Tensor], name: str) -> int:
    return 1 + max((int(key.split(".")[1]) for key in state if key.startswith(f"{name}.")), default=-1)
