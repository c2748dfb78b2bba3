"""Labels as Redis fields: exact both ways, and readable by name."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DecodeError
from schemas.event import Event, Kind, decode_event, encode_event
from schemas.label import AnswerSource, Label, LabelState, label_fields, label_from_fields

LABEL = Label(
    site="",
    camera="gate-1",
    seq=41,
    state=LabelState.PROVISIONAL,
    source=AnswerSource.EDGE,
    label=3,
    name="tench, Tinca tinca",
    confidence=0.1,
    captured_ns=5,
    labelled_ns=6,
    deadline_ns=7,
)


@given(
    st.builds(
        Label,
        site=st.text(max_size=20),
        camera=st.from_regex(
            r"([A-Za-z0-9][A-Za-z0-9._-]{0,20}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True
        ).filter(lambda camera: ".dead/" not in camera and not camera.startswith("dead/")),
        seq=st.integers(0, 2**63 - 1),
        state=st.sampled_from(LabelState),
        source=st.sampled_from(AnswerSource),
        label=st.integers(-1, 999),
        name=st.text(max_size=40),
        confidence=st.floats(0, 1),
        captured_ns=st.integers(0, 2**63 - 1),
        labelled_ns=st.integers(0, 2**63 - 1),
        deadline_ns=st.integers(0, 2**63 - 1),
        cause=st.text(max_size=40),
    )
)
def test_fields_round_trip_exactly(label: Label) -> None:
    fields = label_fields(label)
    assert all(isinstance(value, str) for value in fields.values())
    assert label_from_fields(fields) == label


def test_json_holds_what_readers_are_promised() -> None:
    promised = {
        "camera", "seq", "state", "source", "label", "name", "confidence", "captured_ns", "labelled_ns"
    }  # fmt: skip
    shown = json.loads(json.dumps(LABEL.to_json()))
    assert promised <= shown.keys()
    assert (shown["state"], shown["source"], shown["seq"]) == ("provisional", "edge", 41)


def test_fields_of_newer_writers_are_ignored() -> None:
    assert label_from_fields(label_fields(LABEL) | {"gate": "margin"}) == LABEL


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("seq", "x", "wrong_type"),
        ("seq", "-1", "out_of_range"),
        ("confidence", "nan", "out_of_range"),
        ("state", "sure", "out_of_range"),
        ("source", "", "out_of_range"),
        ("label", "-2", "out_of_range"),
    ],
)
def test_a_bad_field_is_refused_with_its_reason(field: str, value: str, expected: str) -> None:
    with pytest.raises(DecodeError, match=field) as caught:
        label_from_fields(label_fields(LABEL) | {field: value})
    assert caught.value.reason == expected


def test_a_missing_field_is_named() -> None:
    fields = label_fields(replace(LABEL, state=LabelState.FINAL))
    del fields["source"]
    with pytest.raises(DecodeError, match="source"):
        label_from_fields(fields)


ODD_CAMERAS = ["straße", "a#", "a+b", "", "a b", "a/b/c", "/a", "a/", "a\nb"]


@pytest.mark.parametrize("camera", ODD_CAMERAS)
def test_a_camera_that_no_frame_may_have_is_refused(camera: str) -> None:
    with pytest.raises(DecodeError, match="camera"):
        label_from_fields(label_fields(replace(LABEL, camera=camera)))
    event = Event("a:1:begun", "", camera, Kind.BEGUN, "stop", "", 1, 1, 1, 1, 0.9)
    with pytest.raises(DecodeError, match="camera"):
        decode_event(encode_event(event))


@pytest.mark.parametrize(("site", "camera"), [("", "gate-1"), ("north.1", "north.1/Gate_2")])
def test_every_camera_that_a_frame_may_have_is_taken(site: str, camera: str) -> None:
    label = replace(LABEL, site=site, camera=camera)
    assert label_from_fields(label_fields(label)) == label
    event = Event("a:1:begun", site, camera, Kind.BEGUN, "stop", "", 1, 1, 1, 1, 0.9)
    assert decode_event(encode_event(event)) == event
