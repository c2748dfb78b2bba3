"""One belief a camera: what its frames, and the server's answers about them, say of what it shows.

A hidden Markov model's filter. With the edge's probabilities p of each frame,

    b <- normalise((s · b + (1 - s) · prior) · p^(alpha · trust · (1 - redundancy · s)))

where the stay s comes from the cosine of the frame's embedding with the last one's, and the time between. The
server's answer about a frame is further evidence of that frame, p_server^beta, also where it comes late.
`BeliefRule` holds the parameters.

The trust is 1 until the server's answers contradict the edge more often than the rule expects: a camera that the edge
is blind to (other light, another lens) shows itself by them, and its belief then doubts and asks more.

A frame in doubt waits, and the server is asked only when the doubt has lasted for the rule's patience: most doubts
end by themselves as an object comes nearer, and the frame that asks then is the nearest. What waited ends with
everything that is known by then, also of the frames after it: the model's smoother (forward-backward).

A belief is kept as a row of logits, so that every score of the gate applies to it as to a model's own outputs.
With s = 0, alpha = 1 and an even prior that row is the model's own, to the bit.

A still frame, which looks like the last one and was not classified, has the belief of that one and leaves no trace:
it is no second witness. The belief at every other frame is what it would be if the still ones had never been taken.
As evidence and forgetting both follow the time between two looks, it settles where that of every frame would.

Pure numpy without clock or await; the worker that owns a camera's partition holds its belief. Not thread-safe.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gating.cameras import Cameras
from gating.entropy import FloatArray, softmax
from schemas.belief_rule import STILLS, BeliefRule

Logits = NDArray[np.float64]
Embedding = NDArray[np.float32]

MAX_WAITING: Final = 64
"""Frames of one camera that may wait: two seconds at 25 frames/s and some room."""
MAX_ASKS: Final = 64
"""Asks of one camera under way; beyond, the oldest is forgotten."""
WAIT_SHARE: Final = 0.75
"""A frame waits for this part of the latency that is allowed: the rest is for writing its label."""
LEAST_PROBABILITY: Final = 1e-6
"""No single answer may rule out a class."""
TRUST_ANSWERS: Final = 8.0
"""Each camera begins as if so many answers had come that agree as often as the rule expects."""
TRUST_MEMORY: Final = 0.98
"""What is left of an answer's say about the trust after the next one: light and lens change."""
_TINY: Final = 1e-300
"""Keeps a class's logarithm finite where nothing of it is left."""


def stay(cosine: float, dt_s: float, rule: BeliefRule) -> float:
    """Return which share of the belief is kept from one frame to the next, in [0, 1].

    Args:
        cosine: of the two embeddings, in [-1, 1].
        dt_s: seconds between the captures, >= 0.
        rule: the camera's parameters.
    """
    if rule.memory_s == 0:
        return 0.0
    near = max(0.0, (min(cosine, 1.0) - rule.floor) / (1.0 - rule.floor))
    return float(near**rule.gamma * 2.0 ** (-dt_s / rule.memory_s))


def fuse(belief: FloatArray, server: NDArray[np.float64], weight: float) -> Logits:
    """Return the logits of b · p_server^weight, from (C,) logits of b and (C,) probabilities of the server.

    With the logits of one frame's p and a weight above 0 this is the fused answer of a still.
    """
    return np.asarray(belief + weight * np.log(np.maximum(server, LEAST_PROBABILITY)), dtype=np.float64)


def spread(classes: Sequence[int], probabilities: Sequence[float], num_classes: int) -> NDArray[np.float64]:
    """Return (C,) probabilities from an answer's leading classes; the rest is spread evenly over the others.

    Raises:
        ValueError: a class is outside 0 to C - 1 or named twice, or a probability is outside [0, 1].
    """
    if len(set(classes)) != len(classes) or not all(0 <= each < num_classes for each in classes):
        raise ValueError(f"classes: {list(classes)}, must be different ones in 0 to {num_classes - 1}")
    if len(probabilities) != len(classes) or not all(0 <= each <= 1 for each in probabilities):
        raise ValueError(f"probabilities: {list(probabilities)}, must be one in [0, 1] a class")
    others = num_classes - len(classes)
    even = max(0.0, 1.0 - sum(probabilities)) / others if others else 0.0
    full = np.full(num_classes, even)
    full[list(classes)] = probabilities
    return full


