"""The figures that others published, as data. Costs are shares of raw whole images, accuracies in percent.

Main source: Im et al., IEEE IoT-J 2024, arXiv 2404.07217 (DeiT-Ti edge, DeiT-B server, ImageNet-1k). "text"
values are printed in the paper or in its authors' code; "plot" values were read off a published figure, to
about 0.003 in cost and 0.05 points.
"""

from typing import Final, NamedTuple


class PublishedModel(NamedTuple):
    """One row of Table I."""

    parameters_m: float
    memory_mib: float
    macs_g: float
    top1: float


class PublishedPoint(NamedTuple):
    """A point of a curve: share of raw pixels sent, and top-1 in percent."""

    cost: float
    accuracy: float


def _curve(*pairs: tuple[float, float]) -> tuple[PublishedPoint, ...]:
    return tuple(PublishedPoint(*pair) for pair in pairs)


TABLE_I: Final = {
    "DeiT-Ti": PublishedModel(5, 21.22, 1.26, 72.2),
    "DeiT-S": PublishedModel(22, 83.21, 4.61, 79.8),
    "DeiT-B": PublishedModel(86, 329.55, 17.58, 81.8),
}
TABLE_II_PATCHES: Final = {0.97: 147.24}
"""Mean kept patches of all images by delta (text)."""
TABLE_III_OFFLOAD: Final = {0.8: 0.4290, 1.0: 0.3567}
"""Offload ratio by tau (text)."""

FIG8_DELTAS: Final = (0.87, 0.90, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99)
FIG8: Final = {
    1.0: _curve(
        (0.164, 77.57), (0.186, 78.83), (0.204, 79.35), (0.215, 79.55), (0.226, 79.73),
        (0.239, 79.91), (0.255, 80.04), (0.2707, 80.23), (0.291, 80.31), (0.316, 80.38),
    ),
    0.8: _curve(
        (0.195, 77.74), (0.223, 79.18), (0.2445, 79.83), (0.257, 80.1), (0.271, 80.3),
        (0.2855, 80.50), (0.305, 80.63), (0.3236, 80.83), (0.348, 80.90), (0.379, 80.99),
    ),
    0.6: _curve(
        (0.230, 77.59), (0.262, 79.28), (0.288, 80.09), (0.303, 80.32), (0.320, 80.56),
        (0.338, 80.80), (0.359, 80.99), (0.384, 81.20), (0.414, 81.26), (0.451, 81.38),
    ),
    0.4: _curve(
        (0.275, 77.25), (0.315, 79.23), (0.347, 80.14), (0.365, 80.47), (0.386, 80.69),
        (0.408, 80.95), (0.435, 81.16), (0.465, 81.36), (0.502, 81.43), (0.548, 81.56),
    ),
    0.3: _curve(
        (0.308, 76.90), (0.353, 79.15), (0.390, 80.14), (0.411, 80.50), (0.434, 80.76),
        (0.460, 81.04), (0.490, 81.26), (0.525, 81.44), (0.568, 81.50), (0.622, 81.67),
    ),
    0.2: _curve(
        (0.357, 76.28), (0.411, 78.91), (0.454, 80.08), (0.479, 80.48), (0.507, 80.77),
        (0.538, 81.07), (0.575, 81.29), (0.617, 81.48), (0.669, 81.55), (0.735, 81.71),
    ),
    0.1: _curve(
        (0.406, 76.0), (0.466, 78.8), (0.517, 80.03), (0.546, 80.44), (0.578, 80.75),
        (0.614, 81.05), (0.656, 81.28), (0.705, 81.47), (0.765, 81.55), (0.844, 81.71),
    ),
}  # fmt: skip
"""By tau, one point a delta of `FIG8_DELTAS` (plot; delta .97 at tau .8 and 1 is text)."""

FIG8_PARETO: Final = _curve(
    (0.165, 77.6), (0.185, 78.7), (0.205, 79.3), (0.225, 79.7), (0.245, 80.0), (0.265, 80.2),
    (0.285, 80.5), (0.305, 80.7), (0.325, 80.84), (0.345, 81.0), (0.385, 81.2), (0.445, 81.36),
    (0.505, 81.5), (0.565, 81.6), (0.625, 81.67), (0.72, 81.71),
)  # fmt: skip

FIG11_MEAN_ATTENTION: Final = _curve(
    (0.249, 53.1), (0.307, 64.8), (0.365, 72.1), (0.417, 75.9), (0.481, 78.8), (0.532, 80.0),
    (0.562, 80.4), (0.595, 80.8), (0.632, 81.0), (0.653, 81.1), (0.675, 81.3), (0.726, 81.5),
    (0.788, 81.5), (0.868, 81.7),
)  # fmt: skip
FIG11_ROLLOUT: Final = _curve(
    (0.217, 58.3), (0.262, 65.4), (0.306, 70.3), (0.353, 73.7), (0.402, 75.9), (0.450, 77.6), (0.503, 78.7),
    (0.556, 79.6), (0.611, 80.2), (0.668, 80.8),
    (0.715, 81.1), (0.764, 81.3), (0.815, 81.5), (0.853, 81.6), (0.894, 81.8),
)  # fmt: skip
FIG12_TOP_K: Final = _curve(
    (0.153, 32.9), (0.204, 49.8), (0.255, 61.7), (0.306, 69.5), (0.357, 74.0), (0.408, 76.6), (0.511, 79.4),
    (0.561, 80.1), (0.612, 80.6), (0.663, 81.0), (0.714, 81.3), (0.766, 81.5),
)  # fmt: skip
FIG12_THRESHOLD: Final = _curve(
    (0.238, 54.3), (0.316, 68.4), (0.370, 73.5), (0.441, 77.5), (0.493, 79.1), (0.554, 80.1), (0.600, 80.8),
    (0.653, 81.2), (0.683, 81.3), (0.714, 81.4), (0.749, 81.56), (0.787, 81.6),
)  # fmt: skip
FIG13_MIN_ENTROPY: Final = _curve(
    (0.016, 72.7), (0.043, 73.6), (0.079, 74.8), (0.162, 77.0), (0.256, 78.9), (0.357, 80.43),
    (0.454, 81.2), (0.503, 81.4), (0.552, 81.5), (0.613, 81.6), (0.688, 81.7), (0.793, 81.8),
)  # fmt: skip
FIG13_SHANNON: Final = _curve(
    (0.08, 74.4), (0.12, 75.6), (0.17, 76.9), (0.235, 78.1), (0.307, 79.2), (0.393, 80.2), (0.493, 80.95),
    (0.61, 81.4), (0.74, 81.7), (0.87, 81.8),
)  # fmt: skip

LATENCY_MS: Final = {1: (1212.5, 401.7), 8: (158.9, 62.2), 20: (68.5, 33.1)}
"""Server-only and proposed milliseconds by uplink in Mbit/s, rebuilt from the paper's constants."""

NOT_PUBLISHED: Final = (
    "The paper prints no values for Fig. 9 (DeiT-S as server), Fig. 10 (the curves of SDT, ISR, MOT, A-MOT) "
    "and Fig. 14 (encoder), so only measured values stand there."
)
