"""What the uplink says about itself: the record behind `saccade top`, the metrics and the demo's picture."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from schemas.operating_point import OperatingPoint


@dataclass(frozen=True, slots=True)
class Explanation:
    """One moment of one edge worker's uplink.

    Rates in bytes/s over the last second, sizes in bytes, times in seconds, shares and accuracies in [0,
    1]. `budget_bytes_per_s` is what this worker was told (its share of it), `usable_bytes_per_s` what the
    link is believed to carry of it; `expected_bytes_per_s` is what the point in use is expected to ask for,
    `expected_accuracy` the curve's promise for the present frames, `observed_accuracy` the curve's value of
    what really was sent and answered; `held_back` counts records by cause.
    """

    state: str
    cause: str
    for_s: float
    budget_bytes_per_s: float
    usable_bytes_per_s: float
    wanted_bytes_per_s: float
    expected_bytes_per_s: float
    measured_bytes_per_s: float
    wire_bytes: float
    burst_bytes: float
    point: OperatingPoint
    offload_share: float
    frames_per_s: float
    expected_accuracy: float
    observed_accuracy: float
    waiting_records: int
    waiting_bytes: int
    in_flight_bytes: float
    delay_s: float
    delay_trend: float
    max_records_per_s: float
    expired_share: float
    share: float
    num_workers: int
    held_back: dict[str, int]
    bytes_by_camera: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON object; what is unlimited is null, an infinite tau the text "inf"."""
        plain = {name: _finite(value) for name, value in asdict(self).items()}
        plain["point"] = self.point.to_json()
        return plain

    def to_text(self) -> str:
        """The record as one line of JSON."""
        return json.dumps(self.to_json(), separators=(",", ":"), allow_nan=False)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
