"""The shape of a vision transformer, and which of timm's variants the forwards here compute exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from timm.layers.attention import Attention
from timm.layers.layer_scale import LayerScale
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from schemas.geometry import CROP_SIDE, NUM_PATCHES, PATCH_SIDE
from vit.errors import ModelError


@dataclass(frozen=True, slots=True)
class Architecture:
    """The numbers that make a plain (DeiT-like) vision transformer; patch and image size are fixed."""

    embed_dim: int
    depth: int
    num_heads: int
    mlp_ratio: float
    num_classes: int
    patch_size: int = PATCH_SIDE
    image_size: int = CROP_SIDE

    def __post_init__(self) -> None:
        for name in ("embed_dim", "depth", "num_heads", "num_classes"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ModelError(f"architecture: {name} is {value!r}, must be a whole number of at least 1")
        if not isinstance(self.mlp_ratio, int | float) or not self.mlp_ratio > 0:
            raise ModelError(f"architecture: mlp_ratio is {self.mlp_ratio!r}, must be above 0")
        if self.embed_dim % self.num_heads:
            raise ModelError(
                f"architecture: embed_dim {self.embed_dim} does not divide by num_heads {self.num_heads}"
            )
        if (self.patch_size, self.image_size) != (PATCH_SIDE, CROP_SIDE):
            raise ModelError(
                f"architecture: patch {self.patch_size} on {self.image_size} pixels; "
                f"only patch {PATCH_SIDE} on {CROP_SIDE} is supported"
            )

    def to_json(self) -> dict[str, int | float]:
        """Return the architecture as a JSON object; `architecture_from_json` reads it back."""
        return asdict(self)


def architecture_from_json(values: Mapping[str, Any]) -> Architecture:
    """Return the architecture of `Architecture.to_json`; ModelError for unknown or missing names."""
    names = set(Architecture.__dataclass_fields__)
    if set(values) != names:
        odd = sorted(set(values) ^ names)
        raise ModelError(
            f"architecture: {', '.join(odd)} missing or unknown; expected {', '.join(sorted(names))}"
        )
    return Architecture(**values)


def build(architecture: Architecture) -> VisionTransformer:
    """Return timm's plain VisionTransformer of this shape without storage (device meta)."""
    with torch.device("meta"):
        return VisionTransformer(
            img_size=architecture.image_size,
            patch_size=architecture.patch_size,
            embed_dim=architecture.embed_dim,
            depth=architecture.depth,
            num_heads=architecture.num_heads,
            mlp_ratio=architecture.mlp_ratio,
            num_classes=architecture.num_classes,
            weight_init="skip",
        )


def architecture_of(vit: VisionTransformer) -> Architecture:
    """Return the shape of a model that `require_supported` accepts."""
    block: Any = vit.blocks[0]
    return Architecture(
        embed_dim=int(vit.embed_dim),
        depth=len(vit.blocks),
        num_heads=int(block.attn.num_heads),
        mlp_ratio=block.mlp.fc1.out_features / vit.embed_dim,
        num_classes=int(vit.num_classes),
        patch_size=int(vit.patch_embed.patch_size[0]),
        image_size=int(vit.patch_embed.img_size[0]),
    )


def require_supported(vit: nn.Module, name: str) -> VisionTransformer:
    """Return the model itself where the forwards of this package compute exactly what timm's does.

    Supported: patch 16 on 224x224, one class token that is classified, absolute positions, plain attention,
    GELU; also layer scale (DeiT-III) and a norm before the blocks (CLIP).

    Raises:
        ModelError: names the part that is not supported.
    """
    reason = _unsupported_part(vit)
    if reason:
        raise ModelError(
            f"model {name}: {reason}; supported are plain vision transformers with patch 16, 224x224 pixels "
            "and a class token, such as deit_tiny_patch16_224"
        )
    assert isinstance(vit, VisionTransformer)
    return vit


def _unsupported_part(vit: nn.Module) -> str:  # noqa: PLR0911  (a list of refusals reads best as one)
    """Return what the forwards here would compute wrongly, or nothing."""
    if type(vit) is not VisionTransformer:
        distilled = hasattr(vit, "dist_token")
        return "it has a distillation token" if distilled else f"it is a {type(vit).__name__}"
    embed = vit.patch_embed
    if tuple(embed.patch_size) != (PATCH_SIDE, PATCH_SIDE) or embed.num_patches != NUM_PATCHES:
        return f"its patches are {embed.patch_size} of images {embed.img_size}"
    if vit.num_reg_tokens:
        return f"it has {vit.num_reg_tokens} register tokens"
    if not vit.has_class_token or vit.global_pool != "token":
        return f"it classifies by {vit.global_pool or 'no'} pooling"
    if vit.pos_embed is None or not isinstance(vit.head, nn.Linear):
        return "it has no absolute positions or no classification head"
    if not all(isinstance(part, nn.Identity) for part in (embed.norm, vit.patch_drop, vit.fc_norm)):
        return "it normalises patches, drops patches or normalises the pooled token"
    return next((reason for block in vit.blocks if (reason := _unsupported_block(block))), "")


def _unsupported_block(block: Any) -> str:
    """Return what makes a block more than attention, GELU MLP and layer scale, or nothing."""
    if type(block) is not Block or type(block.attn) is not Attention:
        return f"its blocks are {type(block).__name__}"
    attention = block.attn
    plain = (attention.q_norm, attention.k_norm, attention.norm, block.mlp.norm)
    if attention.gate is not None or not all(isinstance(part, nn.Identity) for part in plain):
        return "its attention or MLP has norms or gates inside"
    if not isinstance(block.mlp.act, nn.GELU) or block.mlp.act.approximate != "none":
        return f"its activation is {type(block.mlp.act).__name__}"
    if not all(isinstance(scale, nn.Identity | LayerScale) for scale in (block.ls1, block.ls2)):
        return "its blocks scale their outputs in an unknown way"
    if not all(isinstance(norm, nn.LayerNorm) for norm in (block.norm1, block.norm2)):
        return f"its norm is {type(block.norm1).__name__}"
    return ""
