"""One frame on its way through the edge worker: what each stage adds to it, and when."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gating.belief import Step
from gating.gate import GateResult
from runtime.intake import Delivery
from runtime.offsets import TopicPartition
from schemas.frame import Frame
from schemas.label import Label, LabelState
from schemas.offload import Offload
from schemas.operating_point import OperatingPoint
from vit.backends import Identity


class Span(NamedTuple):
    """When a stage began and ended, in local monotonic seconds."""

    began_s: float
    ended_s: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a frame gets no answer: its state, the cause, and one line of error where it is a dead letter."""

    state: LabelState
    cause: str
    error: str = ""


@dataclass(slots=True, eq=False)
class Outputs:
    """What the model said of frame `seq`, once it has run; the frames that look like that one share it.

    With a `refusal` it said nothing: that frame did not decode, or its outputs were no numbers. `in_doubt`: the
    camera's belief at that frame was not sure, so that the next frames are looked at again.
    """

    seq: int
    refusal: Refusal | None = None
    in_doubt: bool = False
    logits: NDArray[np.float32] = field(init=False, repr=False)
    attention: NDArray[np.float32] = field(init=False, repr=False)
    embedding: NDArray[np.float32] = field(init=False, repr=False)
    model: Identity = field(init=False, repr=False)
    """Whose classes the places of `logits` are."""


@dataclass(slots=True, eq=False)
class FrameTask:
    """A frame whose message is sound. One stage owns it at a time; the fields of later stages are not set yet.

    A frame with a `refusal` goes the same way to its label, past what needs its image or its answer.
    `spans` holds each stage that the frame has passed, by name; `read_s` is the local monotonic time of its
    reading.
    """

    delivery: Delivery
    frame: Frame
    read_s: float
    refusal: Refusal | None = None
    spans: dict[str, Span] = field(default_factory=dict, repr=False)
    read_ns: int | None = field(default=None, repr=False)
    """`read_s` on the clock of the site's Redis, once a trace has told it."""
    # prepare
    crop: NDArray[np.uint8] = field(init=False, repr=False)
    """(224, 224, 3); a still frame has it only where the server is asked about it."""
    outputs: Outputs = field(init=False, repr=False)
    """The model's, of this frame or of the one that it looks like; filled in by `infer`."""
    # gate
    step: Step | None = field(default=None, init=False, repr=False)
    """The camera's belief at this frame; None where the frame stands by itself."""
    asks: bool = field(default=False, init=False)
    """The server is asked about this very frame."""
    gate: GateResult = field(init=False)
    point: OperatingPoint = field(init=False)
    """The operating point that the frame was gated at and, after `offer`, encoded at."""
    label: Label = field(init=False)
    # publish
    repeated: bool = field(default=False, init=False)
    """An earlier reading of the record wrote its label, so that its patches may have been sent before."""
    # offer
    record: Offload = field(init=False, repr=False)
    data: bytes | None = field(init=False, repr=False)
    """The encoded record; None where even the cheapest encoding exceeds the limit."""
    num_patches: int = field(init=False)

    def __post_init__(self) -> None:
        self.outputs = Outputs(self.frame.seq)

    @property
    def is_still(self) -> bool:
        """The frame looks like an earlier one of its camera and takes its outputs."""
        return self.outputs.seq != self.frame.seq

    @property
    def model(self) -> Identity:
        """The model that the frame's answer is of."""
        return self.outputs.model

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

    def refuse(self, state: LabelState, cause: str, error: str = "") -> None:
        """The frame gets no answer, nor do those that rest on its outputs."""
        self.refusal, self.asks = Refusal(state, cause, error), False
        if not self.is_still:
            self.outputs.refusal = self.refusal
