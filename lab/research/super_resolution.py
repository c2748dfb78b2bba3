"""Real-ESRGAN's generator, for the evaluation's super-resolution baseline. numpy in, numpy out.

Architecture: Wang et al., "Real-ESRGAN", 2021 (residual-in-residual dense blocks); weight names of its 4x
release.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional

from lab.research.restoration_weights import fill_module, read_weights
from schemas.errors import ModelError
from schemas.geometry import CROP_SIDE

_RESIDUAL_SCALE = 0.2
_SLOPE = 0.2


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
