"""One offloaded record on its way through the server worker: what each stage adds to it, and when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.intake import Delivery
from runtime.offsets import TopicPartition
from schemas.answer import ServerAnswer
from schemas.label import Label
from schemas.offload import Offload
from schemas.trace import ServerTrace
from vit.backends import Identity, PendingScores


class Scoring(Protocol):
    """What a record needs of `server_workers.engine.ServerEngine`."""

    identity: Identity

    def submit(
        self, patches: Sequence[NDArray[np.uint8]], positions: Sequence[NDArray[np.int64]]
    ) -> PendingScores:
        """B sets are being computed."""
        ...


class Verdict(StrEnum):
    """What is to become of a record."""

    WAITS = "waits"
    """It is sound, and waits for the model."""
    EXPIRED = "expired"
    """No answer could be in time."""
    REFUSED = "refused"
    """It goes to the dead-letter topic."""
    ANSWERED = "answered"
    """Its label waits for its site's Redis."""


@dataclass(slots=True, eq=False)
class AnswerTask:
    """A record that asks for an answer. One stage owns it at a time; fields of later stages are not set yet.

    `read_s` is the local monotonic time of its reading.
    """

    delivery: Delivery
    read_s: float
    verdict: Verdict = Verdict.WAITS
    # open
    record: Offload = field(init=False, repr=False)
    """Not set for bytes that are no record."""
    deadline_s: float = field(default=math.inf, init=False)
    """On the local monotonic clock, `inf` for none."""
    engine: Scoring = field(init=False, repr=False)
    """The model that answers it."""
    positions: NDArray[np.int64] = field(init=False, repr=False)
    """The kept patches' places, ascending (k,)."""
    patches: NDArray[np.uint8] = field(init=False, repr=False)
    """(k, 16, 16, 3)"""
    reason: str = field(default="", init=False)
    """Why it is refused, as a slug; `error` is one line for people."""
    error: str = field(default="", init=False)
    # infer
    label: Label = field(init=False)
    """What server and edge say together."""
    answer: ServerAnswer = field(init=False, repr=False)
    """What the server says alone, for the edge's belief about the camera."""
    trace: ServerTrace | None = field(default=None, init=False)
    """What is told beside the label, where somebody wants to see it."""

    @property
    def num_tokens(self) -> int:
        """Kept patches and the class token."""
        return len(self.positions) + 1

    @property
    def partition(self) -> TopicPartition:
        """Where it was read from."""
        return self.delivery.partition

    @property
    def site(self) -> str:
        """The site whose camera it is of."""
        return self.record.site

    def refuse(self, reason: str, error: str) -> None:
        """The record goes to the dead-letter topic."""
        self.verdict, self.reason, self.error = Verdict.REFUSED, reason, error
