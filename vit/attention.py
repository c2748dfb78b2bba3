"""Attention within each token set of a packed batch: what it is, and how a GPU computes it.

Called by vit/transformer.py; the CPU's way is in vit/cpu_attention.py. A packed batch holds the tokens of all
sets one after the other, (sum n, ...), each set's class token first, so that linear layers and norms need no
padding; only attention knows where a set ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch.nn import functional


class SetAttention(Protocol):
    """Attention over the sets of one batch; `scaled` says whether queries come multiplied by 1/sqrt(d)."""

    scaled: bool

    def attend(self, qkv: torch.Tensor) -> torch.Tensor:
        """Return (sum n, D) from (sum n, 3 D): each token's attention over its own set."""

    def attend_class(self, query: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        """Return (B, D) from (B, D) and (sum n, 2 D): each set's class token's attention over its set."""


VarlenKernel = Callable[..., object]


def varlen_kernel() -> VarlenKernel:
    """Return torch's variable-length kernel.

    Imported here, as it brings torch's compiler with it, for which no worker on a CPU should wait.
    """
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn


class CudaSetAttention:
    """Attention by torch's variable-length kernel.

    Args:
        offsets: (B + 1,) int32 on the device; where each set starts, and the end. Sets may be empty.
        class_offsets: (B + 1,) int32 on the device: 0, 1, ... B.
        max_tokens: at least the longest set's length.
        kernel: `varlen_kernel()`.
    """

    scaled = False

    def __init__(
        self,
        offsets: torch.Tensor,
        class_offsets: torch.Tensor,
        max_tokens: int,
        num_heads: int,
        kernel: VarlenKernel,
    ) -> None:
        self._kernel = kernel
        self._offsets, self._class_offsets = offsets, class_offsets
        self._max_tokens, self._num_heads = max_tokens, num_heads

    def attend(self, qkv: torch.Tensor) -> torch.Tensor:
        """See `SetAttention.attend`."""
        query, key, value = qkv.view(qkv.shape[0], 3, self._num_heads, -1).unbind(1)
        mixed = self._kernel(
            query, key, value, self._offsets, self._offsets, self._max_tokens, self._max_tokens
        )
        assert isinstance(mixed, torch.Tensor)
        return mixed.reshape(qkv.shape[0], -1)

    def attend_class(self, query: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        """See `SetAttention.attend_class`."""
        key, value = keys_values.view(keys_values.shape[0], 2, self._num_heads, -1).unbind(1)
        asked = query.view(query.shape[0], self._num_heads, -1)
        mixed = self._kernel(asked, key, value, self._class_offsets, self._offsets, 1, self._max_tokens)
        assert isinstance(mixed, torch.Tensor)
        return mixed.reshape(query.shape[0], -1)


class EqualSetAttention:
    """Attention over equally long sets by torch's fused kernel, for any device.

    `class_weights` holds, after `attend_class`, the (B, heads, n) float32 attention of the class tokens.
    """

    scaled = False

    def __init__(self, count: int, num_heads: int) -> None:
        self._count, self._num_heads = count, num_heads
        self.class_weights = torch.empty(0)

    def attend(self, qkv: torch.Tensor) -> torch.Tensor:
        """See `SetAttention.attend`."""
        query, key, value = self._split(qkv, 3)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return mixed.transpose(1, 2).reshape(qkv.shape[0], -1)

    def attend_class(self, query: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        """See `SetAttention.attend_class`."""
        key, value = self._split(keys_values, 2)
        asked = query.view(self._count, self._num_heads, 1, -1)
        scores = asked.float() @ key.float().mT / key.shape[-1] ** 0.5
        weights = torch.softmax(scores, -1)
        self.class_weights = weights[:, :, 0]
        return (weights.to(value.dtype) @ value).reshape(query.shape[0], -1)

    def _split(self, rows: torch.Tensor, parts: int) -> tuple[torch.Tensor, ...]:
        """Return `parts` tensors of (B, heads, n, d) from (B * n, parts * heads * d)."""
        split = rows.view(self._count, rows.shape[0] // self._count, parts, self._num_heads, -1)
        return split.permute(2, 0, 3, 1, 4).unbind()
