"""A vision transformer over packed token sets: embedding, blocks and head, on one device in one dtype.

Called by EdgeForward and PackedForward. It computes what timm's VisionTransformer computes, with three exact
savings: normalisation of pixels is folded into the patch embedding, layer scale and 1/sqrt(d) into the linear
layers, and the last block works on class tokens only, the only ones that the head reads.
"""

from __future__ import annotations

import os
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from vit.attention import SetAttention
from vit.model import Model
from vit.process import keep_freed_memory

# Torch's own compiler emits these operators; they are absent from builds without oneDNN.
_ONEDNN_OPERATORS = ("_reorder_linear_weight", "_linear_pointwise")
# oneDNN generates code for each shape and keeps it for 1,024 of them. Ragged batches have more: some 70 row counts
# and up to 200 numbers of class tokens, each times five layers, and the attention's shapes. Without room for
# all, a step that takes 0.2 ms takes 3 to generate its code again.
_KEPT_SHAPES = 4096


class Linear:
    """x W^T + b for weights (out, in) and x (rows, in), both contiguous and of one dtype on one device.

    On a CPU the weights are reordered once for oneDNN, and bias, GELU and the residual sum run inside the product.
    Measured on one core of an EPYC with AVX-512: bf16 250 instead of 220 GMAC/s, float32 120 instead of 54 (torch's
    default there is MKL), and two passes over memory less.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None, device: torch.device, dtype: torch.dtype
    ) -> None:
        # Read when oneDNN is first used, which is here in a process that has no other use for it.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(_KEPT_SHAPES))
        self._packed = device.type == "cpu" and _onednn_is_there()
        self._bias = None if bias is None else bias.to(device, dtype).contiguous()
        self._weight = weight.to(device, dtype).contiguous()
        if self._packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight, None)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return (rows, out)."""
        if self._packed:
            product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
                x, self._weight, self._bias, "none", [], ""
            )
            return product
        return functional.linear(x, self._weight, self._bias)

    def gelu(self, x: torch.Tensor) -> torch.Tensor:
        """Return GELU (the exact one, by erf) of the product: (rows, out)."""
        if self._packed:
            product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
                x, self._weight, self._bias, "gelu", [], "none"
            )
            return product
        return functional.gelu(functional.linear(x, self._weight, self._bias))

    def add(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """Return residual + product: (rows, out)."""
        if self._packed:
            total: torch.Tensor = torch.ops.mkldnn._linear_pointwise.binary(
                x, residual, self._weight, self._bias, "add"
            )
            return total
        return residual + functional.linear(x, self._weight, self._bias)


def _onednn_is_there() -> bool:
    return bool(torch.backends.mkldnn.is_available()) and all(  # type: ignore[no-untyped-call]
        hasattr(torch.ops.mkldnn, name) for name in _ONEDNN_OPERATORS
    )


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: torch.Tensor
    bias: torch.Tensor
    eps: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class _Block:
    """The last block, which asks for class tokens only, has `query` and `key_value`, others all in one."""

    before_attention: _Norm
    query_key_value: Linear | None
    query: Linear | None
    key_value: Linear | None
    project: Linear
    before_mlp: _Norm
    expand: Linear
    contract: Linear


class Transformer:
    """The model's weights on a device, ready to run; for a CPU the process keeps freed memory from now on.

    Args:
        model: any that `load_model` returns.
        scaled: whether the attention that will be used expects scaled queries (`SetAttention.scaled`).
    """

    def __init__(self, model: Model, device: torch.device, dtype: torch.dtype, *, scaled: bool) -> None:
        if device.type == "cpu":
            keep_freed_memory()
        self.device, self.dtype = device, dtype
        self._scaled = scaled
        vit = model.vit
        self.embed_dim, self.num_heads = model.architecture.embed_dim, model.architecture.num_heads
        self._centre, self._embedding = self._fold_normalisation(model)
        assert vit.cls_token is not None
        assert vit.pos_embed is not None
        class_token, positions = vit.cls_token[0, 0], vit.pos_embed[0]
        if not vit.no_embed_class:
            class_token, positions = class_token + positions[0], positions[1:]
        self._class_token, self._positions = self._put(class_token), self._put(positions)
        self._before_blocks = None if isinstance(vit.norm_pre, nn.Identity) else self._norm(vit.norm_pre)
        last = len(vit.blocks) - 1
        self._blocks = [self._block(block, is_last=index == last) for index, block in enumerate(vit.blocks)]
        self._after_blocks = self._norm(vit.norm)
        assert isinstance(vit.head, nn.Linear)
        self._head = self._linear(vit.head.weight, vit.head.bias)

    def shallow(self) -> Transformer:
        """Return a model of the last two blocks: every kernel of this one for a fraction of its time."""
        shallow = copy(self)
        shallow._blocks = self._blocks[-2:]
        return shallow

    def embed(
        self,
        pixels: torch.Tensor,
        positions: torch.Tensor,
        patch_rows: torch.Tensor,
        class_rows: torch.Tensor,
    ) -> torch.Tensor:
        """Return the (P + B, D) tokens that enter the first block.

        Args:
            pixels: (P, 768) uint8, each patch's rows, columns, RGB.
            positions: (P,) int64 in 0..195.
            patch_rows: (P,) int64, which token each patch becomes.
            class_rows: (B,) int64, which token each set's class token becomes.
        """
        centred = pixels.to(self.dtype) - self._centre
        tokens = centred.new_empty(len(patch_rows) + len(class_rows), self.embed_dim)
        tokens[class_rows] = self._class_token
        tokens[patch_rows] = self._embedding.add(centred, self._positions[positions])
        return tokens if self._before_blocks is None else self._before_blocks(tokens)

    def encode(self, tokens: torch.Tensor, class_rows: torch.Tensor, attention: SetAttention) -> torch.Tensor:
        """Return the (B, D) embedding of the sets whose tokens `embed` made: their class tokens at the end.

        They have passed all blocks and the last norm; `classify` takes them.
        """
        assert attention.scaled == self._scaled
        for block in self._blocks:
            entering = block.before_attention(tokens)
            if block.query_key_value is not None:
                mixed = attention.attend(block.query_key_value(entering))
            else:
                assert block.query is not None
                assert block.key_value is not None
                mixed = attention.attend_class(block.query(entering[class_rows]), block.key_value(entering))
                tokens = tokens[class_rows]
            tokens = block.project.add(mixed, tokens)
            tokens = block.contract.add(block.expand.gelu(block.before_mlp(tokens)), tokens)
        return self._after_blocks(tokens)

    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        """Return (B, C) float32 logits of what `encode` returned."""
        return self._head(embedding).float()

    def _fold_normalisation(self, model: Model) -> tuple[torch.Tensor, Linear]:
        """Return the grey level to subtract, (768,), and the embedding of what is left.

        Whole grey levels below 256 and their differences are exact in bf16, so that nothing is lost before
        the product; subtracting about the mean keeps its sums small.
        """
        projection = model.vit.patch_embed.proj
        assert isinstance(projection, nn.Conv2d)
        weight = projection.weight.permute(0, 2, 3, 1).double()  # (D, 16, 16, 3)
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (model.mean, model.std))
        centre = (mean * 255.0).round()
        shift = (weight * ((centre / 255.0 - mean) / std)).sum(dim=(1, 2, 3))
        bias = shift if projection.bias is None else shift + projection.bias
        embedding = self._linear((weight / (255.0 * std)).flatten(1), bias)
        return self._put(centre.repeat(weight[0].numel() // 3)), embedding

    def _block(self, block: Any, *, is_last: bool) -> _Block:
        attention, mlp, width = block.attn, block.mlp, self.embed_dim
        weight = attention.qkv.weight.clone()
        bias = None if attention.qkv.bias is None else attention.qkv.bias.clone()
        if self._scaled:
            weight[:width] *= attention.scale
            if bias is not None:
                bias[:width] *= attention.scale
        head, tail = (None, None) if bias is None else (bias[:width], bias[width:])
        return _Block(
            before_attention=self._norm(block.norm1),
            query_key_value=None if is_last else self._linear(weight, bias),
            query=self._linear(weight[:width], head) if is_last else None,
            key_value=self._linear(weight[width:], tail) if is_last else None,
            project=self._layer_scaled(attention.proj, block.ls1),
            before_mlp=self._norm(block.norm2),
            expand=self._linear(mlp.fc1.weight, mlp.fc1.bias),
            contract=self._layer_scaled(mlp.fc2, block.ls2),
        )

    def _layer_scaled(self, linear: nn.Linear, scale: Any) -> Linear:
        if isinstance(scale, nn.Identity):
            return self._linear(linear.weight, linear.bias)
        bias = None if linear.bias is None else linear.bias * scale.gamma
        return self._linear(linear.weight * scale.gamma[:, None], bias)

    def _linear(self, weight: torch.Tensor, bias: torch.Tensor | None) -> Linear:
        return Linear(weight.detach(), None if bias is None else bias.detach(), self.device, self.dtype)

    def _norm(self, norm: Any) -> _Norm:
        return _Norm(self._put(norm.weight), self._put(norm.bias), norm.eps)

    def _put(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().to(self.device, self.dtype).contiguous()
