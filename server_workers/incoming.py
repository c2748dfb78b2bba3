"""What an offload record becomes when it is opened: a token set that waits, or the reason why not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.intake import Delivery
from runtime.offsets import TopicPartition
from schemas.offload import Offload


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """A sound record: `patches` (k, 16, 16, 3) uint8 at the ascending `positions` (k,) int64.

    `deadline_s` is on the local monotonic clock, `inf` for none; `read_s` when the record was read.
    """

    delivery: Delivery
    record: Offload
    positions: NDArray[np.int64]
    patches: NDArray[np.uint8]
    deadline_s: float
    read_s: float

    @property
    def num_tokens(self) -> int:
        """Kept patches and the class token."""
        return len(self.positions) + 1

    @property
    def partition(self) -> TopicPartition:
        """Where it was read from."""
        return self.delivery.partition


@dataclass(frozen=True, slots=True)
class Expired:
    """A record whose deadline had passed on arrival; its patches were not opened."""

    delivery: Delivery
    site: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record for the dead-letter topic: the reason's slug and one line of error."""

    delivery: Delivery
    reason: str
    error: str


Opened = Ready | Expired | Rejected
