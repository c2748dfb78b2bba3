"""A vision transformer's forward while it learns: any patches in; classes and attention out.

Works on timm's own modules, so that what is learnt loads unchanged into `vit`. The patch head is used in
training only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

if TYPE_CHECKING:
    from timm.layers.attention import Attention
    from timm.models.vision_transformer import Block, VisionTransformer

MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)


class Outputs(NamedTuple):
    """logits: (B, C). patch_logits: (B, n, C).

    attention: (B, n) float32, the last layer's head-mean class attention; rows sum to 1.
    """

    logits: Tensor
    patch_logits: Tensor
    attention: Tensor


class Learner(nn.Module):
    """A vision transformer and the patch head that helps it learn."""

    def __init__(self, vit: VisionTransformer) -> None:
        super().__init__()
        self.vit = vit
        self.patch_head = nn.Linear(vit.embed_dim, vit.num_classes)

    def forward(self, patches: Tensor, positions: Tensor) -> Outputs:
        """Return the outputs for (B, n, 768) normalised patches, channel first, at (B, n) grid positions."""
        vit = self.vit
        places, class_token = vit.pos_embed, vit.cls_token
        assert places is not None and class_token is not None
        weight = vit.patch_embed.proj.weight.flatten(1)
        tokens = F.linear(patches, weight, vit.patch_embed.proj.bias)
        tokens = tokens + places[0, 1:][positions]
        cls = (class_token + places[:, :1]).expand(len(tokens), -1, -1)
        x = torch.cat([cls, tokens], dim=1)
        blocks = cast("list[Block]", list(vit.blocks))
        for block in blocks[:-1]:
            x = x + attend(cast("Attention", block.attn), block.norm1(x))[0]
            x = x + block.mlp(block.norm2(x))
        last = blocks[-1]
        y, attention = attend(cast("Attention", last.attn), last.norm1(x), want_class_attention=True)
        x = x + y
        x = vit.norm(x + last.mlp(last.norm2(x)))
        assert attention is not None
        return Outputs(vit.head(x[:, 0]), self.patch_head(x[:, 1:]), attention)


def attend(attn: Attention, x: Tensor, *, want_class_attention: bool = False) -> tuple[Tensor, Tensor | None]:
    """Return self-attention of (B, n, D) tokens, and the class token's attention to the patches if wanted.

    The class attention is the head-mean softmax over all keys in float32 without the class token,
    renormalised.
    """
    batch, count, dim = x.shape
    heads = attn.num_heads
    qkv = attn.qkv(x).reshape(batch, count, 3, heads, dim // heads).permute(2, 0, 3, 1, 4)
    query, key, value = qkv.unbind(0)
    mixed = F.scaled_dot_product_attention(query, key, value)
    attention = None
    if want_class_attention:
        scores = (query[:, :, :1].float() @ key.float().transpose(-2, -1)) * (dim // heads) ** -0.5
        shares = scores.softmax(-1).mean(1)[:, 0, 1:]
        attention = shares / shares.sum(-1, keepdim=True)
    return attn.proj(mixed.transpose(1, 2).reshape(batch, count, dim)), attention


def normalised(crops: Tensor) -> Tensor:
    """Return (B, h, w, 3) uint8 pixels as (B, 3, h, w) float32 of `MEAN` 0 and `STD` 1: -2 is black, 2 is white."""
    mean, std = (torch.tensor(values, device=crops.device).view(3, 1, 1) * 255 for values in (MEAN, STD))
    return (crops.permute(0, 3, 1, 2).float() - mean) / std


def patches_of(pixels: Tensor) -> Tensor:
    """Return (B, 3, h, w) pixels, h and w multiples of 16, as (B, n, 768) patches, channel first."""
    batch, _, height, width = pixels.shape
    grid = pixels.reshape(batch, 3, height // 16, 16, width // 16, 16)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, 768)
