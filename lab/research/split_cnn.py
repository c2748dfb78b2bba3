"""A timm ResNet cut in two: the device runs the part before the split point, the server the part behind it."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lab.errors import EvaluationError
from lab.training import forward

SPLIT_POINTS: Final = ("stem", "layer1", "layer2", "layer3", "layer4")
_NARROW = re.compile(r"resnet10x(\d+)")
_BATCH: Final = 128


class Work(NamedTuple):
    """What one picture costs when the network is cut at a split point: multiply-adds and the feature map.

    `shape` is (channels, height, width); `float_bytes` is the map as float32, the unit of published factors.
    """

    split: str
    device_macs: int
    server_macs: int
    shape: tuple[int, int, int]

    @property
    def float_bytes(self) -> int:
        """Bytes of the feature map as float32."""
        return 4 * int(np.prod(self.shape))


class SplitCNN(nn.Module):
    """A ResNet as a chain of named stages, without and with a cut.

    Pixels are (B, 3, side, side) float32 of mean 0 and deviation 1 (`normalised`).
    """

    def __init__(self, stages: OrderedDict[str, nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(stages)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B, classes)."""
        return self.server("stem", self.stages["stem"](pixels))

    def device(self, split: str, pixels: Tensor) -> Tensor:
        """Return the feature map (B, C, H, W) right after the stage `split`."""
        for name in SPLIT_POINTS[: SPLIT_POINTS.index(split) + 1]:
            pixels = self.stages[name](pixels)
        return pixels

    def server(self, split: str, features: Tensor) -> Tensor:
        """Return logits (B, classes) from the feature map after `split`."""
        for name in (*SPLIT_POINTS[SPLIT_POINTS.index(split) + 1 :], "head"):
            features = self.stages[name](features)
        return features


def build(
    architecture: str,
    num_classes: int,
    *,
    small_stem: bool = False,
    weights: Path | None = None,
    seed: int = 0,
) -> SplitCNN:
    """Return the network; random weights depend on `seed` alone.

    Args:
        architecture: a timm ResNet such as "resnet18" or "resnet50", or "resnet10xW": one basic block a stage, W
            channels in the first, each next one twice as wide; for slow machines and tests.
        num_classes: outputs.
        small_stem: a 3×3 stride-2 convolution without pooling in place of 7×7 and pooling, for small pictures: the
            maps are twice as large each way.
        weights: a safetensors file of timm's names, head excepted.

    Raises:
        EvaluationError: not a ResNet of timm, or one whose stem is not a single convolution where `small_stem` is on.
    """
    torch.manual_seed(seed)
    net = _resnet(architecture, num_classes, weights)
    conv, pool = net.conv1, net.maxpool
    if small_stem:
        if not isinstance(conv, nn.Conv2d):
            raise EvaluationError(f"network {architecture!r}: a small stem needs a stem of one convolution")
        conv = nn.Conv2d(3, conv.out_channels, 3, stride=2, padding=1, bias=False)
        pool = nn.Identity()
    stem = nn.Sequential(conv, net.bn1, net.act1, pool)
    head = nn.Sequential(net.global_pool, net.fc)
    layers = [(name, getattr(net, name)) for name in SPLIT_POINTS[1:]]
    return SplitCNN(OrderedDict([("stem", stem), *layers, ("head", head)]))


def _resnet(architecture: str, num_classes: int, weights: Path | None) -> Any:
    import timm  # (takes seconds)
    from timm.models.resnet import BasicBlock, ResNet

    narrow = _NARROW.fullmatch(architecture)
    if narrow is not None:
        width = int(narrow.group(1))
        channels = tuple(width * 2**stage for stage in range(4))
        block: Any = BasicBlock
        return ResNet(block, (1, 1, 1, 1), num_classes=num_classes, channels=channels)
    if not timm.is_model(architecture):
        raise EvaluationError(f"network {architecture!r}: timm has no model of that name")
    options: dict[str, Any] = {} if weights is None else {"pretrained_cfg_overlay": {"file": str(weights)}}
    net = timm.create_model(architecture, pretrained=weights is not None, num_classes=num_classes, **options)
    if not isinstance(net, ResNet):
        raise EvaluationError(f"network {architecture!r}: a ResNet is needed, such as resnet18 or resnet50")
    return net


def macs(module: nn.Module, *inputs: Tensor) -> int:
    """Return the multiply-adds of convolutions and linear layers in `module(*inputs)`, of the whole batch."""
    total = 0

    def count(layer: nn.Module, _given: object, made: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.ConvTranspose2d):
            raise NotImplementedError("transposed convolutions are not counted")
        if isinstance(layer, nn.Conv2d):
            total += made.numel() * layer.in_channels // layer.groups * int(np.prod(layer.kernel_size))
        elif isinstance(layer, nn.Linear):
            total += made.numel() * layer.in_features

    hooks = [each.register_forward_hook(count) for each in module.modules()]
    was_training = module.training
    try:
        with torch.no_grad():
            module.eval()(*inputs)
    finally:
        module.train(was_training)
        for hook in hooks:
            hook.remove()
    return total


def work_by_split(net: SplitCNN, side: int) -> list[Work]:
    """Return the work on both sides for every split point, for one picture of `side`² pixels."""
    device_macs, features, rows = 0, torch.zeros(1, 3, side, side), []
    total = macs(net, features)
    for split in SPLIT_POINTS:
        device_macs += macs(net.stages[split], features)
        with torch.no_grad():
            features = net.stages[split].eval()(features)
        _, channels, height, width = features.shape
        rows.append(Work(split, device_macs, total - device_macs, (channels, height, width)))
    return rows


def normalised(pixels: NDArray[np.uint8]) -> Tensor:
    """Return (N, side, side, 3) uint8 as (N, 3, side, side) float32 about -2 to 2, as a pair's training sees it."""
    return forward.normalised(torch.from_numpy(pixels))


@torch.inference_mode()
def probabilities(net: SplitCNN, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the unsplit network's probabilities (N, classes)."""
    net.eval()
    parts = [
        net(normalised(pixels[start : start + _BATCH])).double().softmax(1)
        for start in range(0, len(pixels), _BATCH)
    ]
    return np.asarray(torch.cat(parts).numpy())
