"""Frames in doubt are found, each camera has its turn, and what is worth least goes first."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from page.keeping import (
    LEFT_OUT,
    Doubts,
    Held,
    Reason,
    evicted,
    is_near_duplicate,
    reason_of,
    signature_of,
)
from schemas.label import AnswerSource, Label, LabelState

S = 1_000_000_000


def label(
    name: str = "stop",
    confidence: float = 0.9,
    source: AnswerSource = AnswerSource.EDGE,
    seq: int = 1,
    camera: str = "gate",
) -> Label:
    return Label("", camera, seq, LabelState.FINAL, source, 2, name, confidence, seq * S, seq * S + 1)


def asked(name: str = "stop", confidence: float = 0.4, seq: int = 1, camera: str = "gate") -> Label:
    found = label(name, confidence, seq=seq, camera=camera)
    return replace(found, state=LabelState.PROVISIONAL, deadline_ns=found.labelled_ns + S)


ASKED = asked()
DROPPED = replace(label(confidence=0.0), state=LabelState.DROPPED, cause="too_old")


@pytest.mark.parametrize(
    ("before", "last", "reason"),
    [
        (None, label(confidence=0.61), None),
        (None, label(confidence=0.59), Reason.UNSURE),
        (ASKED, label("stop", 0.9, AnswerSource.SERVER), None),
        (ASKED, label("yield", 0.9, AnswerSource.SERVER), Reason.DISAGREE),
        (ASKED, label("yield", 0.3, AnswerSource.SERVER), Reason.DISAGREE),
        (ASKED, label("stop", 0.3, AnswerSource.SERVER), Reason.UNSURE),
        (ASKED, label("yield", 0.9, AnswerSource.BELIEF), None),
        (None, label("yield", 0.9, AnswerSource.SERVER), None),
        (None, DROPPED, None),
    ],
)
def test_what_is_worth_a_look(before: Label | None, last: Label, reason: Reason | None) -> None:
    assert reason_of(before, last, 0.6) == reason


def test_a_corrected_frame_tells_what_both_said() -> None:
    doubts = Doubts(0.6)
    doubts.see(asked("yield"))
    doubts.see(label("stop", 0.8, AnswerSource.SERVER))
    doubt = doubts.take()
    assert doubt is not None
    assert (doubt.answer, doubt.edge, doubt.server, doubt.reason) == (
        "stop",
        "yield",
        "stop",
        Reason.DISAGREE,
    )
    assert doubts.take() is None


def test_a_frame_that_nobody_answered_is_judged_after_its_deadline() -> None:
    doubts = Doubts(0.6)
    doubts.see(asked(seq=1))
    doubts.see(label(seq=3))
    assert doubts.take() is None
    doubts.see(label(seq=5))
    doubt = doubts.take()
    assert doubt is not None
    assert (doubt.seq, doubt.edge, doubt.server) == (1, "stop", "")


def test_a_servers_clock_ends_no_deadline() -> None:
    doubts = Doubts(0.6)
    doubts.see(asked(seq=1))
    doubts.see(replace(label(source=AnswerSource.SERVER, seq=2), labelled_ns=10**6 * S))
    assert doubts.take() is None


def test_each_camera_has_its_turn_with_its_worthiest_doubt() -> None:
    doubts = Doubts(0.6)
    for seq, (camera, confidence) in enumerate([("a", 0.5), ("b", 0.5), ("a", 0.2), ("a", 0.4)], 1):
        doubts.see(label(confidence=confidence, seq=seq, camera=camera))
    assert [(each.camera, each.seq) for each in iter(doubts.take, None)] == [("a", 3), ("b", 2)]


def picture(colour: int, square: int | None = None, noise: int = 0) -> bytes:
    """A grey JPEG of 320x240 with one tile-sized square of another grey."""
    pixels = np.full((240, 320, 3), colour, np.int16)
    if square is not None:
        pixels[90:105, 160:180] = square
    pixels += np.random.default_rng(noise).integers(-noise, noise + 1, pixels.shape, np.int16)
    out = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=75)
    return out.getvalue()


@pytest.mark.parametrize(
    ("other", "near"),
    [
        (picture(120), True),
        (picture(120, noise=9), True),
        (picture(150), True),  # the light changed
        (picture(120, square=180), False),  # a small thing came
        (picture(120, square=60), False),
    ],
)
def test_near_duplicates_differ_in_no_tile(other: bytes, near: bool) -> None:
    kept = np.stack([signature_of(picture(120)), signature_of(picture(120, square=255))])
    assert is_near_duplicate(signature_of(other), kept) is near
    assert not is_near_duplicate(signature_of(other), kept[:0])


HELD = st.lists(
    st.builds(
        Held,
        id=st.integers(0, 10**6),
        camera=st.sampled_from("abc"),
        num_bytes=st.integers(1, 1_000),
        reason=st.sampled_from(Reason),
        confidence=st.floats(0, 1),
        label=st.sampled_from([None, None, None, LEFT_OUT, "stop"]),
    ),
    unique_by=lambda each: each.id,
    max_size=40,
)


@given(held=HELD, excess_bytes=st.integers(-100, 20_000))
def test_what_goes_frees_enough_and_no_more_and_spares_labels(held: list[Held], excess_bytes: int) -> None:
    gone = evicted(held, excess_bytes)
    by_id = {each.id: each for each in held}
    assert len(set(gone)) == len(gone)
    assert all(by_id[each].label in (None, LEFT_OUT) for each in gone)
    freed = [by_id[each].num_bytes for each in gone]
    assert sum(freed[:-1]) < max(excess_bytes, 1)
    assert sum(freed) >= excess_bytes or len(gone) == sum(each.label != "stop" for each in held)


@given(held=HELD, excess_bytes=st.integers(1, 20_000))
def test_nobody_gives_while_another_camera_holds_more(held: list[Held], excess_bytes: int) -> None:
    held = [replace(each, label=None) for each in held]
    left = {each.id: each for each in held}
    for frame_id in evicted(held, excess_bytes):
        totals = {
            name: sum(each.num_bytes for each in left.values() if each.camera == name) for name in "abc"
        }
        victim = left[frame_id]
        assert totals[victim.camera] == max(totals.values())
        worth = {reason: at for at, reason in enumerate(Reason)}
        mine = [
            (worth[each.reason], -each.confidence) for each in left.values() if each.camera == victim.camera
        ]
        assert (worth[victim.reason], -victim.confidence) == min(mine)
        del left[frame_id]


def test_what_a_person_left_out_goes_first() -> None:
    held = [
        Held(1, "a", 100, Reason.UNSURE, 0.5, None),
        Held(2, "b", 100, Reason.MARKED, 0.1, LEFT_OUT),
        Held(3, "a", 100, Reason.UNSURE, 0.5, "stop"),
    ]
    assert evicted(held, 150) == [2, 1]
    assert evicted(held, 1_000) == [2, 1]
