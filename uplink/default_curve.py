"""The curve that stands in until `saccade calibrate` has measured one for the models at hand.

Shaped after DeiT-Tiny at the edge and DeiT-Base behind it on ImageNet photos: bytes and losses of each
codec as measured for this design, the split of entropies as published (57 % of the photos below .8 bits).
For other models the order of the points is right and the numbers are not; the feedback on measured bytes
holds the budget anyway.
"""

from __future__ import annotations

import numpy as np

from schemas.frontier import Frontier, FrontierPoint, HminBin
from schemas.operating_point import OperatingPoint

_IMAGES = 10_000
_ANCHORS = ((0.0, 0.0), (0.27, 0.1), (0.40, 0.3), (0.57, 0.8), (0.75, 1.5), (0.90, 2.6), (1.0, 6.0))
"""(share of frames below, bits)"""
_ACCURACY = ((0.965, 0.965), (0.90, 0.93), (0.80, 0.885), (0.64, 0.80), (0.43, 0.66), (0.22, 0.45))
"""(edge, server) between each anchor and the next"""
_TAUS = (0.1, 0.3, 0.8, 1.5, 2.6)
_MACS_PER_OFFLOAD = 17.6e9
_FAMILIES = (
    # δ, codec, quality, bytes per record, part of the server's gain that is kept
    (1.0, "avif", 30, 3_000.0, 0.60),
    (1.0, "avif", 45, 4_400.0, 0.76),
    (1.0, "webp", 50, 6_300.0, 0.85),
    (0.97, "webp", 75, 7_700.0, 0.88),
    (1.0, "webp", 75, 8_700.0, 0.92),
    (1.0, "webp", 90, 15_000.0, 0.97),
)

IS_DEFAULT = "built-in"


def default_frontier() -> Frontier:
    """The built-in frontier; its model names are `built-in`, so it is never mistaken for a measured one."""
    shares = np.array([share for share, _ in _ANCHORS])
    bits = np.array([bit for _, bit in _ANCHORS])
    quantiles = tuple(float(q) for q in np.interp(np.linspace(0, 1, 101), shares, bits))
    bins = tuple(
        HminBin(
            lo=float(bits[i]),
            hi=float(bits[i + 1]),
            count=round(float(shares[i + 1] - shares[i]) * _IMAGES),
            edge_accuracy=_ACCURACY[i][0],
            server_accuracy=_ACCURACY[i][1],
        )
        for i in range(len(_ACCURACY))
    )
    return Frontier(
        edge_model=IS_DEFAULT,
        edge_hash="",
        server_model=IS_DEFAULT,
        server_hash="",
        classes_hash="",
        data="ImageNet photos, DeiT-Tiny and DeiT-Base (shape only)",
        accuracy_kind="label",
        images=_IMAGES,
        h_min_quantiles=quantiles,
        accuracy_by_h_min=bins,
        points=tuple(_point(family, tau, bins) for family in _FAMILIES for tau in _TAUS),
    )


def _point(
    family: tuple[float, str, int, float, float], tau: float, bins: tuple[HminBin, ...]
) -> FrontierPoint:
    delta, codec, quality, num_bytes, kept = family
    edge = sum(each.count * each.edge_accuracy for each in bins) / _IMAGES
    above = [each for each in bins if each.lo >= tau]
    ratio = sum(each.count for each in above) / _IMAGES
    gain = sum(each.count * (each.server_accuracy - each.edge_accuracy) for each in above) / _IMAGES
    accuracy = edge + kept * gain
    return FrontierPoint(
        point=OperatingPoint(tau=tau, delta=delta, codec=codec, quality=quality),
        offload_ratio=ratio,
        bytes_per_offload=num_bytes,
        bytes_per_offload_p95=1.7 * num_bytes,
        bytes_per_frame=ratio * num_bytes,
        accuracy=accuracy,
        accuracy_lo=max(accuracy - 0.01, 0.0),
        accuracy_hi=min(accuracy + 0.01, 1.0),
        server_macs=ratio * _MACS_PER_OFFLOAD,
        images=_IMAGES,
    )
