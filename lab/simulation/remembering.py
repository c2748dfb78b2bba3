"""The edge's gate where each camera has a belief: what a recorded frame comes to, now and when answers arrive. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gating.belief import Beliefs, CameraBelief, Step
from gating.entropy import min_entropy_bits
from lab.simulation.recording import Recording, Streamed
from schemas.belief_rule import BeliefRule


@dataclass(slots=True)
class SeenFrame:
    """One frame in its camera's belief: its place in the recording, when it was shown, whether its label is right."""

    camera: str
    idx: int
    shown_s: float
    step: Step
    doubt: float
    right: bool


class Gain(NamedTuple):
    """What a frame's final label changed: when the frame was shown, and -1, 0 or 1 right answers more."""

    shown_s: float
    more_right: int


class Remembering:
    """The beliefs of one worker's cameras, and the frames whose label may still change.

    State: the belief of each camera with the number of its frames, and by (camera, seq) the frames that wait.
    """

    def __init__(self, rule: BeliefRule, recording: Recording, max_latency_s: float) -> None:
        assert recording.stream is not None
        self._stream: Streamed = recording.stream
        self._beliefs = Beliefs(rule, max_latency_s)
        self._num_seen: dict[str, int] = {}
        self._open: dict[tuple[str, int], SeenFrame] = {}

    def see(self, camera: str, idx: int, at_s: float) -> SeenFrame:
        """Return the camera's next frame, which is the recording's at `idx`."""
        seq = self._num_seen[camera] = self._num_seen.get(camera, -1) + 1
        stream = self._stream
        step = self._belief(camera, at_s).see(
            seq, round(at_s * 1e9), stream.logits[idx], stream.embedding[idx]
        )
        doubt = float(min_entropy_bits(step.logits[None])[0])
        return SeenFrame(camera, idx, at_s, step, doubt, self._is_right(step, idx))

    def judged(self, seen: SeenFrame, *, unsure: bool) -> tuple[bool, list[Gain]]:
        """Return whether the frame asks, and what became of the frames whose waiting ends with it."""
        if unsure:
            self._open[seen.camera, seen.step.seq] = seen
        belief = self._belief(seen.camera, seen.shown_s)
        asks, ended = belief.judged(seen.step, unsure=unsure, now_s=seen.shown_s)
        return asks, self._gains(seen.camera, ended)

    def answered(self, asked: SeenFrame, family: int) -> list[Gain]:
        """The answer is in the belief; return what became of the frames that waited for it."""
        belief, server = self._beliefs.known(asked.camera), self._stream.server[asked.idx, family]
        return [] if belief is None else self._gains(asked.camera, belief.answer(asked.step.seq, server))

    def unasked(self, asked: SeenFrame) -> list[Gain]:
        """Its record was given up; return what became of the frames that waited for it."""
        belief = self._beliefs.known(asked.camera)
        return [] if belief is None else self._gains(asked.camera, belief.give_up(asked.step.seq))

    def _gains(self, camera: str, ended: Sequence[Step]) -> list[Gain]:
        gains = []
        for step in ended:
            seen = self._open.pop((camera, step.seq))
            gains.append(Gain(seen.shown_s, self._is_right(step, seen.idx) - seen.right))
        return gains

    def _belief(self, camera: str, at_s: float) -> CameraBelief:
        return self._beliefs.of(camera, at_s)

    def _is_right(self, step: Step, idx: int) -> bool:
        return int(np.argmax(step.logits)) == int(self._stream.truth[idx])