def trust(agreed: FloatArray, answers: FloatArray, agreement: FloatArray) -> FloatArray:
    """Return by how much a camera's evidence counts, in (0, 1]: the square of its agreement beside the expected one.

    Args:
        agreed: of `answers`, in how many the server said the same as the edge; both faded by `TRUST_MEMORY`.
        answers: heard of the camera.
        agreement: of the rule, above 0.
    """
    share = (agreed + TRUST_ANSWERS * agreement) / (answers + TRUST_ANSWERS)
    return np.asarray(np.minimum(1.0, share / agreement) ** 2)


@dataclass(frozen=True, slots=True)
class Step:
    """What a camera's belief is at one frame.

    `logits` (C,) float64: its logarithm, up to a constant. `rests_on` is the seq of the last answer that is in the
    belief and still counts.
    """

    seq: int
    logits: Logits
    rests_on: int | None


@dataclass(slots=True, eq=False)
class _Look:
    """A frame with evidence of its own.

    `label` is the edge's class, `kept` the stay from the look before. Both (C,) logits: `evidence` is what the edge,
    and the server where it has answered, say of this frame alone; `belief` what is known by it.
    """

    label: int
    kept: float
    evidence: Logits
    belief: Logits


@dataclass(slots=True)
class _Waiting:
    """A frame that waits for its label: as it was seen, its look, since when, and what is left of it now, if asked."""

    step: Step
    look: _Look
    since_s: float
    weight: float = 1.0


