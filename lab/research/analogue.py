"""Features as analogue symbols: an exit on the device, and a code trained over a range of SNRs for the rest.

Source: the idea of arXiv 2311.18098 (an exit, features over a noisy channel) and of its authors' arXiv 2003.02027
(features by deep joint source-channel coding). The layers and the training are this project's reconstruction.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lab.progress import Progress
from lab.research.channels import Floats
from lab.research.fitting import Schedule, fit
from lab.research.pictures import Pictures
from lab.research.split_cnn import SplitCNN, normalised

TRAINED_SNRS_DB: Final = (-10.0, 20.0)
_BATCH: Final = 128


class ExitHead(nn.Module):
    """The device's own answer from the features at the split point: one 3×3 convolution, averages, one layer."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * channels),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(2 * channels, num_classes),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, classes) of features (B, C, H, W)."""
        logits: Tensor = self.layers(features)
        return logits


class AnalogueCode(nn.Module):
    """Features as `maps` maps of real values, two of which are one symbol; mean power of a picture's symbols is 1."""

    def __init__(self, channels: int, maps: int) -> None:
        super().__init__()
        self.maps = maps
        self.encoder = nn.Conv2d(channels, maps, 1)
        self.decoder = nn.Sequential(
            nn.Conv2d(maps + 1, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )

    def encode(self, features: Tensor) -> Tensor:
        """Return (B, maps, H, W) real values of mean square 1/2."""
        values: Tensor = self.encoder(features)
        power = values.square().mean((1, 2, 3), keepdim=True)
        return values * torch.rsqrt(2.0 * power + 1e-12)

    def decode(self, received: Tensor, snr_db: Tensor) -> Tensor:
        """Return features from what arrived at each picture's SNR (B,), which the receiver knows."""
        level = (snr_db / 10.0)[:, None, None, None].expand(-1, 1, *received.shape[2:])
        # At low SNR the best guess shrinks: the part of the received power that is signal.
        signal = 1.0 / (1.0 + 10.0 ** (-snr_db / 10.0))
        shrunk = received * signal[:, None, None, None]
        features: Tensor = self.decoder(torch.cat([shrunk, level], dim=1))
        return features

    def forward(self, features: Tensor, snr_db: Tensor) -> Tensor:
        """Return features after a white-noise channel."""
        return self.decode(noisy(self.encode(features), snr_db), snr_db)


def noisy(values: Tensor, snr_db: Tensor) -> Tensor:
    """Return real values of power 1/2 with a white-noise channel's noise: power 10^(-SNR/10) / 2 each."""
    deviation = torch.sqrt(0.5 * 10.0 ** (-snr_db / 10.0))[:, None, None, None]
    return values + deviation * torch.randn_like(values)


def train_exit_and_code(
    reference: SplitCNN,
    split: str,
    pictures: Pictures,
    *,
    maps: int,
    schedules: tuple[Schedule, Schedule],
    folder: Path,
    progress: Progress,
) -> tuple[SplitCNN, ExitHead, AnalogueCode]:
    """Return a copy of the network with a trained exit and code.

    First exit and network learn together, the sum of their cross-entropies, so that the device's features serve both.
    Then code and server's part learn over SNRs spread evenly in dB.
    """
    net = deepcopy(reference)
    with torch.no_grad():
        channels = net.device(split, normalised(pictures.pixels[:1])).shape[1]
    torch.manual_seed(schedules[0].seed)
    head, code = ExitHead(channels, len(pictures.classes)), AnalogueCode(channels, maps)
    whole = nn.ModuleDict({"net": net, "exit": head, "code": code})
    ahead = list(net.stages)[list(net.stages).index(split) + 1 :]
    served = [net.stages[name] for name in ahead]

    def joint_loss(pixels: Tensor, truth: Tensor) -> Tensor:
        features = net.device(split, pixels)
        ends = head(features), net.server(split, features)
        return functional.cross_entropy(ends[0], truth) + functional.cross_entropy(ends[1], truth)

    def code_loss(pixels: Tensor, truth: Tensor) -> Tensor:
        low, high = TRAINED_SNRS_DB
        snr_db = low + (high - low) * torch.rand(len(pixels))
        return functional.cross_entropy(net.server(split, code(net.device(split, pixels), snr_db)), truth)

    name = f"{split}-{maps}"
    fit(whole, [net, head], joint_loss, pictures, schedules[0], folder / f"exit-{name}.pt", progress)
    fit(whole, [code, *served], code_loss, pictures, schedules[1], folder / f"code-{name}.pt", progress)
    return net, head, code


@torch.inference_mode()
def record(
    net: SplitCNN,
    split: str,
    head: ExitHead,
    code: AnalogueCode,
    pictures: Pictures,
    snrs_db: Floats,
    *,
    seed: int,
) -> tuple[Floats, NDArray[np.int64], int]:
    """Return the exit's probabilities (N, classes), the server's classes (S, N), and the symbols of a transmission."""
    net.eval()
    head.eval()
    code.eval()
    torch.manual_seed(seed)
    exits, server, symbols = [], [], 0
    for start in range(0, len(pictures), _BATCH):
        features = net.device(split, normalised(pictures.pixels[start : start + _BATCH]))
        exits.append(head(features).double().softmax(1).numpy())
        values = code.encode(features)
        symbols = -(-values[0].numel() // 2)
        answers = []
        for snr_db in snrs_db:
            at = torch.full((len(features),), float(snr_db))
            answers.append(net.server(split, code.decode(noisy(values, at), at)).argmax(1).numpy())
        server.append(np.stack(answers))
    return np.concatenate(exits), np.concatenate(server, axis=1), symbols
