"""One belief a camera: what its frames so far, and the server's answers about them, say of what it shows.

A hidden Markov model's filter. With the edge's probabilities p of each frame,

    b <- normalise((s · b + (1 - s) · prior) · p^(alpha · (1 - redundancy · s)))

where the stay s comes from the cosine of the frame's embedding with the last one's, and the time between. The
server's answer about frame i comes later and joins late: b <- normalise(b · p_server^(beta · w)), where w is the
product of all stays since i. `BeliefRule` holds the parameters.

A belief is kept as a row of logits, so that every score of the gate applies to it as to a model's own outputs.
With s = 0, alpha = 1 and an even prior that row is the model's own, to the bit.

A still frame, which looks like the last one and was not classified, has the belief of that one and leaves no trace:
it is no second witness. The belief at every other frame is what it would be if the still ones had never been taken.
As evidence and forgetting both follow the time between two looks, it settles where that of every frame would.

Pure numpy without clock or await; the worker that owns a camera's partition holds its belief. Not thread-safe.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gating.cameras import Cameras
from gating.entropy import FloatArray, softmax
from schemas.belief_rule import STILLS, BeliefRule

Logits = NDArray[np.float64]
Embedding = NDArray[np.float32]

MAX_HELD: Final = 64
"""Frames of one camera that may wait for answers: two seconds at 25 frames/s and some room."""
MAX_ASKS: Final = 64
"""Asks of one camera under way; beyond, the oldest is forgotten."""
LEAST_PROBABILITY: Final = 1e-6
"""No single answer may rule out a class."""
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


@dataclass(frozen=True, slots=True)
class Step:
    """What a camera's belief is at one frame.

    `logits` (C,) float64: its logarithm, up to a constant. `waits_for` is the seq of an ask under way whose answer
    will still count here: the frame shall not ask, and may be held for that answer. `rests_on` is the seq of the
    last answer that is in the belief and still counts. `chain` and `log_kept` say how much of an earlier frame is
    left at this one: exp of the difference of `log_kept`, and nothing across two chains.
    """

    seq: int
    logits: Logits
    waits_for: int | None
    rests_on: int | None
    chain: int
    log_kept: float

    def weight_of(self, earlier: Step) -> float:
        """Return the product of all stays from an earlier frame to this one, in [0, 1]."""
        return math.exp(min(0.0, self.log_kept - earlier.log_kept)) if self.chain == earlier.chain else 0.0


@dataclass(slots=True)
class _Ask:
    """An ask under way: its frame, and the frames held for its answer."""

    step: Step
    held: list[Step] = field(default_factory=list)


class CameraBelief:
    """The belief of one camera.

    State: the last frame with its embedding; the asks under way; the last answer. `see` moves it forward; answers
    and losses may come in any order, late, or never. A frame that comes again, or after a later one, changes
    nothing, and has the plain belief of its own p.
    """

    def __init__(self, rule: BeliefRule) -> None:
        self._rule = rule
        self._last: Step | None = None
        self._captured_ns = 0
        self._embedding: Embedding = np.zeros(0, dtype=np.float32)
        self._asks: dict[int, _Ask] = {}
        self._answered: Step | None = None
        self._strangers = 0

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
        if still and last is not None:
            step = replace(last, seq=seq)
        else:
            unit = _unit(embedding)
            step = self._moved(seq, captured_ns, logits, unit)
            self._captured_ns, self._embedding = captured_ns, unit
        self._last = replace(step, waits_for=self._waited_for(step), rests_on=self._rested_on(step))
        return self._last

    def ask(self, step: Step) -> None:
        """The server has been asked about this frame; its answer is waited for."""
        self._asks[step.seq] = _Ask(step)
        while len(self._asks) > MAX_ASKS:
            del self._asks[next(iter(self._asks))]

    def asked(self, seq: int) -> Step | None:
        """Return the belief at a frame as it was when the server was asked; None where no answer is waited for."""
        ask = self._asks.get(seq)
        return None if ask is None else ask.step

    def hold(self, step: Step) -> bool:
        """The frame waits for the answer that `step.waits_for` names; False where it cannot, and stands as it is."""
        ask = self._asks.get(step.waits_for) if step.waits_for is not None else None
        if ask is None or sum(len(each.held) for each in self._asks.values()) >= MAX_HELD:
            return False
        ask.held.append(step)
        return True

    def answer(self, seq: int, server: NDArray[np.float64]) -> list[Step]:
        """Return the asked frame and those held for it, with the server's (C,) probabilities in their beliefs.

        The camera's present belief takes them in too, as far as they still have weight. An answer that nobody
        waits for any more changes nothing and returns nothing.
        """
        ask = self._asks.pop(seq, None)
        if ask is None:
            return []
        last = self._last
        if last is not None and (weight := last.weight_of(ask.step)) > 0:
            self._last = replace(last, logits=fuse(last.logits, server, self._rule.beta * weight))
            self._answered = ask.step
        return [
            replace(
                step,
                logits=fuse(step.logits, server, self._rule.beta * step.weight_of(ask.step)),
                waits_for=None,
                rests_on=seq,
            )
            for step in (ask.step, *ask.held)
        ]

    def give_up(self, seq: int) -> list[Step]:
        """Return the asked frame and those held for it as they are: its answer will not come in time."""
        ask = self._asks.pop(seq, None)
        return [] if ask is None else [replace(each, waits_for=None) for each in (ask.step, *ask.held)]

    def _moved(self, seq: int, captured_ns: int, logits: FloatArray, unit: Embedding) -> Step:
        """Return the step of a frame with evidence of its own."""
        last, kept = self._last, 0.0
        if last is not None:
            cosine = float(unit @ self._embedding) if unit.size == self._embedding.size else 0.0
            kept = stay(cosine, max(0, captured_ns - self._captured_ns) / 1e9, self._rule)
        weight = self._rule.alpha * (1.0 - self._rule.redundancy * kept)
        evidence, prior = weight * logits.astype(np.float64), self._prior(logits.size)
        if last is None or kept == 0:
            return Step(seq, evidence + np.log(prior), None, None, 1 if last is None else last.chain + 1, 0.0)
        mixed = kept * logits.size * softmax(last.logits) + (1.0 - kept) * prior
        log_kept = last.log_kept + math.log(kept)
        return Step(seq, evidence + np.log(mixed + _TINY), None, None, last.chain, log_kept)

    def _seen_late(self, seq: int, logits: FloatArray, last: Step) -> Step:
        """Return the step of a frame that came again, or after a later one."""
        if seq in self._asks:
            return replace(self._asks[seq].step, waits_for=seq)
        if seq == last.seq:
            return last
        self._strangers += 1
        return Step(seq, logits.astype(np.float64), None, None, -self._strangers, 0.0)

    def _prior(self, num_classes: int) -> NDArray[np.float64]:
        """Return C · prior, (C,): exactly 1 everywhere for an even one."""
        return num_classes * np.asarray(self._rule.prior) if self._rule.prior else np.ones(num_classes)

    def _waited_for(self, step: Step) -> int | None:
        """Return the seq of the ask under way that counts most at a step, where it counts enough."""
        most = max(self._asks.values(), key=lambda ask: step.weight_of(ask.step), default=None)
        counts = most is not None and step.weight_of(most.step) >= self._rule.least_weight
        return most.step.seq if most is not None and counts else None

    def _rested_on(self, step: Step) -> int | None:
        answered = self._answered
        counts = answered is not None and step.weight_of(answered) >= self._rule.least_weight
        return answered.seq if answered is not None and counts else None


class Beliefs(Cameras[CameraBelief]):
    """The beliefs of all cameras of a worker; one outlives its camera's last frame by as long as an answer may take.

    Args:
        rule: of every camera.
        max_cameras, idle_s: as those of `Cameras`.
    """

    def __init__(self, rule: BeliefRule = STILLS, *, max_cameras: int = 10_000, idle_s: float = 60.0) -> None:
        super().__init__(partial(CameraBelief, rule), max_cameras=max_cameras, idle_s=idle_s)


def _unit(embedding: Embedding) -> Embedding:
    """Return the embedding at length 1; one of length 0 stays, and is near nothing."""
    length = math.sqrt(float(embedding @ embedding))
    return np.asarray(embedding / length if length > 0 else embedding, dtype=np.float32)
