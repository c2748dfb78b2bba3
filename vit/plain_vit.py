"""A plain vision transformer's weights under timm's names, without timm: what a worker loads.

Importing timm brings torchvision and torch's compiler with it, which took a worker most of its start. It holds
weights and computes nothing; `Model.timm` is the same as timm's module.
"""

from __future__ import annotations

import torch
from torch import nn

from schemas.geometry import FULL_TOKENS, PATCH_SIDE
from vit.architecture import Architecture

NORM_EPS = 1e-6


class _PatchEmbed(nn.Module):
    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, PATCH_SIDE, PATCH_SIDE)


class _Attention(nn.Module):
    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (embed_dim // num_heads) ** -0.5
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.proj = nn.Linear(embed_dim, embed_dim)


class _Mlp(nn.Module):
    def __init__(self, embed_dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, hidden)
        self.fc2 = nn.Linear(hidden, embed_dim)


class _Block(nn.Module):
    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        width = shape.embed_dim
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.attn = _Attention(width, shape.num_heads)
        self.ls1 = nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = _Mlp(width, int(width * shape.mlp_ratio))
        self.ls2 = nn.Identity()


class PlainVit(nn.Module):
    """The parts of timm's VisionTransformer by timm's names; a state dict of one fits the other."""

    no_embed_class = False

    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        self.embed_dim, self.num_classes = shape.embed_dim, shape.num_classes
        self.cls_token = nn.Parameter(torch.empty(1, 1, shape.embed_dim))
        self.pos_embed = nn.Parameter(torch.empty(1, FULL_TOKENS, shape.embed_dim))
        self.patch_embed = _PatchEmbed(shape.embed_dim)
        self.norm_pre = nn.Identity()
        self.blocks = nn.Sequential(*(_Block(shape) for _ in range(shape.depth)))
        self.norm = nn.LayerNorm(shape.embed_dim, eps=NORM_EPS)
        self.head = nn.Linear(shape.embed_dim, shape.num_classes)


def build(architecture: Architecture) -> PlainVit:
    """Return the model of this shape without storage (device meta)."""
    with torch.device("meta"):
        return PlainVit(architecture)
