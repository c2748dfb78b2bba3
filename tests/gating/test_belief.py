"""The belief of a camera: the paper's rule as its special case, and a slow direct filter as its measure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gating.belief import MAX_ASKS, MAX_WAITING, CameraBelief, Step, spread, stay, trust
from gating.entropy import min_entropy_bits, softmax
from gating.gate import Gate
from schemas.belief_rule import STILLS, BeliefRule

CLASSES = 4
SECOND = 10**9
logit_rows = st.lists(st.floats(-8, 8, width=32), min_size=CLASSES, max_size=CLASSES).map(
    lambda values: np.asarray(values, dtype=np.float32)
)
probability_rows = st.lists(st.floats(0.01, 1), min_size=CLASSES, max_size=CLASSES).map(
    lambda values: np.asarray(values) / sum(values)
)
angles = st.floats(0, 3)
"""An embedding is a point on the unit circle, so that cosines are easy to choose."""
rules = st.builds(
    BeliefRule,
    floor=st.floats(0, 0.9),
    gamma=st.floats(0.1, 3),
    memory_s=st.sampled_from([math.inf, 2.0, 0.5]),
    alpha=st.floats(0.2, 1.5),
    beta=st.floats(0, 2),
    redundancy=st.floats(0, 1),
    prior=st.sampled_from([(), (0.7, 0.1, 0.1, 0.1)]),
)


def embedding(angle: float) -> np.ndarray:
    return np.asarray([3 * math.cos(angle), 3 * math.sin(angle)], dtype=np.float32)


def unsure(camera: CameraBelief, step: Step, now_s: float = 0.0) -> bool:
    """The gate doubts the frame; return whether it asks."""
    return camera.judged(step, unsure=True, now_s=now_s)[0]


@dataclass
class DirectFilter:
    """The formulas as they are written, in plain Python numbers."""

    rule: BeliefRule
    b: list[float] | None = None
    angle: float = 0.0
    at_s: float = 0.0

    def see(self, p: np.ndarray, angle: float, at_s: float) -> float:
        prior = self.rule.prior or (1 / CLASSES,) * CLASSES
        kept = 0.0
        if self.b is not None:
            cosine = math.cos(angle - self.angle)
            kept = max(0.0, (cosine - self.rule.floor) / (1 - self.rule.floor)) ** self.rule.gamma
            kept *= 0.5 ** ((at_s - self.at_s) / self.rule.memory_s)
        mixed = [kept * b + (1 - kept) * q for b, q in zip(self.b or prior, prior, strict=True)]
        weight = self.rule.alpha * (1 - self.rule.redundancy * kept)
        self.b = normalised([m * x**weight for m, x in zip(mixed, p, strict=True)])
        self.angle, self.at_s = angle, at_s
        return kept

    def answer(self, server: np.ndarray, weight: float) -> None:
        assert self.b is not None
        self.b = normalised([b * q ** (self.rule.beta * weight) for b, q in zip(self.b, server, strict=True)])


def normalised(values: list[float]) -> list[float]:
    return [value / sum(values) for value in values]


@given(st.lists(logit_rows, min_size=1, max_size=6), st.floats(0, 3))
def test_without_memory_it_is_the_papers_rule_to_the_bit(rows: list[np.ndarray], tau: float) -> None:
    camera, gate = CameraBelief(STILLS), Gate()
    steps = [camera.see(seq, seq * SECOND, row, embedding(0.0)) for seq, row in enumerate(rows)]
    beliefs = np.stack([step.logits for step in steps])
    assert gate.decide(beliefs, tau) == gate.decide(np.stack(rows), tau)
    assert min_entropy_bits(beliefs).tobytes() == min_entropy_bits(np.stack(rows)).tobytes()
    assert unsure(camera, steps[-1])
    assert unsure(camera, camera.see(len(rows), 0, rows[0], embedding(0.0)))


@given(rules, st.lists(st.tuples(logit_rows, angles, st.floats(0, 2)), min_size=1, max_size=8))
def test_it_is_the_filter_that_the_formula_says(
    rule: BeliefRule, frames: list[tuple[np.ndarray, float, float]]
) -> None:
    camera, direct, at_s = CameraBelief(rule), DirectFilter(rule), 0.0
    for seq, (row, angle, gap_s) in enumerate(frames):
        at_s += gap_s
        step = camera.see(seq, round(at_s * 1e9), row, embedding(angle))
        direct.see(softmax(row), angle, at_s)
        assert direct.b is not None
        np.testing.assert_allclose(softmax(step.logits), np.array(direct.b), rtol=1e-3, atol=1e-5)


def smoothed(rule: BeliefRule, kept: list[float], evidence: list[np.ndarray]) -> list[np.ndarray]:
    """Each frame's posterior by all frames: the sum over every path of classes, frame by frame."""
    prior = np.asarray(rule.prior or (1 / CLASSES,) * CLASSES)
    paths: dict[tuple[int, ...], float] = {(): 1.0}
    for stay_, row in zip(kept, evidence, strict=True):
        grown: dict[tuple[int, ...], float] = {}
        for path, share in paths.items():
            for label in range(CLASSES):
                moved = (1 - stay_) * prior[label] + (stay_ if path and path[-1] == label else 0.0)
                if not path:
                    moved = prior[label]
                grown[*path, label] = share * moved * row[label]
        paths = grown
    found = np.zeros((len(kept), CLASSES))
    for path, share in paths.items():
        for frame, label in enumerate(path):
            found[frame, label] += share
    return list(found / found.sum(axis=1, keepdims=True))


