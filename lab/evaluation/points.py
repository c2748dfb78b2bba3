"""One measured operating point, as it stands in results.json. Pure."""

from dataclasses import asdict, dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lab.evaluation.bootstrap import Interval, mean_interval
from lab.evaluation.paired import PairedPredictions
from lab.evaluation.sweep import Measurement, Payload, measure
from schemas.belief_rule import BeliefRule

METHODS: Final = (
    "saccade",
    "edge_only",
    "server_only",
    "codec_gate",
    "random_patches",
    "random_gate",
    "oracle_gate",
    "sdt",
    "isr",
    "mot",
    "a_mot",
)
ALL: Final = "all"
TEST: Final = "test"
CALIBRATION: Final = "calibration"


@dataclass(frozen=True, slots=True)
class HoldRule:
    """The server's answer stands while the cosine to the asked frame's embedding is at least `cosine`.

    And at most for `seconds`.
    """

    cosine: float
    seconds: float

    def to_json(self) -> dict[str, object]:
        """Return the rule with its field names as keys."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Setting:
    """What was run. None stands where a field means nothing for the method.

    `memory` is how a camera's frames bear on each other, for the methods belief, fused and hold.

    `tau` is in the gate's own unit: bits for entropies, 1 - margin for margins. For sdt and a_mot it is the
    server's own threshold for a second round, in bits; for random_gate the min-entropy threshold whose offload
    ratio the lots have.
    """

    method: str
    gate: str | None
    tau: float | None
    selection: str | None = None
    delta: float | None = None
    min_patches: int | None = None
    codec: str | None = None
    quality: int | None = None
    memory: BeliefRule | HoldRule | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """A setting and its figures; `correct` (M,) are the per-image shares of being right on the split's
    images.
    """

    setting: Setting
    split: str
    figures: Measurement
    accuracy_ci: Interval

    def to_json(self) -> dict[str, object]:
        """Return the point with the keys of results.json, in its order."""
        each, figures = self.setting, self.figures
        return {
            "method": each.method,
            "gate": each.gate,
            "tau": each.tau,
            "selection": each.selection,
            "delta": each.delta,
            "min_patches": each.min_patches,
            "codec": each.codec,
            "quality": each.quality,
            "memory": None if each.memory is None else each.memory.to_json(),
            "split": self.split,
            "accuracy": figures.accuracy,
            "accuracy_ci": list(self.accuracy_ci),
            "offload_ratio": figures.offload_ratio,
            "patches_mean": figures.patches_mean,
            "bytes_per_offload": figures.bytes_per_offload,
            "patch_cost": figures.patch_cost,
            "bytes_per_frame": figures.bytes_per_frame,
            "server_macs": figures.server_macs,
        }


def split_rows(pairs: PairedPredictions, split: str) -> NDArray[np.int64]:
    """Return the rows of `all`, `calibration` or `test`."""
    if split == ALL:
        return np.arange(pairs.num_images, dtype=np.int64)
    return np.flatnonzero(pairs.calibration if split == CALIBRATION else ~pairs.calibration)


def make_point(
    pairs: PairedPredictions,
    setting: Setting,
    offload: NDArray[np.bool_] | NDArray[np.float64],
    payload: Payload,
    split: str = ALL,
) -> Point:
    """Return the point of one setting on a split's images.

    Args:
        offload: (N,) which of all images are offloaded, or with which probability.
        payload: of all N images.
    """
    rows = split_rows(pairs, split)
    figures = measure(offload[rows], pairs.edge_correct[rows], payload.take(rows))
    clusters = None if pairs.clusters is None else pairs.clusters[rows]
    return Point(setting, split, figures, mean_interval(figures.correct, clusters))


def with_tau(setting: Setting, tau: float | None) -> Setting:
    """Return the setting at another threshold."""
    return replace(setting, tau=tau)
