"""The shape of a vision transformer. Must not import timm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from schemas.errors import ModelError
from schemas.geometry import CROP_SIDE, PATCH_SIDE


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


def architecture_of(vit: Any) -> Architecture:
    """Return the shape of a `PlainVit`, or of a model that `require_supported` accepts."""
    block, patch = vit.blocks[0], int(vit.patch_embed.proj.kernel_size[0])
    positions = vit.pos_embed.shape[1] - (0 if vit.no_embed_class else 1)
    return Architecture(
        embed_dim=int(vit.embed_dim),
        depth=len(vit.blocks),
        num_heads=int(block.attn.num_heads),
        mlp_ratio=block.mlp.fc1.out_features / vit.embed_dim,
        num_classes=int(vit.num_classes),
        patch_size=patch,
        image_size=patch * math.isqrt(positions),
    )