@given(rules, st.lists(st.tuples(logit_rows, angles), min_size=2, max_size=5), probability_rows, st.data())
def test_what_waited_ends_with_all_that_the_other_frames_and_the_server_say(
    rule: BeliefRule, frames: list[tuple[np.ndarray, float]], server: np.ndarray, data: st.DataObject
) -> None:
    asked = data.draw(st.integers(0, len(frames) - 1))
    rule = replace(rule, patience_s=asked / 5, least_weight=1e-9)
    camera, direct = CameraBelief(rule), DirectFilter(rule)
    kept, evidence, asks = [], [], []
    for seq, (row, angle) in enumerate(frames):
        kept.append(direct.see(softmax(row), angle, seq / 5))
        evidence.append(softmax(row) ** (rule.alpha * (1 - rule.redundancy * kept[-1])))
        if unsure(camera, camera.see(seq, seq * SECOND // 5, row, embedding(angle))):
            asks.append(seq)
    assert asks[0] == asked
    evidence[asked] = evidence[asked] * server**rule.beta
    ended = camera.answer(asked, server)
    waited = [seq for seq in range(len(frames)) if seq not in asks[1:]]
    assert [(step.seq, step.rests_on) for step in ended] == [(seq, asked) for seq in waited]
    by_all = smoothed(rule, kept, evidence)
    for step in ended:
        np.testing.assert_allclose(softmax(step.logits), by_all[step.seq], rtol=1e-2, atol=1e-5)
    present = camera.see(len(frames) - 1, 0, frames[-1][0], embedding(0.0))
    np.testing.assert_allclose(softmax(present.logits), by_all[-1], rtol=1e-2, atol=1e-5)


def test_nothing_is_asked_while_an_answer_that_counts_is_under_way() -> None:
    camera = CameraBelief(BeliefRule(least_weight=0.5))
    row = np.zeros(CLASSES, dtype=np.float32)
    assert unsure(camera, camera.see(1, 0, row, embedding(0.0)))
    assert not unsure(camera, camera.see(2, 0, row, embedding(0.1)))
    # Another object: the cosine falls to cos(1.2) = .36, and the answer no longer counts.
    assert unsure(camera, camera.see(3, 0, row, embedding(1.3)))
    assert not unsure(camera, camera.see(4, 0, row, embedding(1.3)))


def test_a_frame_that_asked_ends_with_its_own_answer_only() -> None:
    camera, row = CameraBelief(BeliefRule(), 2.0), np.zeros(CLASSES, dtype=np.float32)
    server = np.asarray([0.97, 0.01, 0.01, 0.01])
    for seq, angle in ((1, 0.0), (2, 1.3)):
        assert unsure(camera, camera.see(seq, 0, row, embedding(angle)))
    assert [step.seq for step in camera.answer(1, server)] == [1]
    late = camera.see(3, 0, row, embedding(1.3))
    assert camera.judged(late, unsure=True, now_s=1.6) == (False, [])
    assert [step.seq for step in camera.answer(2, server)] == [2, 3]


def test_a_doubt_asks_once_it_has_lasted_and_begins_anew_after_a_sure_frame() -> None:
    camera, row = CameraBelief(BeliefRule(patience_s=0.5)), np.zeros(CLASSES, dtype=np.float32)
    asks = []
    for seq in range(10):
        step = camera.see(seq, seq * SECOND // 5, row, embedding(0.0))
        asks.append(camera.judged(step, unsure=seq != 2, now_s=seq / 5)[0])
    assert [seq for seq, each in enumerate(asks) if each] == [6]


@pytest.mark.parametrize(
    ("agreed", "answers", "agreement", "expected"),
    [
        (0, 0, 0.6, 1.0),  # nothing heard
        (6, 10, 0.6, 1.0),  # as expected
        (10, 10, 0.6, 1.0),  # better: no more than the calibrated weight
        (0, 8, 0.6, 0.25),  # half of the share: a quarter of the weight
        (4, 8, 1.0, 0.5625),
    ],
)
def test_the_trust_is_the_square_of_the_agreement_beside_the_expected_one(
    agreed: float, answers: float, agreement: float, expected: float
) -> None:
    found = trust(np.array([agreed]), np.array([answers]), np.array([agreement]))
    assert found == pytest.approx([expected])


def after_answers(rule: BeliefRule, *, contradicted: bool, looks: int = 20) -> tuple[Step, int]:
    """A camera whose every look is another object; each asks, and is answered. Return the step after, and its asks."""
    camera, row = CameraBelief(rule), np.asarray([1.5, 0.0, 0.0, 0.0], dtype=np.float32)
    says = np.asarray([0.02, 0.94, 0.02, 0.02] if contradicted else [0.94, 0.02, 0.02, 0.02])
    asks = 0
    for seq in range(looks):
        step = camera.see(seq, seq * SECOND, row, embedding(1.6 * (seq % 2)))
        asked, _ = camera.judged(step, unsure=bool(min_entropy_bits(step.logits) >= 1.0), now_s=float(seq))
        asks += asked
        camera.answer(seq, says)
    return camera.see(looks, looks * SECOND, row, embedding(1.6 * (looks % 2))), asks


def test_a_camera_that_the_server_contradicts_doubts_more_and_asks_on() -> None:
    plain, learns = BeliefRule(floor=0.5), BeliefRule(floor=0.5, agreement=0.6)
    by_itself, asks = after_answers(plain, contradicted=True)
    assert asks == 0  # sure of what is wrong, so nobody tells it
    eager = replace(learns, alpha=0.5)
    contradicted, asks = after_answers(eager, contradicted=True)
    confirmed, others = after_answers(eager, contradicted=False)
    assert (asks, others) == (20, 20)
    assert min_entropy_bits(contradicted.logits) > min_entropy_bits(confirmed.logits) + 0.3
    untold, _ = after_answers(replace(eager, agreement=0.0), contradicted=True)
    np.testing.assert_array_equal(confirmed.logits, untold.logits)
    np.testing.assert_array_equal(by_itself.logits, after_answers(learns, contradicted=True)[0].logits)


def test_an_answer_that_nobody_waits_for_teaches_nothing() -> None:
    camera, row = CameraBelief(BeliefRule(floor=0.5, agreement=0.6)), np.zeros(CLASSES, dtype=np.float32)
    assert unsure(camera, camera.see(1, 0, row, embedding(0.0)))
    camera.answer(1, np.asarray([0.01, 0.97, 0.01, 0.01]))
    once = camera.see(2, SECOND, np.asarray([1, 0, 0, 0], np.float32), embedding(1.6)).logits
    for _ in range(9):
        camera.answer(1, np.asarray([0.01, 0.97, 0.01, 0.01]))
    again = camera.see(3, 2 * SECOND, np.asarray([1, 0, 0, 0], np.float32), embedding(0.0)).logits
    np.testing.assert_array_equal(once, again)


def test_a_doubt_that_ends_by_itself_ends_what_waited() -> None:
    camera, row = CameraBelief(BeliefRule(patience_s=9.0)), np.zeros(CLASSES, dtype=np.float32)
    sure = np.asarray([0.0, 9.0, 0.0, 0.0], dtype=np.float32)
    for seq in range(3):
        assert camera.judged(camera.see(seq, 0, row, embedding(0.0)), unsure=True, now_s=0.0) == (False, [])
    last = camera.see(3, 0, sure, embedding(0.0))
    asks, ended = camera.judged(last, unsure=False, now_s=0.0)
    assert not asks
    assert [(step.seq, step.rests_on, int(step.logits.argmax())) for step in ended] == [
        (seq, None, 1) for seq in range(3)
    ]


def test_no_frame_waits_longer_than_its_label_may_take_nor_for_an_answer_that_comes_too_late() -> None:
    camera, row = CameraBelief(BeliefRule(patience_s=9.0), 2.0), np.zeros(CLASSES, dtype=np.float32)
    told = []
    for seq in range(16):
        step = camera.see(seq, seq * SECOND // 5, row, embedding(0.0))
        asks, ended = camera.judged(step, unsure=True, now_s=seq / 5)
        told.append((asks, [each.seq for each in ended]))
    # The patience is at most half of the latency; what is seen at 0 s ends at 1.6 s, the next one 0.2 s later.
    assert [seq for seq, (asks, _) in enumerate(told) if asks] == [5, 15]
    assert [ended for _, ended in told] == [[]] * 8 + [[0], [1], [2], [3], [4], [], [6], [5, 7]]


def test_a_camera_whose_clock_was_put_back_in_a_doubt_still_asks() -> None:
    camera, row = CameraBelief(BeliefRule(patience_s=0.9)), np.zeros(CLASSES, dtype=np.float32)
    asked = []
    for seq in range(20):
        captured_ns = 7200 * SECOND * (seq < 2) + seq * SECOND // 5
        asks, _ = camera.judged(camera.see(seq, captured_ns, row, embedding(0.0)), unsure=True, now_s=seq / 5)
        asked.append(asks)
    assert any(asked)


def test_a_frame_rests_on_the_last_answer_as_long_as_it_counts() -> None:
    camera, row = CameraBelief(BeliefRule()), np.zeros(CLASSES, dtype=np.float32)
    assert unsure(camera, camera.see(1, 0, row, embedding(0.0)))
    assert camera.see(2, 0, row, embedding(0.0)).rests_on is None
    camera.answer(1, np.asarray([0.97, 0.01, 0.01, 0.01]))
    near = camera.see(3, 0, row, embedding(0.0))
    assert near.rests_on == 1
    assert near.logits.argmax() == 0
    assert camera.see(4, 0, row, embedding(1.5)).rests_on is None


def test_an_answer_that_comes_twice_or_never_asked_for_changes_nothing() -> None:
    camera, row = CameraBelief(BeliefRule()), np.zeros(CLASSES, dtype=np.float32)
    server = np.asarray([0.97, 0.01, 0.01, 0.01])
    assert unsure(camera, camera.see(1, 0, row, embedding(0.0)))
    assert camera.answer(1, server)
    before = camera.see(1, 0, row, embedding(0.0))
    assert camera.answer(1, server) == []
    assert camera.answer(7, server) == []
    assert camera.see(1, 0, row, embedding(0.0)) is before


def test_an_ask_that_is_given_up_ends_what_waited_and_another_may_be_made() -> None:
    camera, row = CameraBelief(BeliefRule()), np.zeros(CLASSES, dtype=np.float32)
    assert unsure(camera, camera.see(1, 0, row, embedding(0.0)))
    assert not unsure(camera, camera.see(2, 0, row, embedding(0.0)))
    assert [step.seq for step in camera.give_up(1)] == [1, 2]
    assert camera.give_up(1) == []
    assert unsure(camera, camera.see(3, 0, row, embedding(0.0)))


@given(logit_rows, logit_rows, logit_rows)
def test_a_frame_out_of_order_stands_for_itself(
    early: np.ndarray, late: np.ndarray, after: np.ndarray
) -> None:
    rule = BeliefRule(alpha=0.4)
    one, other = CameraBelief(rule), CameraBelief(rule)
    for camera in (one, other):
        camera.see(5, 5 * SECOND, early, embedding(0.0))
    stranger = one.see(3, 3 * SECOND, late, embedding(0.0))
    assert stranger.logits.tobytes() == late.astype(np.float64).tobytes()
    assert unsure(one, stranger)
    assert one.answer(3, np.full(CLASSES, 1 / CLASSES)) == []
    mine, theirs = (camera.see(6, 6 * SECOND, after, embedding(0.1)) for camera in (one, other))
    assert mine.logits.tobytes() == theirs.logits.tobytes()


@given(
    rules,
    st.lists(st.tuples(logit_rows, angles, st.integers(0, 3)), min_size=1, max_size=6),
    probability_rows,
)
def test_still_frames_leave_no_trace(
    rule: BeliefRule, frames: list[tuple[np.ndarray, float, int]], server: np.ndarray
) -> None:
    """They show the last belief; that at every other frame, and what an answer does, is as if they had not been."""
    with_stills, without = CameraBelief(rule), CameraBelief(rule)
    seq = extra = 0
    for row, angle, stills in frames:
        moved = with_stills.see(seq, seq * SECOND, row, embedding(angle))
        plain = without.see(seq - extra, seq * SECOND, row, embedding(angle))
        assert moved.logits.tobytes() == plain.logits.tobytes()
        if seq == 0:
            assert unsure(with_stills, moved)
            assert unsure(without, plain)
        for _ in range(stills):
            seq, extra = seq + 1, extra + 1
            same = with_stills.see(seq, seq * SECOND, row, embedding(angle), still=True)
            assert (same.seq, same.logits.tobytes()) == (seq, moved.logits.tobytes())
        seq += 1
    with_stills.answer(0, server)
    without.answer(0, server)
    after = with_stills.see(seq, seq * SECOND, frames[0][0], embedding(0.0))
    plain = without.see(seq - extra, seq * SECOND, frames[0][0], embedding(0.0))
    assert after.logits.tobytes() == plain.logits.tobytes()


def test_a_still_frame_waits_with_the_frame_it_looks_like_and_rests_on_its_answer() -> None:
    camera, row = CameraBelief(BeliefRule()), np.zeros(CLASSES, dtype=np.float32)
    assert unsure(camera, camera.see(1, 0, row, embedding(0.0)))
    assert not unsure(camera, camera.see(2, SECOND // 5, row, embedding(0.0), still=True))
    asked, waited = camera.answer(1, np.asarray([0.97, 0.01, 0.01, 0.01]))
    assert (waited.seq, waited.logits.tobytes()) == (2, asked.logits.tobytes())
    after = camera.see(3, SECOND // 2, row, embedding(0.0), still=True)
    assert (after.rests_on, after.logits.argmax()) == (1, 0)


def test_a_still_frame_of_a_camera_that_was_forgotten_is_its_first() -> None:
    row = np.asarray([1.0, 0.0, 0.0, 0.0], dtype=np.float32)
    fresh = CameraBelief(BeliefRule()).see(7, 0, row, embedding(0.0), still=True)
    assert (
        fresh.logits.tobytes() == CameraBelief(BeliefRule()).see(7, 0, row, embedding(0.0)).logits.tobytes()
    )


def test_a_replay_of_a_frame_that_waits_asks_nothing() -> None:
    camera, row = CameraBelief(BeliefRule()), np.zeros(CLASSES, dtype=np.float32)
    assert unsure(camera, camera.see(1, 0, row, embedding(0.0)))
    assert not unsure(camera, camera.see(2, 0, row, embedding(0.0)))
    assert not any(unsure(camera, camera.see(seq, 0, row, embedding(0.0))) for seq in (1, 2))


def test_what_waits_and_what_is_kept_for_it_are_bounded() -> None:
    camera, row = CameraBelief(BeliefRule()), np.zeros(CLASSES, dtype=np.float32)
    for seq in range(2 * MAX_WAITING):
        unsure(camera, camera.see(seq, 0, row, embedding(0.0)))
    assert len(camera.answer(0, np.full(CLASSES, 0.25))) == MAX_WAITING
    for seq in range(1000, 1000 + 2 * MAX_ASKS):
        assert unsure(camera, camera.see(seq, 0, row, embedding(seq * math.pi)))
    assert camera.answer(1000, np.full(CLASSES, 0.25)) == []
    assert camera.answer(1000 + 2 * MAX_ASKS - 1, np.full(CLASSES, 0.25))


@pytest.mark.parametrize(
    ("cosine", "dt_s", "expected"),
    [
        (1.0, 0.0, 1.0),
        (1.0, 2.0, 0.5),
        (0.75, 0.0, 0.25),
        (0.5, 0.0, 0.0),
        (-1.0, 0.0, 0.0),
        (1.0000001, 0.0, 1.0),
    ],
)
def test_the_stay_falls_with_distance_and_time(cosine: float, dt_s: float, expected: float) -> None:
    rule = BeliefRule(floor=0.5, gamma=2.0, memory_s=2.0)
    assert stay(cosine, dt_s, rule) == pytest.approx(expected)


@given(probability_rows)
def test_leading_classes_are_spread_to_a_whole_distribution(full: np.ndarray) -> None:
    leading = np.argsort(-full)[:2]
    made = spread(leading.tolist(), full[leading].tolist(), CLASSES)
    assert made.sum() == pytest.approx(1.0)
    assert made[leading].tolist() == full[leading].tolist()
    assert len(set(np.delete(made, leading).tolist())) == 1
    np.testing.assert_array_equal(spread(range(CLASSES), full.tolist(), CLASSES), full)


@pytest.mark.parametrize(
    ("classes", "probabilities"), [([4], [0.5]), ([1, 1], [0.5, 0.1]), ([1], [1.5]), ([1, 2], [0.5])]
)
def test_an_answer_that_is_none_is_refused(classes: list[int], probabilities: list[float]) -> None:
    with pytest.raises(ValueError, match=r"classes|probabilities"):
        spread(classes, probabilities, CLASSES)
