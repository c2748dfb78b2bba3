"""Multiply-accumulate counts of a vision transformer, for reports of compute. Pure arithmetic."""

from collections.abc import Iterable

from schemas.geometry import PATCH_SIDE

_PATCH_VALUES = PATCH_SIDE * PATCH_SIDE * 3


def transformer_macs(num_tokens: int, embed_dim: int, depth: int) -> int:
    """Return L(12 n D^2 + 2 n^2 D), the blocks' MACs for n tokens at MLP ratio 4.

    Source: eq. 9 of Im et al., arXiv 2404.07217 (they print it as FLOPs; it counts MACs).
    """
    return depth * (12 * num_tokens * embed_dim**2 + 2 * num_tokens**2 * embed_dim)


def forward_macs(num_patches: int, embed_dim: int, depth: int) -> int:
    """Return the MACs of one pass over `num_patches` patches and the class token, patch embedding included.

    DeiT-Base (768, 12) on all 196 patches: 17.57 G; Table I of the paper says 17.58 G with the head.
    """
    if num_patches < 1:
        raise ValueError(f"a pass needs at least 1 patch, got {num_patches}")
    return transformer_macs(num_patches + 1, embed_dim, depth) + num_patches * _PATCH_VALUES * embed_dim


def server_macs(patch_counts: Iterable[int], embed_dim: int, depth: int) -> int:
    """Return the MACs of all server passes, one of each count of patches (zero counts are no pass)."""
    return sum(forward_macs(int(count), embed_dim, depth) for count in patch_counts if count)
