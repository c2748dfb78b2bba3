"""Every layer's attention of whole crops, for attention rollout.

Called by evaluation only: float32, timm's own modules, far slower than `EdgeForward`. numpy in, numpy out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import Block

from vit.model import Model
from vit.packed_forward import normalised


def attention_maps(model: Model, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the softmax attention of every block.

    Args:
        model: any that `load_model` returns.
        crops: (B, 224, 224, 3) uint8 RGB.

    Returns:
        (B, depth, heads, 197, 197) float32, rows sum to 1, token 0 is the class token.
    """
    vit = model.timm
    layers = []
    with torch.inference_mode():
        tokens = vit.norm_pre(vit._pos_embed(vit.patch_embed(normalised(crops, model))))
        for block in vit.blocks:
            assert isinstance(block, Block)
            weights, tokens = _through(block, tokens)
            layers.append(weights)
        return torch.stack(layers, dim=1).numpy()


def _through(block: Block, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the (B, heads, n, n) attention of a block and the (B, n, D) tokens after it."""
    attention: Any = block.attn
    scale_attention: Any = block.ls1
    scale_mlp: Any = block.ls2
    batch, length, _ = tokens.shape
    # (B, n, 3 D) -> three of (B, heads, n, d)
    qkv = attention.qkv(block.norm1(tokens)).reshape(batch, length, 3, attention.num_heads, -1)
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    weights = torch.softmax(query @ key.mT * attention.scale, dim=-1)
    mixed = attention.proj((weights @ value).transpose(1, 2).reshape(batch, length, -1))
    tokens = tokens + scale_attention(mixed)
    return weights, tokens + scale_mlp(block.mlp(block.norm2(tokens)))
