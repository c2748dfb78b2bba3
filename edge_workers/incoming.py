"""What the edge knows of a frame from the moment it was read until it has its state."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.intake import Delivery
from runtime.offsets import TopicPartition
from schemas.frame import Frame
from schemas.label import State


@dataclass(frozen=True, slots=True)
class Incoming:
    """A frame whose message is sound and whose image has not been opened.

    `read_s` is the local monotonic time at which it was read.
    """

    frame: Frame
    delivery: Delivery
    read_s: float

    @property
    def camera(self) -> str:
        """The camera's id."""
        return self.frame.camera

    @property
    def captured_ns(self) -> int:
        """Capture time, UTC."""
        return self.frame.captured_ns

    @property
    def live(self) -> bool:
        """False for files, which are never too old."""
        return self.frame.live

    @property
    def num_bytes(self) -> int:
        """The record's value and the image cut out of it."""
        return len(self.delivery.record.value) + len(self.frame.image)

    @property
    def partition(self) -> TopicPartition:
        """Where it was read from."""
        return self.delivery.partition

    def age_ns(self, now_ns: int) -> int:
        """Time since capture by this machine's UTC clock; 0 for files and where the camera's is ahead."""
        return max(0, now_ns - self.captured_ns) if self.live else 0


@dataclass(frozen=True, slots=True)
class Refused:
    """A frame that gets no answer: its state, the cause, and one line of error where it is a dead letter."""

    incoming: Incoming
    state: State
    cause: str
    error: str = ""
