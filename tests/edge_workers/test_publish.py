import numpy as np
import pytest

from edge_workers.decode import Answered, Prepared
from edge_workers.incoming import Incoming, Refused
from edge_workers.publish import EdgeAnswers
from gating.gate import Gate
from runtime.intake import Delivery
from runtime.kafka import Record
from schemas.frame import Frame
from schemas.label import Source, State
from schemas.operating_point import OperatingPoint

S = 1_000_000_000
SITE_NOW_NS = 5_000 * S
UTC_NS = 9_000 * S
POINT = OperatingPoint(tau=0.5, delta=0.9)
ANSWERS = EdgeAnswers(("cat", "dog"), max_latency_ms=2_000)


def incoming(age_s: float, live: bool) -> Incoming:
    frame = Frame("", "c", 1, UTC_NS - round(age_s * S), 9, 9, "jpeg", b"", live=live)
    return Incoming(frame, Delivery(Record("frames", 0, 0, 0, None, b""), lambda *_: None), 0.0)


def answered(frames: list[Incoming], *, sure: bool) -> Answered:
    logits = np.array([[0.0, 50.0 if sure else 0.1]] * len(frames), np.float32)
    batch = Prepared(frames, np.zeros((len(frames), 224, 224, 3), np.uint8), [])
    return Answered(batch, logits, np.full((len(frames), 196), 1 / 196, np.float32))


def test_a_sure_frame_gets_a_final_label_without_deadline() -> None:
    batch = answered([incoming(0.5, live=True)], sure=True)
    (answer,) = ANSWERS.of_batch(batch, Gate().decide(batch.logits, 0.5), POINT, SITE_NOW_NS, UTC_NS)
    label = answer.label
    assert (label.state, label.source, label.name, label.deadline_ns) == (State.FINAL, Source.EDGE, "dog", 0)
    assert label.labelled_ns == SITE_NOW_NS
    assert answer.unsure is None


@pytest.mark.parametrize(
    ("age_s", "live", "left_s"), [(0.0, True, 2.0), (1.5, True, 0.5), (-3.0, True, 2.0), (500.0, False, 2.0)]
)
def test_the_deadline_is_the_sites_time_and_what_the_age_has_left(
    age_s: float, live: bool, left_s: float
) -> None:
    batch = answered([incoming(age_s, live)], sure=False)
    (answer,) = ANSWERS.of_batch(batch, Gate().decide(batch.logits, 0.5), POINT, SITE_NOW_NS, UTC_NS)
    assert answer.label.state is State.PROVISIONAL
    assert answer.label.deadline_ns == SITE_NOW_NS + round(left_s * S)
    assert answer.unsure is not None
    assert (answer.unsure.deadline_ns, answer.unsure.point) == (answer.label.deadline_ns, POINT)


def test_an_unsure_frame_that_no_server_can_answer_in_time_keeps_the_edges_label_for_good() -> None:
    batch = answered([incoming(2.5, live=True)], sure=False)
    (answer,) = ANSWERS.of_batch(batch, Gate().decide(batch.logits, 0.5), POINT, SITE_NOW_NS, UTC_NS)
    assert (answer.label.state, answer.unsure) == (State.FINAL, None)


def test_a_refused_frame_has_a_state_and_a_cause_and_no_class() -> None:
    refused = Refused(incoming(40.0, live=True), State.DROPPED, "too_old")
    label = ANSWERS.of_refused(refused, SITE_NOW_NS).label
    assert (label.state, label.cause, label.label, label.name) == (State.DROPPED, "too_old", -1, "")
