"""BottleNet++ on the same networks: convolutions narrow and widen the features, every value has 8 bits.

Source: Shao and Zhang, arXiv 1910.14315, and the authors' code: encoder convolution + BN + sigmoid, decoder
(transposed) convolution + BN + ReLU; training of the backbone, of the passage with the backbone frozen, of all. Left
out: the noise of their channel layer, for here the bytes arrive or do not.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from lab.progress import Progress
from lab.research.bottleneck import Bottleneck, Passage, to_levels, train_passage
from lab.research.fitting import Schedule
from lab.research.pictures import Pictures
from lab.research.split_cnn import SplitCNN, normalised

BITS: Final = 8


class ConvolvedBottleneck(Bottleneck):
    """`hidden` maps of 0 to 1 from a 3×3 convolution; all of them travel."""

    def __init__(self, channels: int, hidden: int, bits: int = BITS) -> None:
        super().__init__(channels, bits)
        if not 1 <= hidden <= channels:
            raise ValueError(f"hidden {hidden}: must be 1 to {channels}, the maps at the split point")
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1), nn.BatchNorm2d(hidden), nn.Sigmoid()
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(hidden, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()
        )

    def narrow(self, features: Tensor) -> Passage:
        """Return the levels of the encoder's maps."""
        levels = to_levels(self.encoder(features), self.bits)
        return Passage(levels, torch.ones(levels.shape[:2], dtype=torch.bool))

    def rebuild(self, levels: Tensor) -> Tensor:
        """Return the decoder's features."""
        features: Tensor = self.decoder(levels / (2**self.bits - 1))
        return features

    def target(self, features: Tensor) -> Tensor:
        """Return the features; BottleNet++ has no such term in its loss."""
        return features


def train_bottlenet(
    reference: SplitCNN,
    split: str,
    pictures: Pictures,
    *,
    hidden: int,
    schedules: tuple[Schedule, Schedule],
    folder: Path,
    progress: Progress,
) -> tuple[SplitCNN, ConvolvedBottleneck]:
    """Return a trained passage and the network that was trained with it; `reference` (phase 1) stays as it is."""
    net = deepcopy(reference)
    with torch.no_grad():
        channels = net.device(split, normalised(pictures.pixels[:1])).shape[1]
    torch.manual_seed(schedules[0].seed)
    bottleneck = ConvolvedBottleneck(channels, hidden)
    name = f"bottlenet-{split}-{hidden}"
    files = folder / f"{name}-passage.pt", folder / f"{name}-all.pt"
    train_passage(net, split, bottleneck, pictures, schedules, files, progress, mse_weight=0.0)
    return net, bottleneck
