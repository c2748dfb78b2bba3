"""What a server thought of a frame that it was asked about, on its way back to the edge that asked.

Kept for a minute in the site's store: the label says what the frame is, the answer how sure the server was of
what else, which is what a camera's belief takes in.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from schemas.errors import DecodeError, decodes
from schemas.fields import Fields, json_value
from schemas.limits import MAX_CAMERA_CHARS, MAX_CLASSES, MAX_SEQ

MAX_LEADING: Final = 8


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """The leading classes of one frame with the server's own probabilities, most probable first."""

    camera: str
    seq: int
    classes: tuple[int, ...]
    probabilities: tuple[float, ...]


def encode_answer(answer: ServerAnswer) -> str:
    """The answer as one line of JSON, probabilities to five places."""
    pairs = [
        [label, round(probability, 5)]
        for label, probability in zip(answer.classes, answer.probabilities, strict=True)
    ]
    return json.dumps([answer.camera, answer.seq, pairs], separators=(",", ":"), allow_nan=False)


@decodes
def decode_answer(text: str) -> ServerAnswer:
    """The answer of `encode_answer`; raises `DecodeError` naming the field."""
    value = json_value("answer", text)
    if not isinstance(value, list) or len(value) != 3:
        raise DecodeError("wrong_type", "answer: expected [camera, seq, pairs]")
    fields = Fields("answer", dict(zip(("camera", "seq", "pairs"), value, strict=True)))
    pairs = fields.sequence("pairs", MAX_LEADING)
    named = [
        Fields("answer.pairs", {"label": pair[0], "p": pair[1]})
        for pair in pairs
        if isinstance(pair, list) and len(pair) == 2
    ]
    if not named or len(named) != len(pairs):
        raise DecodeError("wrong_type", "answer.pairs: expected pairs of a label and its probability")
    classes = tuple(each.integer("label", 0, MAX_CLASSES) for each in named)
    if len(set(classes)) != len(classes):
        raise DecodeError("out_of_range", f"answer.pairs: a label stands twice in {classes}")
    return ServerAnswer(
        camera=fields.text("camera", MAX_CAMERA_CHARS),
        seq=fields.integer("seq", 0, MAX_SEQ),
        classes=classes,
        probabilities=tuple(each.number("p", 0.0, 1.0) for each in named),
    )