class CameraBelief:
    """The belief of one camera.

    `see` moves it forward; after each, `judged` says what the gate found. Answers and losses may come in any order,
    late, or never. A frame that comes again, or after a later one, changes nothing, and has the plain belief of its
    own p.

    Args:
        rule: the camera's parameters.
        max_latency_s: how long after a frame its answer still counts.

    State: the last frame with its embedding; the looks that something waits on, and the last one; since when the
    belief is in doubt; the frames that wait, and among them the asks under way; the last answer; how many answers were
    heard lately, in how many the server and the edge agreed, and the trust by them.
    """

    def __init__(self, rule: BeliefRule, max_latency_s: float = math.inf) -> None:
        self._rule = rule
        self._max_latency_s = max_latency_s
        self._patience_ns = round(1e9 * min(rule.patience_s, max_latency_s / 2))
        self._last: Step | None = None
        self._looks: deque[_Look] = deque()
        self._looked_ns = self._seen_ns = 0
        self._embedding: Embedding = np.zeros(0, dtype=np.float32)
        self._doubtful_ns: int | None = None
        self._waiting: dict[int, _Waiting] = {}
        self._asks: dict[int, _Waiting] = {}
        self._answered: tuple[int, float] | None = None
        self._answers = self._agreed = 0.0
        self._trust = 1.0

    def __repr__(self) -> str:
        last = None if self._last is None else self._last.seq
        return f"<CameraBelief seq={last} asks={sorted(self._asks)}>"

    def see(
        self,
        seq: int,
        captured_ns: int,
        logits: FloatArray,
        embedding: Embedding,
        *,
        still: bool = False,
    ) -> Step:
        """Return the belief at a frame.

        Args:
            seq: rises from frame to frame.
            captured_ns: when it was taken.
            logits: (C,) finite outputs of the edge's model.
            embedding: (D,) of the same pass, finite.
            still: the frame looks like the last one, whose logits and embedding these are.
        """
        last = self._last
        if last is not None and seq <= last.seq:
            return self._seen_late(seq, logits, last)
        if not still or last is None:
            self._look(captured_ns, logits, _unit(embedding))
        self._seen_ns = captured_ns
        self._last = Step(seq, self._looks[-1].belief, self._rests_on())
        return self._last

    def judged(self, step: Step, *, unsure: bool, now_s: float) -> tuple[bool, list[Step]]:
        """Return whether the server is to be asked about the frame, and the frames whose waiting ends with it.

        An unsure frame waits. It asks where the doubt has lasted for the patience, and no ask is under way whose
        answer will still count. The others end when there is no more doubt and nothing is under way, or when their
        time is over.

        Args:
            step: of the frame that was seen last, or of one that came again or out of order.
            unsure: the gate's score of `step` has reached tau.
            now_s: of a clock that never steps back.
        """
        if self._last is None or step.seq < self._last.seq:
            return unsure and step.seq not in self._waiting, []
        for seq in [seq for seq, ask in self._asks.items() if now_s - ask.since_s >= self._max_latency_s]:
            del self._asks[seq]  # its answer, if one comes, is too late
        is_settled = not unsure and not self._asks
        longest_s = WAIT_SHARE * self._max_latency_s
        ended = self._end(lambda each: is_settled or now_s - each.since_s >= longest_s)
        asks = False
        if not unsure:
            self._doubtful_ns = None
        elif step.seq not in self._waiting:
            asks = self._begin(step, now_s)
        self._forget()
        return asks, ended

    def waits(self, seq: int) -> bool:
        """Return whether a frame waits for its label."""
        return seq in self._waiting

    def asked(self, seq: int) -> Step | None:
        """Return the belief at a frame as it was when the server was asked; None where no answer is waited for."""
        ask = self._asks.get(seq)
        return None if ask is None else ask.step

    def answer(self, seq: int, server: NDArray[np.float64]) -> list[Step]:
        """Return the frames that waited, the asked one too, with the server's (C,) probabilities in their beliefs.

        The belief at every frame from the asked one on takes them in. An answer that nobody waits for any more
        changes nothing and returns nothing.
        """
        ask = self._asks.pop(seq, None)
        if ask is None:
            return []
        self._learn(agrees=ask.look.label == int(server.argmax()))
        ask.look.evidence = fuse(ask.look.evidence, server, self._rule.beta)
        ask.look.belief = fuse(ask.look.belief, server, self._rule.beta)
        for before, look in pairwise(list(self._looks)[self._looks.index(ask.look) :]):
            look.belief = look.evidence + np.log(self._mixed(before.belief, look.kept) + _TINY)
        self._answered = seq, ask.weight
        assert self._last is not None
        self._last = replace(self._last, logits=self._looks[-1].belief, rests_on=self._rests_on())
        ended = [replace(step, rests_on=seq) for step in self._end(lambda _: True)]
        self._forget()
        return ended

    def give_up(self, seq: int) -> list[Step]:
        """Return the frames that waited, as they are now: the answer about `seq` will not come in time."""
        if self._asks.pop(seq, None) is None:
            return []
        ended = self._end(lambda _: not self._asks)
        self._forget()
        return ended

    def _look(self, captured_ns: int, logits: FloatArray, unit: Embedding) -> None:
        """The camera has been looked at once more."""
        kept = 0.0
        if self._looks:
            cosine = float(unit @ self._embedding) if unit.size == self._embedding.size else 0.0
            kept = stay(cosine, max(0, captured_ns - self._looked_ns) / 1e9, self._rule)
        weight = self._rule.alpha * self._trust * (1.0 - self._rule.redundancy * kept)
        evidence = weight * logits.astype(np.float64)
        before = self._prior(logits.size) if kept == 0 else self._mixed(self._looks[-1].belief, kept) + _TINY
        self._looks.append(_Look(int(logits.argmax()), kept, evidence, evidence + np.log(before)))
        self._looked_ns, self._embedding = captured_ns, unit
        for ask in self._asks.values():
            ask.weight *= kept
        if self._answered is not None:
            self._answered = self._answered[0], self._answered[1] * kept
        self._forget()

    def _learn(self, *, agrees: bool) -> None:
        """The server has answered: what the edge says from now on counts by how often the two agree."""
        self._answers = TRUST_MEMORY * self._answers + 1.0
        self._agreed = TRUST_MEMORY * self._agreed + agrees
        if self._rule.agreement:
            self._trust = float(trust(*np.array([self._agreed, self._answers, self._rule.agreement])))

    def _begin(self, step: Step, now_s: float) -> bool:
        """The frame waits from now on, if there is room; return whether it asks."""
        if self._doubtful_ns is None or self._doubtful_ns > self._seen_ns:  # the camera's clock was put back
            self._doubtful_ns = self._seen_ns
        is_awaited = any(ask.weight >= self._rule.least_weight for ask in self._asks.values())
        asks = not is_awaited and max(0, self._seen_ns - self._doubtful_ns) >= self._patience_ns
        waiting = _Waiting(step, self._looks[-1], now_s)
        if asks:
            self._asks[step.seq] = waiting
            while len(self._asks) > MAX_ASKS:
                del self._asks[next(iter(self._asks))]
        if asks or len(self._waiting) < MAX_WAITING:
            self._waiting[step.seq] = waiting
        return asks

    def _end(self, which: Callable[[_Waiting], bool]) -> list[Step]:
        """Return the frames that wait and shall end, oldest first, as all looks so far explain them.

        One whose own answer is under way waits for that: the server writes its label.
        """
        ending = [each for seq, each in self._waiting.items() if which(each) and seq not in self._asks]
        if not ending:
            return []
        for each in ending:
            del self._waiting[each.step.seq]
        smoothed = {each.look: each.look.belief for each in ending}
        later: Logits = np.zeros(ending[0].step.logits.size)
        for look in reversed(self._looks):
            if look in smoothed:
                smoothed[look] = look.belief + later
            later = np.log(self._mixed_backwards(look.evidence + later, look.kept) + _TINY)
        return [replace(each.step, logits=smoothed[each.look]) for each in ending]

    def _mixed(self, belief: Logits, kept: float) -> Logits:
        """Return (C,) what is left of a belief at the next look, C times."""
        return np.asarray(kept * belief.size * softmax(belief) + (1.0 - kept) * self._prior(belief.size))

    def _mixed_backwards(self, evidence: Logits, kept: float) -> Logits:
        """Return (C,) how well each class at the look before explains what came since, up to a factor."""
        share = softmax(evidence)
        return np.asarray(kept * share + (1.0 - kept) * np.mean(share * self._prior(share.size)))

    def _forget(self) -> None:
        """Looks that nothing waits on are gone, but for the last one."""
        needed = {each.look for each in (*self._waiting.values(), *self._asks.values())}
        while len(self._looks) > 1 and self._looks[0] not in needed:
            self._looks.popleft()

    def _seen_late(self, seq: int, logits: FloatArray, last: Step) -> Step:
        """Return the step of a frame that came again, or after a later one."""
        if seq == last.seq:
            return last
        waiting = self._waiting.get(seq)
        return Step(seq, logits.astype(np.float64), None) if waiting is None else waiting.step

    def _prior(self, num_classes: int) -> NDArray[np.float64]:
        """Return C · prior, (C,): exactly 1 everywhere for an even one."""
        return num_classes * np.asarray(self._rule.prior) if self._rule.prior else np.ones(num_classes)

    def _rests_on(self) -> int | None:
        if self._answered is None or self._answered[1] < self._rule.least_weight:
            return None
        return self._answered[0]


class Beliefs(Cameras[CameraBelief]):
    """The beliefs of all cameras of a worker; one outlives its camera's last frame by as long as an answer may take.

    Args:
        rule: of every camera.
        max_latency_s: how long after a frame its answer still counts.
    """

    def __init__(self, rule: BeliefRule = STILLS, max_latency_s: float = math.inf) -> None:
        super().__init__(partial(CameraBelief, rule, max_latency_s))


def _unit(embedding: Embedding) -> Embedding:
    """Return the embedding at length 1; one of length 0 stays, and is near nothing."""
    length = math.sqrt(float(embedding @ embedding))
    return np.asarray(embedding / length if length > 0 else embedding, dtype=np.float32)
