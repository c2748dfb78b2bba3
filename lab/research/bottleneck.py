"""A split network with a narrow, quantised passage at its split point: what AECNN and BottleNet++ share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lab.progress import Progress
from lab.research.cost import Cost, fastest_ms
from lab.research.feature_coding import Levels, encode, indices_bytes, rate_bits, tables_from
from lab.research.fitting import Schedule, fit
from lab.research.pictures import Pictures
from lab.research.split_cnn import SplitCNN, macs, normalised

_BATCH: Final = 128


class Passage(NamedTuple):
    """What crosses the cut: levels (B, C, H, W) of whole numbers as float32, and sent (B, C), the channels that travel.

    The levels of channels that do not travel are 0.
    """

    levels: Tensor
    sent: Tensor


def to_levels(values: Tensor, bits: int) -> Tensor:
    """Return values of 0 to 1, others clipped, as levels 0 to 2^bits - 1, rounded to the nearest.

    The gradient passes the rounding as if it were not there (straight-through) and stops where a value was clipped.
    """
    scaled: Tensor = values.float().clamp(0.0, 1.0) * (2**bits - 1)
    return scaled + (scaled.round() - scaled).detach()


class Bottleneck(nn.Module, ABC):
    """Device side and server side of a passage for features (B, channels, H, W)."""

    def __init__(self, channels: int, bits: int) -> None:
        super().__init__()
        if not 1 <= bits <= 8:
            raise ValueError(f"bits {bits}: must be 1 to 8")
        self.channels, self.bits = channels, bits

    @abstractmethod
    def narrow(self, features: Tensor) -> Passage:
        """Return what the device sends."""

    @abstractmethod
    def rebuild(self, levels: Tensor) -> Tensor:
        """Return features as the server goes on with them."""

    @abstractmethod
    def target(self, features: Tensor) -> Tensor:
        """Return what `rebuild` should come near to."""

    @property
    def tells_indices(self) -> bool:
        """Whether each picture has to say which channels it sends."""
        return False


@dataclass(frozen=True)
class Answers:
    """What a method makes of N pictures, and what it costs.

    probabilities: (N, classes). coded_bytes: (N,), real bytes of the range coder and the indices. ideal_bytes: (N,),
    the rate estimate of the same. plain_bytes: bytes at a fixed `bits` a value.
    """

    probabilities: NDArray[np.float64]
    coded_bytes: NDArray[np.float64]
    ideal_bytes: NDArray[np.float64]
    plain_bytes: float
    cost: Cost


def train_passage(
    net: SplitCNN,
    split: str,
    bottleneck: Bottleneck,
    pictures: Pictures,
    schedules: tuple[Schedule, Schedule],
    files: tuple[Path, Path],
    progress: Progress,
    *,
    mse_weight: float,
) -> None:
    """Train the passage with the network frozen, then all of both, in place.

    The loss is the cross-entropy plus `mse_weight` times the mean squared error of the rebuilt features, over the mean
    square of the true ones, so that the weight means the same at every split point.
    """
    whole = nn.ModuleList([net, bottleneck])

    def loss_of(pixels: Tensor, truth: Tensor) -> Tensor:
        features = net.device(split, pixels)
        rebuilt = bottleneck.rebuild(bottleneck.narrow(features).levels)
        loss = functional.cross_entropy(net.server(split, rebuilt), truth)
        if mse_weight:
            target = bottleneck.target(features).detach()
            loss = loss + mse_weight * functional.mse_loss(rebuilt, target) / target.square().mean()
        return loss

    fit(whole, [bottleneck], loss_of, pictures, schedules[0], files[0], progress)
    fit(whole, [whole], loss_of, pictures, schedules[1], files[1], progress)


def answer(net: SplitCNN, split: str, bottleneck: Bottleneck, counted: Pictures, asked: Pictures) -> Answers:
    """Return the answers on `asked`; the coder's tables are counted on `counted`."""
    levels, sent = map(np.concatenate, zip(*_passages(net, split, bottleneck, counted), strict=True))
    tables = tables_from(levels, sent, bottleneck.bits)
    probabilities, coded, ideal = [], [], []
    for batch, mask in _passages(net, split, bottleneck, asked):
        for picture, row in zip(batch, mask, strict=True):
            told = indices_bytes(len(row), int(row.sum())) if bottleneck.tells_indices else 0
            coded.append(told + len(encode(picture, row, tables)))
            ideal.append(told + rate_bits(picture, row, tables) / 8)
        with torch.inference_mode():
            logits = net.server(split, bottleneck.rebuild(torch.from_numpy(batch).float()))
        probabilities.append(logits.double().softmax(1).numpy())
    passage, cost = _first(net, split, bottleneck, normalised(asked.pixels[:1]))
    return Answers(
        probabilities=np.concatenate(probabilities),
        coded_bytes=np.array(coded, np.float64),
        ideal_bytes=np.array(ideal),
        plain_bytes=_plain_bytes(bottleneck, passage),
        cost=cost,
    )


def _first(net: SplitCNN, split: str, bottleneck: Bottleneck, one: Tensor) -> tuple[Passage, Cost]:
    """Return what one picture (1, 3, side, side) sends, and its cost on both sides without the coder."""
    both = nn.ModuleList([net, bottleneck])
    device = _Called(both, lambda pixels: bottleneck.narrow(net.device(split, pixels)))
    server = _Called(both, lambda levels: net.server(split, bottleneck.rebuild(levels)))
    with torch.inference_mode():
        passage: Passage = device(one)
        times = fastest_ms(lambda: device(one)), fastest_ms(lambda: server(passage.levels))
    return passage, Cost(macs(device, one), macs(server, passage.levels), *times)


def _plain_bytes(bottleneck: Bottleneck, passage: Passage) -> float:
    sent = passage.sent[0]
    num_sent = int(sent.sum())
    told = indices_bytes(len(sent), num_sent) if bottleneck.tells_indices else 0
    return told + num_sent * passage.levels.shape[2] * passage.levels.shape[3] * bottleneck.bits / 8


def _passages(
    net: SplitCNN, split: str, bottleneck: Bottleneck, pictures: Pictures
) -> Iterator[tuple[Levels, NDArray[np.bool_]]]:
    net.eval()
    bottleneck.eval()
    for start in range(0, len(pictures), _BATCH):
        with torch.inference_mode():
            passage = bottleneck.narrow(
                net.device(split, normalised(pictures.pixels[start : start + _BATCH]))
            )
        yield passage.levels.numpy().astype(np.uint8), passage.sent.numpy()


class _Called(nn.Module):
    """A part of a module's work as a module, for `macs`."""

    def __init__(self, owner: nn.Module, call: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.owner, self._call = owner, call

    def forward(self, given: Tensor) -> Any:
        return self._call(given)
