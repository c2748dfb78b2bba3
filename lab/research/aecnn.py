"""AECNN, a reconstruction: channel attention chooses the feature maps that travel, a light decoder rebuilds the rest.

Source: the abstracts of Li, Iosifidis and Zhang, arXiv 2211.13745 and 2401.12167. Channel attention, pruning, entropy
coding, the light decoder and training in steps are theirs. The layers, the quantiser, the coder and the schedule below
are this project's reconstruction, since theirs are not known here.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lab.progress import Progress
from lab.research.bottleneck import Bottleneck, Passage, to_levels, train_passage
from lab.research.fitting import Schedule, fit
from lab.research.pictures import Pictures
from lab.research.split_cnn import SplitCNN, normalised

REDUCTION: Final = 8
MSE_WEIGHT: Final = 0.5
_TOP_QUANTILE: Final = 0.999
_BATCH: Final = 128


class ChannelAttention(nn.Module):
    """Squeeze and excite over averages and maxima: sigmoid(mlp(mean) + mlp(max)), one small shared mlp."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        hidden = max(4, channels // REDUCTION)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, features: Tensor) -> Tensor:
        """Return the attention (B, C) of features (B, C, H, W), each 0 to 1."""
        return torch.sigmoid(self.mlp(features.mean((2, 3))) + self.mlp(features.amax((2, 3))))


class ChannelPruning(Bottleneck):
    """Sends `kept` of the attended maps: always the same ones, or each picture's own.

    chosen: (C,) bool, the fixed maps. scale: (C,) float32, the value that the highest level stands for.
    """

    chosen: Tensor
    scale: Tensor

    def __init__(
        self, attention: ChannelAttention, channels: int, kept: int, bits: int, *, own: bool
    ) -> None:
        super().__init__(channels, bits)
        if not 1 <= kept <= channels:
            raise ValueError(f"kept {kept}: must be 1 to {channels}, the maps at the split point")
        self.attention, self.kept, self.own = attention, kept, own
        self.register_buffer("chosen", torch.arange(channels) < kept)
        self.register_buffer("scale", torch.ones(channels))
        self.widen = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.mend = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )

    @property
    def tells_indices(self) -> bool:
        """Whether each picture chooses its own maps."""
        return self.own

    def narrow(self, features: Tensor) -> Passage:
        """Return the levels of the chosen maps, the others 0."""
        attention = self.attention(features)
        sent = largest(attention, self.kept) if self.own else self.chosen.expand(len(features), -1)
        values = features * (attention * sent / self.scale)[..., None, None]
        return Passage(to_levels(values, self.bits), sent)

    def rebuild(self, levels: Tensor) -> Tensor:
        """Return all attended maps: 1×1 from the sent ones, then 3×3; a map that was not sent is 0 to the 1×1."""
        values = levels * (self.scale / (2**self.bits - 1))[:, None, None]
        mended: Tensor = self.mend(self.widen(values))
        return mended

    def target(self, features: Tensor) -> Tensor:
        """Return the attended maps."""
        attention: Tensor = self.attention(features)
        return features * attention[..., None, None]


def largest(attention: Tensor, kept: int) -> Tensor:
    """Return the mask (B, C) of the `kept` largest in each row; of equals the lower index."""
    order = attention.sort(dim=1, descending=True, stable=True).indices[:, :kept]
    return torch.zeros_like(attention, dtype=torch.bool).scatter_(
        1, order, torch.ones_like(order, dtype=torch.bool)
    )


def train_attention(
    start: SplitCNN, split: str, pictures: Pictures, schedule: Schedule, file: Path, progress: Progress
) -> tuple[SplitCNN, ChannelAttention]:
    """Step 1: return a copy of the network, trained with channel attention at the split point."""
    net = deepcopy(start)
    with torch.no_grad():
        channels = net.device(split, normalised(pictures.pixels[:1])).shape[1]
    torch.manual_seed(schedule.seed)
    attention = ChannelAttention(channels)
    whole = nn.ModuleList([net, attention])

    def loss_of(pixels: Tensor, truth: Tensor) -> Tensor:
        features = net.device(split, pixels)
        return functional.cross_entropy(
            net.server(split, features * attention(features)[..., None, None]), truth
        )

    fit(whole, [whole], loss_of, pictures, schedule, file, progress)
    return net, attention


def train_aecnn(
    attended: tuple[SplitCNN, ChannelAttention],
    split: str,
    pictures: Pictures,
    *,
    kept: int,
    bits: int,
    own: bool,
    schedules: tuple[Schedule, Schedule],
    folder: Path,
    progress: Progress,
) -> tuple[SplitCNN, ChannelPruning]:
    """Steps 2 and 3: prune, train attention and decoder with the network frozen, then all.

    Copies come back, `attended` stays as it is. The kept maps are those of highest mean attention over `pictures`;
    the scales are the 99.9 % quantiles of the attended maps there.
    """
    net, attention = deepcopy(attended)
    torch.manual_seed(schedules[0].seed)
    pruning = ChannelPruning(attention, attention.channels, kept, bits, own=own)
    _calibrate(net, split, pruning, pictures)
    name = f"{split}-{kept}x{bits}{'-own' if own else ''}"
    files = folder / f"aecnn-{name}-decoder.pt", folder / f"aecnn-{name}-all.pt"
    train_passage(net, split, pruning, pictures, schedules, files, progress, mse_weight=MSE_WEIGHT)
    return net, pruning


@torch.no_grad()
def _calibrate(net: SplitCNN, split: str, pruning: ChannelPruning, pictures: Pictures) -> None:
    net.eval()
    attention, tops = [], []
    for start in range(0, len(pictures), _BATCH):
        features = net.device(split, normalised(pictures.pixels[start : start + _BATCH]))
        attention.append(pruning.attention(features))
        attended = (features * attention[-1][..., None, None]).transpose(0, 1).flatten(1).numpy()
        tops.append(np.quantile(attended, _TOP_QUANTILE, axis=1))
    pruning.chosen.copy_(largest(torch.cat(attention).mean(0, keepdim=True), pruning.kept)[0])
    pruning.scale.copy_(torch.from_numpy(np.mean(tops, axis=0)).float().clamp_min(1e-6))
