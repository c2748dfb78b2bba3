"""An event is what a person would call one: it has stood, and a flicker neither begins nor ends it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from page.events import EventRule, EventTracker, Patience
from schemas.event import Event, Kind, decode_event, encode_event
from schemas.label import AnswerSource, Label, LabelState

S = 1_000_000_000
RULE = EventRule(Patience(stand_s=1.0, gone_s=2.0), by_label={"person": Patience(0.0, 5.0)})


def label(at_s: float, name: str, confidence: float = 0.9, cause: str = "") -> Label:
    state = LabelState.DROPPED if cause else LabelState.FINAL
    at_ns = round(at_s * S)
    return Label(
        "", "gate", round(at_s * 10), state, AnswerSource.EDGE, 1, name, confidence, at_ns, at_ns, 0, cause
    )


def told(frames: list[tuple[float, str]], rule: EventRule = RULE) -> list[tuple[Kind, str, str]]:
    """(kind, label, before) of all events of frames given as (second, label), each label said once a frame."""
    tracker = EventTracker("", "gate", rule)
    return [
        (event.kind, event.label, event.before)
        for at_s, name in frames
        for event in tracker.see(label(at_s, name))
    ]


def every(begin_s: float, end_s: float, name: str) -> list[tuple[float, str]]:
    """A frame each 200 ms in [begin, end)."""
    return [(begin_s + 0.2 * step, name) for step in range(round((end_s - begin_s) * 5))]


def test_a_label_begins_once_it_has_stood() -> None:
    assert told(every(0, 1, "stop")) == []
    assert told(every(0, 1.4, "stop")) == [(Kind.BEGUN, "stop", "")]


def test_a_flicker_is_no_event() -> None:
    frames = [*every(0, 2, "stop"), (2.0, "yield"), *every(2.2, 4, "stop"), (4.0, "yield"), (4.2, "stop")]
    assert told(frames) == [(Kind.BEGUN, "stop", "")]


def test_a_label_that_comes_back_in_time_has_not_ended() -> None:
    frames = [*every(0, 2, "stop"), *every(2, 3.6, "none"), *every(3.6, 5, "stop")]
    assert told(frames) == [(Kind.BEGUN, "stop", "")]


def test_a_label_ends_once_it_was_gone() -> None:
    frames = [*every(0, 2, "stop"), *every(2, 5, "none")]
    assert told(frames) == [(Kind.BEGUN, "stop", ""), (Kind.ENDED, "stop", "")]


def test_another_label_that_stands_changes_it() -> None:
    frames = [*every(0, 2, "stop"), *every(2, 3.4, "yield")]
    assert told(frames) == [(Kind.BEGUN, "stop", ""), (Kind.CHANGED, "yield", "stop")]


def test_a_class_has_its_own_patience() -> None:
    assert told([(0.0, "person")]) == [(Kind.BEGUN, "person", "")]


def test_frames_that_nobody_is_sure_of_begin_nothing() -> None:
    tracker = EventTracker("", "gate", RULE)
    assert [event for step in range(20) for event in tracker.see(label(0.2 * step, "stop", 0.4))] == []


def test_unknown_can_be_told_where_it_is_wanted() -> None:
    rule = EventRule(RULE.patience, ignored=frozenset({"none"}))
    tracker = EventTracker("", "gate", rule)
    events = [event for step in range(8) for event in tracker.see(label(0.2 * step, "stop", 0.4))]
    assert [(event.kind, event.label) for event in events] == [(Kind.BEGUN, "unknown")]


def test_a_silent_camera_ends_its_event() -> None:
    tracker = EventTracker("", "gate", RULE)
    for at_s, name in every(0, 2, "stop"):
        tracker.see(label(at_s, name))
    quiet_at_ns = tracker.quiet_at_ns
    assert quiet_at_ns == round(3.8 * S)
    assert tracker.quiet(quiet_at_ns - 1) == []
    (ended,) = tracker.quiet(quiet_at_ns)
    assert (ended.kind, ended.last_seq, ended.at_ns) == (Kind.ENDED, 18, round(1.8 * S))
    assert tracker.standing == ""


def test_a_camera_whose_clock_was_set_back_goes_on() -> None:
    frames = [*every(100, 102, "stop"), *every(50, 52.4, "yield")]
    assert told(frames) == [(Kind.BEGUN, "stop", ""), (Kind.ENDED, "stop", ""), (Kind.BEGUN, "yield", "")]


def test_stragglers_between_newer_frames_set_nothing_back() -> None:
    frames = [*every(100, 102, "stop")]
    for step in range(10):
        frames += [(50 + 0.2 * step, "yield"), (102 + 0.2 * step, "stop")]
    assert told(frames) == [(Kind.BEGUN, "stop", "")]


def test_dropped_frames_and_late_answers_begin_nothing() -> None:
    tracker = EventTracker("", "gate", RULE)
    for at_s, name in every(0, 2, "stop"):
        tracker.see(label(at_s, name))
    assert tracker.see(label(2.0, "", cause="too_old")) == []
    assert tracker.see(label(0.4, "yield")) == []
    assert tracker.standing == "stop"


def test_an_event_rests_on_its_best_frame() -> None:
    tracker = EventTracker("", "gate", RULE)
    events = []
    for step in range(8):
        events += tracker.see(label(0.2 * step, "stop", 0.95 if step == 3 else 0.7))
    (begun,) = events
    assert (begun.first_seq, begun.best_seq, begun.confidence) == (0, 6, 0.95)
    assert begun.id == "gate:0:begun"


@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["stop", "yield", "none", "person"]))))
def test_kinds_alternate_and_a_second_run_tells_the_same(steps: list[tuple[int, str]]) -> None:
    frames = [(0.2 * at, name) for at, name in sorted(steps, key=lambda each: each[0])]
    events = told(frames)
    standing = ""
    for kind, name, before in events:
        if kind is Kind.BEGUN:
            assert standing == ""
        elif kind is Kind.CHANGED:
            assert before == standing != ""
        else:
            assert name == standing
        standing = "" if kind is Kind.ENDED else name
    assert told(frames) == events


@given(
    st.builds(
        Event,
        id=st.text(max_size=50),
        site=st.text(max_size=20),
        camera=st.from_regex(r"(north/)?[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True),
        kind=st.sampled_from(Kind),
        label=st.text(max_size=20),
        before=st.text(max_size=20),
        at_ns=st.integers(0, 2**63 - 1),
        first_seq=st.integers(0, 2**63 - 1),
        best_seq=st.integers(0, 2**63 - 1),
        last_seq=st.integers(0, 2**63 - 1),
        confidence=st.floats(0, 1),
    )
)
def test_an_event_reads_back_as_it_was_written(event: Event) -> None:
    assert decode_event(encode_event(event)) == event
