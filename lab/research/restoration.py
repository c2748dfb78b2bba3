"""Networks by which a server could restore what was not sent, for the rival methods. numpy in, numpy out.

`SuperResolution` is Real-ESRGAN's generator (Wang et al., 2021: residual-in-residual dense blocks; weight names
of its 4x release). `MaskedAutoencoder` is that of He et al., "Masked Autoencoders Are Scalable Vision Learners",
CVPR 2022. Weights are safetensors files and are checked.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.nn import functional

from schemas.errors import ModelError
from schemas.geometry import CROP_SIDE, FULL_TOKENS, NUM_PATCHES, PATCH_SIDE
from vit.model import IMAGENET_MEAN, IMAGENET_STD
from vit.preprocess import to_patches

_RESIDUAL_SCALE = 0.2
_SLOPE = 0.2
_HEAD_DIM = 64
_DECODER_HEADS = 16
_PATCH_VALUES = PATCH_SIDE * PATCH_SIDE * 3

Network = TypeVar("Network", bound=nn.Module)


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], str]:
    """Return the file's tensors as float32, and 12 hex digits of its hash.

    Raises:
        ModelError: not a readable .safetensors file.
    """
    if path.suffix != ".safetensors":
        raise ModelError(f"model {path}: only .safetensors files are read, never pickled ones")
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
        return state, hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except (SafetensorError, OSError) as error:
        raise ModelError(f"model {path}: not a readable safetensors file ({error})") from error


def fill_module(network: Network, state: dict[str, torch.Tensor], path: Path) -> Network:
    """Return the network with the weights, in evaluation mode; ModelError names what does not fit."""
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise ModelError(f"model {path}: its weights do not fit ({first})") from None
    return network.eval().requires_grad_(False)


class SuperResolution:
    """A generator from a safetensors file; width, growth and number of blocks are read off the weights.

    Raises:
        ModelError: no such file, or no 4x Real-ESRGAN generator.
    """

    def __init__(self, path: Path) -> None:
        state, self.identity = read_weights(path)
        try:
            width, inputs = state["conv_first.weight"].shape[:2]
            growth = state["body.0.rdb1.conv1.weight"].shape[0]
        except KeyError as error:
            raise ModelError(f"model {path}: it has no {error}, so it is no Real-ESRGAN generator") from None
        if inputs != 3:
            raise ModelError(f"model {path}: it takes {inputs} channels; only the 4x generator is supported")
        blocks = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("body."))
        self._network = fill_module(_Generator(width, growth, blocks), state, path)

    def __call__(self, small: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a small (h, w, 3) uint8 image at 224x224: 4x by the network, the rest bicubic."""
        pixels = torch.from_numpy(np.ascontiguousarray(small)).permute(2, 0, 1)[None].float() / 255.0
        with torch.inference_mode():
            large = self._network(pixels)[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
        size = (CROP_SIDE, CROP_SIDE)
        return np.asarray(Image.fromarray(large).resize(size, Image.Resampling.BICUBIC))


class _DenseBlock(nn.Module):
    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        for number in range(1, 5):
            setattr(self, f"conv{number}", _conv(width + (number - 1) * growth, growth))
        self.conv5 = _conv(width + 4 * growth, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = x
        for number in range(1, 5):
            made = functional.leaky_relu(getattr(self, f"conv{number}")(seen), _SLOPE)
            seen = torch.cat([seen, made], dim=1)
        return torch.add(x, self.conv5(seen), alpha=_RESIDUAL_SCALE)


class _ResidualBlock(nn.Module):
    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = _DenseBlock(width, growth)
        self.rdb2 = _DenseBlock(width, growth)
        self.rdb3 = _DenseBlock(width, growth)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.add(x, self.rdb3(self.rdb2(self.rdb1(x))), alpha=_RESIDUAL_SCALE)


class _Generator(nn.Module):
    def __init__(self, width: int, growth: int, blocks: int) -> None:
        super().__init__()
        self.conv_first = _conv(3, width)
        self.body = nn.Sequential(*(_ResidualBlock(width, growth) for _ in range(blocks)))
        self.conv_body = _conv(width, width)
        self.conv_up1 = _conv(width, width)
        self.conv_up2 = _conv(width, width)
        self.conv_hr = _conv(width, width)
        self.conv_last = _conv(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.conv_first(x)
        features = first + self.conv_body(self.body(first))
        for conv in (self.conv_up1, self.conv_up2):
            doubled = functional.interpolate(features, scale_factor=2, mode="nearest")
            features = functional.leaky_relu(conv(doubled), _SLOPE)
        result: torch.Tensor = self.conv_last(functional.leaky_relu(self.conv_hr(features), _SLOPE))
        return result


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class MaskedAutoencoder:
    """An encoder and pixel decoder from a safetensors file; widths and depths are read off the weights.

    The pixels must have been learned without per-patch normalisation, as in the released "visualize" weights.

    Raises:
        ModelError: no such file, or no masked auto-encoder with patch 16.
    """

    def __init__(self, path: Path) -> None:
        state, self.identity = read_weights(path)
        try:
            width = state["cls_token"].shape[-1]
            decoder_width = state["mask_token"].shape[-1]
        except KeyError as error:
            raise ModelError(f"model {path}: it has no {error}, so it is no masked auto-encoder") from None
        depth, decoder_depth = _depth(state, "blocks"), _depth(state, "decoder_blocks")
        self._network = fill_module(_Network(width, depth, decoder_width, decoder_depth), state, path)

    def __call__(self, crop: NDArray[np.uint8], visible: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return all (196, 16, 16, 3) patches: those at `visible` as they are, the others painted.

        Args:
            crop: (224, 224, 3) uint8; only its visible patches are read.
            visible: (k,) positions in any order, k >= 1.
        """
        patches = to_patches(crop).copy()
        mean, std = np.asarray(IMAGENET_MEAN, np.float32), np.asarray(IMAGENET_STD, np.float32)
        values = (patches[visible].astype(np.float32) / 255.0 - mean) / std
        with torch.inference_mode():
            painted = self._network(torch.from_numpy(values), torch.from_numpy(visible)).numpy()
        pixels = painted.reshape(NUM_PATCHES, PATCH_SIDE, PATCH_SIDE, 3) * std + mean
        hidden = np.setdiff1d(np.arange(NUM_PATCHES), visible)
        patches[hidden] = (pixels[hidden] * 255.0).round().clip(0, 255).astype(np.uint8)
        return patches


class _Network(nn.Module):
    def __init__(self, width: int, depth: int, decoder_width: int, decoder_depth: int) -> None:
        super().__init__()
        projection = nn.Conv2d(3, width, PATCH_SIDE, PATCH_SIDE)
        self.patch_embed = nn.ModuleDict({"proj": projection})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, FULL_TOKENS, width))
        heads = max(1, width // _HEAD_DIM)
        self.blocks = nn.Sequential(*(_block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder_embed = nn.Linear(width, decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        self.decoder_pos_embed = nn.Parameter(torch.zeros(1, FULL_TOKENS, decoder_width))
        self.decoder_blocks = nn.Sequential(
            *(_block(decoder_width, _DECODER_HEADS) for _ in range(decoder_depth))
        )
        self.decoder_norm = nn.LayerNorm(decoder_width, eps=1e-6)
        self.decoder_pred = nn.Linear(decoder_width, _PATCH_VALUES)

    def forward(self, values: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        """Return (196, 768) pixel values from (k, 16, 16, 3) normalised patches and their (k,) positions."""
        # (k, 16, 16, 3) -> (k, 3, 16, 16) -> (1, k, D)
        embedded = self.patch_embed["proj"](values.permute(0, 3, 1, 2)).flatten(1)[None]
        embedded = embedded + self.pos_embed[:, visible + 1]
        tokens = torch.cat([self.cls_token + self.pos_embed[:, :1], embedded], dim=1)
        encoded = self.decoder_embed(self.norm(self.blocks(tokens)))
        whole = self.mask_token.repeat(1, FULL_TOKENS, 1)
        whole[:, :1] = encoded[:, :1]
        whole[:, visible + 1] = encoded[:, 1:]
        decoded = self.decoder_norm(self.decoder_blocks(whole + self.decoder_pos_embed))
        result: torch.Tensor = self.decoder_pred(decoded)[0, 1:]
        return result


def _block(width: int, heads: int) -> nn.Module:
    from timm.layers.norm import LayerNorm  # (takes seconds)
    from timm.models.vision_transformer import Block

    # timm's own LayerNorm has the epsilon of 1e-6 that the released weights were trained with.
    return Block(width, heads, 4.0, qkv_bias=True, norm_layer=LayerNorm)


def _depth(state: dict[str, torch.Tensor], name: str) -> int:
    return 1 + max((int(key.split(".")[1]) for key in state if key.startswith(f"{name}.")), default=-1)
