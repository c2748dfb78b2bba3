"""Attention rollout: which patches the class token draws on through several layers. numpy in, numpy out.

The maps of all layers come from timm's own modules in float32: far slower than `EdgeForward`, and used by the
evaluation only. Of the product of the maps one row is wanted, so vectors are multiplied, never matrices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from vit.model import Model
from vit.packed_forward import normalised

if TYPE_CHECKING:
    from timm.models.vision_transformer import Block

Attention = NDArray[np.float32]


def rollout(attention: Attention) -> Attention:
    """Return the class token's rollout over all heads apart, averaged at the end.

    Each layer and head counts as A + I without row normalisation, the product runs over every layer given,
    and only then are heads averaged, the class token's own entry dropped and the rest brought to sum 1.

    Args:
        attention: (L, H, N, N), softmax rows, token 0 is the class token, layers from first to last.

    Returns:
        (N - 1,) float32, sum 1.

    Source: the authors' code of arXiv 2404.07217, as described there (Fig. 11).
    """
    _check(attention, 4)
    row = np.zeros((attention.shape[1], 1, attention.shape[-1]), dtype=np.float64)
    row[:, 0, 0] = 1.0
    for layer in attention[::-1]:
        row = row @ layer.astype(np.float64) + row
    return _patch_shares(row[:, 0].mean(axis=0))


def mean_head_rollout(attention: Attention) -> Attention:
    """Return the class token's rollout over head-averaged layers.

    Args:
        attention: (L, N, N), averaged over heads, layers from first to last; give the last six of twelve for
            the layer-selective rollout.

    Returns:
        (N - 1,) float32, sum 1.

    Source: eq. 4 of "Token-Oriented Semantic Communication with Pretrained Vision Transformers".
    """
    _check(attention, 3)
    row = np.zeros(attention.shape[-1], dtype=np.float64)
    row[0] = 1.0
    for layer in attention[::-1]:
        row = row @ layer.astype(np.float64) + row
    return _patch_shares(row)


def _patch_shares(row: NDArray[np.float64]) -> Attention:
    patches = row[1:]
    return np.asarray(patches / patches.sum(), dtype=np.float32)


def _check(attention: Attention, num_axes: int) -> None:
    if attention.ndim != num_axes or attention.shape[-1] != attention.shape[-2] or attention.shape[-1] < 2:
        raise ValueError(f"attention: shape {attention.shape}, must have {num_axes} axes, the last two equal")


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
        for block in cast("list[Block]", list(vit.blocks)):
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
