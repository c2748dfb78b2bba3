"""The answer for one frame, as Redis holds it and as readers print it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from schemas.errors import DecodeError, decodes
from schemas.fields import Fields
from schemas.identity import named_camera
from schemas.limits import MAX_CAMERA_CHARS, MAX_CLASSES, MAX_NAME_CHARS, MAX_SEQ, MAX_TIME_NS

NO_LABEL = -1
"""`label` of a dropped or undecodable frame."""
_MAX_TEXT = 512


class LabelState(StrEnum):
    """The one state that every frame taken from `frames` ends in; only PROVISIONAL may still change."""

    FINAL = "final"
    PROVISIONAL = "provisional"
    DROPPED = "dropped"
    UNDECODABLE = "undecodable"


class AnswerSource(StrEnum):
    """Who answered."""

    EDGE = "edge"
    SERVER = "server"
    BELIEF = "belief"
    """The camera's belief: with the server's answer about another of its frames, or as it was when none came."""


@dataclass(frozen=True, slots=True)
class Label:
    """One frame's answer.

    `label` is the class index (-1 without one) and `name` its name; `deadline_ns` is on the site Redis's
    clock, 0 = none; `cause` is empty unless the frame was dropped or could not be decoded. `rests_on` is the
    frame whose answer by the server a belief rests on, -1 without one. `same_as` is the frame that this one looks
    the same as, so that the edge's model was not asked about it; -1 where it was.
    """

    site: str
    camera: str
    seq: int
    state: LabelState
    source: AnswerSource
    label: int
    name: str
    confidence: float
    captured_ns: int
    labelled_ns: int
    deadline_ns: int = 0
    cause: str = ""
    rests_on: int = NO_LABEL
    same_as: int = NO_LABEL

    def to_json(self) -> dict[str, str | int | float]:
        """The label as a JSON object, for `--json` output."""
        return {
            "site": self.site,
            "camera": self.camera,
            "seq": self.seq,
            "state": self.state.value,
            "source": self.source.value,
            "label": self.label,
            "name": self.name,
            "confidence": self.confidence,
            "captured_ns": self.captured_ns,
            "labelled_ns": self.labelled_ns,
            "deadline_ns": self.deadline_ns,
            "cause": self.cause,
            "rests_on": self.rests_on,
            "same_as": self.same_as,
        }


def label_fields(label: Label) -> dict[str, str]:
    """The label as flat text fields for a Redis hash or stream entry; exact both ways."""
    return {name: value if isinstance(value, str) else repr(value) for name, value in label.to_json().items()}


def _number(name: str, text: str) -> int | float:
    try:
        return float(text) if name == "confidence" else int(text)
    except ValueError:
        raise DecodeError("wrong_type", f"label.{name}: {text!r:.80} is no number") from None


_NUMBERS = frozenset(
    {"seq", "label", "confidence", "captured_ns", "labelled_ns", "deadline_ns", "rests_on", "same_as"}
)


@decodes
def label_from_fields(values: Mapping[str, str]) -> Label:
    """The label of `label_fields`; fields of newer writers are ignored.

    Raises:
        DecodeError: a field is missing, no number, out of range, or the camera is none.
    """
    fields = Fields(
        "label", {name: _number(name, text) if name in _NUMBERS else text for name, text in values.items()}
    )
    return Label(
        site=fields.text("site", MAX_NAME_CHARS),
        camera=named_camera(fields.text("camera", MAX_CAMERA_CHARS)),
        seq=fields.integer("seq", 0, MAX_SEQ),
        state=LabelState(fields.choice("state", frozenset(LabelState))),
        source=AnswerSource(fields.choice("source", frozenset(AnswerSource))),
        label=fields.integer("label", NO_LABEL, MAX_CLASSES),
        name=fields.text("name", _MAX_TEXT),
        confidence=fields.number("confidence", 0.0, 1.0),
        captured_ns=fields.integer("captured_ns", 0, MAX_TIME_NS),
        labelled_ns=fields.integer("labelled_ns", 0, MAX_TIME_NS),
        deadline_ns=fields.integer("deadline_ns", 0, MAX_TIME_NS),
        cause=fields.text("cause", _MAX_TEXT),
        rests_on=fields.integer("rests_on", NO_LABEL, MAX_SEQ) if "rests_on" in values else NO_LABEL,
        same_as=fields.integer("same_as", NO_LABEL, MAX_SEQ) if "same_as" in values else NO_LABEL,
    )
