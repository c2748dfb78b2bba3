"""What the shots of the link benchmark cost and are worth at each point, measured with the shipped pair.

The points are whole frames at high JPEG qualities: the shipped pair is content with less than 1 kB of its road
signs, with which two cores could not fill the link. At 5 to 16 kB a record the uplink is the limit, and the
server is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gating.entropy import min_entropy_bits
from lab.benchmarks.models import shipped
from lab.benchmarks.recorded import Shot
from lab.evaluation.models import forward_macs
from lab.simulation.recording import Recording
from schemas.frontier import NUM_QUANTILES, Frontier, FrontierPoint, HminBin
from schemas.geometry import NUM_PATCHES
from schemas.offload import Offload, bitmap_of, encode_offload
from schemas.operating_point import OperatingPoint
from vit.codecs import decode_patches, encode_patches
from vit.edge_forward import EdgeForward
from vit.packed_forward import PackedForward
from vit.preprocess import to_patches

FAMILIES = tuple(
    OperatingPoint(tau=0.0, delta=1.0, codec="jpeg", quality=quality) for quality in (85, 90, 95)
)
_SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
_BINS = 6
_BATCH = 8
_WHOLE = np.arange(NUM_PATCHES)
_INTERVAL = 1.96


@dataclass(frozen=True, slots=True)
class Measured:
    """The shots that are shown, what each comes to at each family, and the frontier of all of them."""

    shots: list[Shot]
    recording: Recording
    frontier: Frontier


def measure_shots(shots: Sequence[Shot], hard_share: float) -> Measured:
    """Return the scored shots of which the edge is least sure, and what they cost and are worth."""
    scored = [shot for shot in shots if shot.truth >= 0]
    crops = [shot.crop() for shot in scored]
    logits = _edge_logits(crops)
    entropies = min_entropy_bits(logits)
    chosen = np.sort(np.argsort(entropies)[-max(int(hard_share * len(scored)), _BINS) :])
    truths = np.array([scored[idx].truth for idx in chosen])
    raw_right, right, num_bytes = _server_answers([crops[idx] for idx in chosen], truths)
    recording = Recording(
        min_entropy=entropies[chosen],
        edge_right=logits[chosen].argmax(axis=1) == truths,
        server_right=right,
        num_bytes=num_bytes,
        families=FAMILIES,
    )
    return Measured([scored[idx] for idx in chosen], recording, _frontier(recording, raw_right))


def _edge_logits(crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    forward = EdgeForward(shipped("edge").load(), threads=1)
    batches = [np.stack(crops[start : start + _BATCH]) for start in range(0, len(crops), _BATCH)]
    return np.concatenate([forward(batch).logits for batch in batches])


def _server_answers(
    crops: Sequence[NDArray[np.uint8]], truths: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
    """(n,) right on the raw crop, (n, families) right after each codec, (n, families) sizes of the records."""
    forward = PackedForward(shipped("server").load())

    def right(patches: list[NDArray[np.uint8]]) -> NDArray[np.bool_]:
        batches = [patches[start : start + _BATCH] for start in range(0, len(patches), _BATCH)]
        logits = np.concatenate([forward(batch, [_WHOLE] * len(batch)) for batch in batches])
        return np.asarray(logits.argmax(axis=1) == truths)

    coded = [
        [encode_patches(point.codec, point.quality, crop, _WHOLE) for crop in crops] for point in FAMILIES
    ]
    return (
        right([to_patches(crop) for crop in crops]),
        np.stack(
            [
                right([decode_patches(point.codec, data, _WHOLE) for data in datas])
                for point, datas in zip(FAMILIES, coded, strict=True)
            ],
            axis=1,
        ),
        np.array([[len(_record(data)) for data in datas] for datas in coded]).T,
    )


def _record(patches: bytes) -> bytes:
    return encode_offload(
        Offload(
            camera="cam00",
            seq=1,
            captured_ns=1,
            deadline_ns=1,
            bitmap=bitmap_of(_WHOLE),
            codec="jpeg",
            quality=90,
            patches=patches,
            leading=((0, 0.5),),
            classes_hash="0" * 64,
        )
    )


def _frontier(recording: Recording, raw_right: NDArray[np.bool_]) -> Frontier:
    edge, server = shipped("edge").load(), shipped("server").load()
    server_macs = forward_macs(NUM_PATCHES, server.architecture.embed_dim, server.architecture.depth)
    quantiles = np.quantile(recording.min_entropy, np.linspace(0.0, 1.0, NUM_QUANTILES))
    return Frontier(
        edge_model=edge.name,
        edge_hash=edge.weights_hash,
        server_model=server.name,
        server_hash=server.weights_hash,
        classes_hash=edge.classes_hash,
        data="the benchmark's own shots",
        accuracy_kind="label",
        images=len(recording),
        h_min_quantiles=tuple(quantiles.tolist()),
        accuracy_by_h_min=_bins(recording, raw_right),
        points=tuple(
            _point(recording, family, float(tau), server_macs)
            for family in range(len(FAMILIES))
            for tau in np.quantile(recording.min_entropy, [1.0 - share for share in _SHARES])
        ),
    )


def _bins(recording: Recording, raw_right: NDArray[np.bool_]) -> tuple[HminBin, ...]:
    order = np.array_split(np.argsort(recording.min_entropy), _BINS)
    edges = [0.0, *(float(recording.min_entropy[idx[0]]) for idx in order[1:]), 64.0]
    return tuple(
        HminBin(
            lo=edges[number],
            hi=edges[number + 1],
            count=len(idx),
            edge_accuracy=float(recording.edge_right[idx].mean()),
            server_accuracy=float(raw_right[idx].mean()),
        )
        for number, idx in enumerate(order)
    )


def _point(recording: Recording, family: int, tau: float, server_macs: int) -> FrontierPoint:
    sent = recording.min_entropy >= tau
    right = np.where(sent, recording.server_right[:, family], recording.edge_right)
    sizes = recording.num_bytes[sent, family]
    ratio, accuracy = float(sent.mean()), float(right.mean())
    margin = _INTERVAL * float(np.sqrt(accuracy * (1.0 - accuracy) / len(recording)))
    return FrontierPoint(
        point=replace(FAMILIES[family], tau=tau),
        offload_ratio=ratio,
        bytes_per_offload=float(sizes.mean()),
        bytes_per_offload_p95=float(np.quantile(sizes, 0.95)),
        bytes_per_frame=ratio * float(sizes.mean()),
        accuracy=accuracy,
        accuracy_lo=max(accuracy - margin, 0.0),
        accuracy_hi=min(accuracy + margin, 1.0),
        server_macs=ratio * server_macs,
        images=len(recording),
    )
