"""Where the shipped pair is as right as its server alone, at the least arithmetic: chosen on other scenes.

The peers' benchmark runs Saccade at this point. Each candidate way to send a frame is tried on rendered
calibration scenes with the real codec; then the highest tau is taken whose answers stay within a margin of
the server on all whole frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gating.entropy import min_entropy_bits
from gating.select import select
from lab.benchmarks.recorded import Shot
from lab.evaluation.models import forward_macs
from schemas.operating_point import OperatingPoint
from vit.architecture import Architecture
from vit.codecs import decode_patches, encode_patches
from vit.edge_forward import EdgeForward
from vit.model import Model
from vit.packed_forward import PackedForward
from vit.preprocess import to_patches

MARGIN = 0.005
"""Accuracy that may be lost on the calibration scenes; the aim is one point on the measured stream."""
_BATCH = 16
_ALL = np.arange(196)

CANDIDATES = (
    OperatingPoint(tau=0.0, delta=1.0, codec="jpeg", quality=75),
    OperatingPoint(tau=0.0, delta=0.97, min_patches=98, codec="jpeg", quality=75),
    OperatingPoint(tau=0.0, delta=0.5, selection="top_k", codec="jpeg", quality=75),
    OperatingPoint(tau=0.0, delta=0.25, selection="top_k", codec="jpeg", quality=75),
)


@dataclass(frozen=True, slots=True)
class PairPoint:
    """The point, what the calibration scenes promise of it, and its arithmetic in MACs a frame."""

    point: OperatingPoint
    accuracy: float
    server_accuracy: float
    edge_accuracy: float
    offload_share: float
    patches: float
    edge_macs: int
    server_macs: float
    whole_macs: int

    @property
    def bound(self) -> float:
        """How many times the frames of the server alone the same arithmetic answers at this point."""
        return self.whole_macs / (self.edge_macs + self.offload_share * self.server_macs)

    @property
    def gate_bound(self) -> float:
        """The same if every offloaded frame were sent whole."""
        return self.whole_macs / (self.edge_macs + self.offload_share * self.whole_macs)


def choose(edge: Model, server: Model, shots: Sequence[Shot]) -> PairPoint:
    """Return the cheapest point within the margin of the server alone."""
    scored = [shot for shot in shots if shot.truth >= 0]
    truth = np.array([shot.truth for shot in scored])
    crops = [shot.crop() for shot in scored]
    outputs = [EdgeForward(edge, threads=1)(np.stack(part)) for part in _parts(crops)]
    logits = np.concatenate([output.logits for output in outputs])
    attention = np.concatenate([output.attention for output in outputs])
    entropies = min_entropy_bits(logits)
    forward = PackedForward(server, threads=1)
    whole = _labels(forward, [to_patches(crop) for crop in crops], [_ALL] * len(crops))
    found = []
    for candidate in CANDIDATES:
        positions = [select(each, candidate) for each in attention]
        received = [_received(candidate, *each) for each in zip(crops, positions, strict=True)]
        served = _labels(forward, received, positions)
        for tau in np.quantile(entropies, np.linspace(0, 1, 41)):
            asked = entropies >= tau
            right = np.where(asked, served, logits.argmax(1)) == truth
            found.append(
                PairPoint(
                    replace(candidate, tau=float(max(tau, 0.0))),
                    float(right.mean()),
                    float((whole == truth).mean()),
                    float((logits.argmax(1) == truth).mean()),
                    float(asked.mean()),
                    float(np.mean([len(kept) for kept in positions])),
                    _macs(edge.architecture, 196),
                    float(np.mean([_macs(server.architecture, len(kept)) for kept in positions])),
                    _macs(server.architecture, 196),
                )
            )
    good = [each for each in found if each.accuracy >= each.server_accuracy - MARGIN]
    return max(good or [max(found, key=lambda each: each.accuracy)], key=lambda each: each.bound)


def _macs(shape: Architecture, patches: int) -> int:
    return forward_macs(patches, shape.embed_dim, shape.depth)


def _parts(items: Sequence[np.ndarray]) -> list[Sequence[np.ndarray]]:
    return [items[start : start + _BATCH] for start in range(0, len(items), _BATCH)]


def _labels(forward: PackedForward, patches: list[np.ndarray], positions: list[np.ndarray]) -> np.ndarray:
    parts = zip(_parts(patches), _parts(positions), strict=True)
    return np.concatenate([forward(*part).argmax(1) for part in parts])


def _received(point: OperatingPoint, crop: np.ndarray, positions: np.ndarray) -> np.ndarray:
    data = encode_patches(point.codec, point.quality, crop, positions)
    return decode_patches(point.codec, data, positions)
