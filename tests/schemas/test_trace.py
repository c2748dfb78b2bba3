"""Traces: exact through Redis, bounded, and one line that says why."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.bitmap import bitmap_of
from schemas.errors import DecodeError
from schemas.label import AnswerSource, Label, LabelState
from schemas.trace import (
    DELIVERED,
    EDGE,
    LATE,
    MAX_PART_CHARS,
    OFFLOAD,
    SERVER,
    EdgeTrace,
    OffloadTrace,
    ServerTrace,
    Stage,
    Trace,
    decode_trace,
    encode_part,
)

NS = 1_700_000_000_000_000_000
names = st.text(st.characters(codec="utf-8"), max_size=64)
probabilities = st.floats(0, 1).map(lambda p: round(p, 6))
leading = st.lists(st.tuples(names, probabilities), max_size=3).map(tuple)
stages = st.lists(
    st.builds(
        lambda name, began, took: Stage(name, began, began + took),
        st.sampled_from(["read", "prepare", "infer", "gate", "publish"]),
        st.integers(NS, 2 * NS),
        st.integers(0, 10**12),
    ),
    max_size=6,
).map(tuple)
optional = st.none() | st.floats(0, 64)
edges = st.builds(
    EdgeTrace,
    worker=st.just("host:1"),
    stages=stages,
    leading=leading,
    attention=st.binary(min_size=196, max_size=196) | st.just(b""),
    score=optional,
    tau=optional,
    asks=st.booleans(),
    written=st.just("WRITTEN"),
)
offloads = st.builds(
    OffloadTrace,
    stages=stages,
    codec=st.just("webp"),
    quality=st.integers(0, 100),
    delta=st.floats(0, 1),
    bitmap=st.binary(min_size=25, max_size=25),
    num_bytes=st.integers(0, 10**6),
    result=st.sampled_from([DELIVERED, "no_tokens"]),
)
servers = st.builds(
    ServerTrace,
    worker=st.just("host:2"),
    stages=stages,
    leading=leading,
    batch_sets=st.integers(1, 64),
    batch_tokens=st.integers(2, 10_000),
    agrees=st.booleans(),
    written=st.sampled_from(["WRITTEN", LATE]),
)
EDGE_PART = EdgeTrace(
    "h:1", (Stage("read", 5_000_000, 7_000_000),), (("cat", 0.5),), b"", 0.3, 0.8, False, ""
)
SENT = OffloadTrace((), "webp", 75, 0.9, bitmap_of(np.array([2, 7])), 900, DELIVERED)
SERVED = ServerTrace("h:2", (Stage("infer", 1_000_000, 2_000_000),), (("dog", 0.9),), 3, 40, False, "WRITTEN")
LABEL = Label("", "c", 1, LabelState.FINAL, AnswerSource.EDGE, 0, "cat", 0.5, 1_000_000, 2_000_000)


@given(edges | st.none(), offloads | st.none(), servers | st.none())
def test_parts_come_back_as_they_were_within_their_bound(
    edge: EdgeTrace | None, offload: OffloadTrace | None, server: ServerTrace | None
) -> None:
    parts = {EDGE: edge, OFFLOAD: offload, SERVER: server}
    texts = {name: encode_part(part) for name, part in parts.items() if part is not None}
    assert all(len(text) <= MAX_PART_CHARS for text in texts.values())
    assert decode_trace({**texts, "later": "no JSON"}) == Trace(edge, offload, server)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no JSON", "bad_json"),
        ("[]", "wrong_type"),
        ("{}", "missing_field"),
        (encode_part(replace(EDGE_PART, attention=b"short")), "out_of_range"),
        (encode_part(EDGE_PART).replace('"attention":""', '"attention":"~"'), "wrong_type"),
        (encode_part(EDGE_PART).replace('["cat",0.5]', '["cat"]'), "wrong_type"),
        (encode_part(EDGE_PART).replace("0.5", "1.5"), "out_of_range"),
        ("x" * (MAX_PART_CHARS + 1), "too_large"),
    ],
)
def test_what_is_no_part_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(DecodeError) as refused:
        decode_trace({EDGE: text})
    assert refused.value.reason == reason


PROVISIONAL = replace(LABEL, state=LabelState.PROVISIONAL)


@pytest.mark.parametrize(
    ("label", "trace", "why"),
    [
        (LABEL, Trace(EDGE_PART), "the edge was sure: score 0.3 is below tau 0.8"),
        (
            LABEL,
            Trace(replace(EDGE_PART, score=0.9)),
            "the edge was unsure (score 0.9), but no time was left",
        ),
        (LABEL, Trace(replace(EDGE_PART, tau=None)), "the edge asks no server"),
        (LABEL, Trace(), "the edge's answer stands"),
        (replace(LABEL, state=LabelState.DROPPED, cause="too_old"), Trace(EDGE_PART), "dropped: too_old"),
        (
            replace(LABEL, source=AnswerSource.BELIEF, rests_on=0),
            Trace(EDGE_PART),
            "the camera's belief, with the server's answer about frame 0",
        ),
        (replace(LABEL, source=AnswerSource.BELIEF), Trace(EDGE_PART), "the camera's belief, alone"),
        (
            replace(LABEL, source=AnswerSource.BELIEF, same_as=4),
            Trace(EDGE_PART),
            "the camera's belief, alone; it looks like frame 4, not classified again",
        ),
        (PROVISIONAL, Trace(EDGE_PART), "the frame waits for the server's answer about an earlier one"),
        (PROVISIONAL, Trace(replace(EDGE_PART, asks=True)), "the record waits in the edge's uplink"),
        (
            PROVISIONAL,
            Trace(EDGE_PART, replace(SENT, result="no_tokens")),
            "the record was not sent: no_tokens",
        ),
        (PROVISIONAL, Trace(EDGE_PART, SENT), "the record was sent; no server's answer has come"),
        (
            PROVISIONAL,
            Trace(EDGE_PART, SENT, replace(SERVED, written=LATE)),
            "the server's answer came after",
        ),
        (
            replace(LABEL, source=AnswerSource.SERVER),
            Trace(EDGE_PART, SENT, SERVED),
            "the server answered in place",
        ),
        (
            replace(LABEL, source=AnswerSource.SERVER),
            Trace(EDGE_PART, SENT, replace(SERVED, agrees=True)),
            "the server agreed with the edge",
        ),
    ],
)
def test_one_line_says_why_the_frame_has_its_label(label: Label, trace: Trace, why: str) -> None:
    assert trace.why(label).startswith(why)


def test_as_json_stages_stand_in_order_in_milliseconds_since_the_capture() -> None:
    found = json.loads(json.dumps(Trace(EDGE_PART, SENT, SERVED).to_json(LABEL)))
    assert found["stages"] == [["infer", 0.0, 1.0], ["read", 4.0, 6.0]]
    assert (found["patches"], found["edge"], found["server"]) == ([2, 7], [["cat", 0.5]], [["dog", 0.9]])
    assert found["attention"] is None
