"""Which frames are worth a person's look, and which of them stay when room is short. Pure.

Labels come in, doubts come out: frames that nobody was sure of, and frames on which the server corrected the edge.
"""

from __future__ import annotations

import io
from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.label import AnswerSource, Label, LabelState

Signature = NDArray[np.uint8]
"""(16, 16, 3): the mean colour of each tile of a frame."""

SIGNATURE_SIDE: Final = 16
NEAR_LEVELS: Final = 10.0
"""Of 255. Two frames are near-duplicates where no tile differs by more, a common change of light left out."""
LEFT_OUT: Final = ""
"""The label that a person gives to a frame that teaches nothing."""
MAX_CAMERAS: Final = 2_000
_MAX_ASKED: Final = 16_384
_GRACE_NS: Final = 2_000_000_000


class Reason(StrEnum):
    """Why a frame is kept; the later in this list, the more it is worth."""

    UNSURE = "unsure"
    DISAGREE = "disagree"
    MARKED = "marked"


_WORTH: Final = {reason: worth for worth, reason in enumerate(Reason)}


@dataclass(frozen=True, slots=True)
class Doubt:
    """A frame to keep: the answer that stands, with its confidence, and what edge and server said (empty: nothing)."""

    camera: str
    seq: int
    captured_ns: int
    reason: Reason
    answer: str
    confidence: float
    edge: str
    server: str

    @property
    def worth(self) -> tuple[int, float]:
        """More for a stronger reason; for the same, more where the answer is less sure."""
        return _WORTH[self.reason], -self.confidence


def doubt_of(asked: Label | None, last: Label, reason: Reason) -> Doubt:
    """The doubt about a frame whose last word is `last`, after the edge's `asked` where the server was asked."""
    by_server = last.source is AnswerSource.SERVER
    edge = asked.name if asked is not None else "" if by_server else last.name
    return Doubt(
        camera=last.camera,
        seq=last.seq,
        captured_ns=last.captured_ns,
        reason=reason,
        answer=last.name,
        confidence=last.confidence,
        edge=edge,
        server=last.name if by_server else "",
    )


def reason_of(asked: Label | None, last: Label, max_confidence: float) -> Reason | None:
    """Why the frame is worth a look, None where it is not: the server corrected the edge, or nobody was sure."""
    if last.cause:
        return None
    if asked is not None and last.source is AnswerSource.SERVER and last.name != asked.name:
        return Reason.DISAGREE
    return Reason.UNSURE if last.confidence < max_confidence else None


class Doubts:
    """Finds doubts in a site's labels. Each camera has one that waits, its worthiest, so none crowds out another.

    State: the provisional labels whose last word has not come, oldest first; and the doubt of each camera that
    waits, the camera that has waited longest first.
    """

    def __init__(self, max_confidence: float) -> None:
        self._max_confidence = max_confidence
        self._asked: OrderedDict[tuple[str, int], Label] = OrderedDict()
        self._waiting: OrderedDict[str, Doubt] = OrderedDict()

    def see(self, label: Label) -> None:
        """The label counts; a provisional one once its final one is here, or can come no more."""
        key = (label.camera, label.seq)
        if label.state is LabelState.PROVISIONAL:
            self._asked[key] = label
            if len(self._asked) > _MAX_ASKED:
                self._asked.popitem(last=False)
        else:
            self._judge(self._asked.pop(key, None), label)
        if (
            label.source is not AnswerSource.SERVER
        ):  # a server's clock says nothing about this site's deadlines
            self._unanswered(label.labelled_ns - _GRACE_NS)

    def take(self) -> Doubt | None:
        """The doubt of the camera that has waited longest, which waits no more."""
        return self._waiting.popitem(last=False)[1] if self._waiting else None

    def _unanswered(self, before_ns: int) -> None:
        while self._asked:
            oldest = next(iter(self._asked.values()))
            if oldest.deadline_ns > before_ns:
                return
            self._asked.popitem(last=False)
            self._judge(None, oldest)

    def _judge(self, asked: Label | None, last: Label) -> None:
        reason = reason_of(asked, last, self._max_confidence)
        if reason is None:
            return
        doubt = doubt_of(asked, last, reason)
        waiting = self._waiting.get(doubt.camera)
        is_full = waiting is None and len(self._waiting) >= MAX_CAMERAS
        if not is_full and (waiting is None or doubt.worth >= waiting.worth):
            self._waiting[doubt.camera] = doubt  # keeps the camera's turn


def signature_of(jpeg: bytes) -> Signature:
    """The signature of a small JPEG that this program made."""
    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as opened:
        tiles = opened.convert("RGB").resize((SIGNATURE_SIDE, SIGNATURE_SIDE), Image.Resampling.BOX)
    return np.asarray(tiles)


def is_near_duplicate(signature: Signature, others: NDArray[np.uint8]) -> bool:
    """True where one of `others`, (n, 16, 16, 3), is nearly the same picture.

    The picture is compared and not the edge's embedding: that changes with each model that is taught, and says little
    of classes that the model does not know.
    """
    difference = others.astype(np.float32) - signature
    difference -= difference.mean(axis=(1, 2), keepdims=True)
    largest = np.abs(difference).mean(axis=3).max(axis=(1, 2), initial=0.0)
    return bool((largest < NEAR_LEVELS).any())


@dataclass(frozen=True, slots=True)
class Held:
    """A kept frame as the limit sees it; `label` is None until a person gives one."""

    id: int
    camera: str
    num_bytes: int
    reason: Reason
    confidence: float
    label: str | None


def evicted(held: Iterable[Held], excess_bytes: int) -> list[int]:
    """Ids of frames that go, so that at least `excess_bytes` are free where that can be.

    What a person left out goes first. Then the camera that holds most gives its least worth, the older first, again
    and again. What a person labelled stays.
    """
    left_out: list[Held] = []
    cameras: defaultdict[str, list[Held]] = defaultdict(list)
    totals: defaultdict[str, int] = defaultdict(int)
    for each in held:
        if each.label == LEFT_OUT:
            left_out.append(each)
            continue
        totals[each.camera] += each.num_bytes
        if each.label is None:
            cameras[each.camera].append(each)
    for frames in cameras.values():
        frames.sort(key=lambda each: (_WORTH[each.reason], -each.confidence, each.id), reverse=True)
    gone: list[int] = []
    while excess_bytes > 0 and (left_out or cameras):
        if left_out:
            victim = left_out.pop(0)
        else:
            camera = max(cameras, key=lambda name: (totals[name], name))
            victim = cameras[camera].pop()
            totals[camera] -= victim.num_bytes
            if not cameras[camera]:
                del cameras[camera]
        gone.append(victim.id)
        excess_bytes -= victim.num_bytes
    return gone
