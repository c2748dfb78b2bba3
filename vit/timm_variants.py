"""timm's own module of a shape, and which of timm's variants the forwards here compute exactly."""

from __future__ import annotations

from typing import Any

import torch
from timm.layers.attention import Attention
from timm.layers.layer_scale import LayerScale
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from schemas.errors import ModelError
from schemas.geometry import NUM_PATCHES, PATCH_SIDE
from vit.architecture import Architecture


def build_timm(architecture: Architecture) -> VisionTransformer:
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
