"""The edge's gate where each camera has a belief: what a recorded frame comes to, now and when answers arrive. Pure."""

from __future__ import annotations

from dataclasses import dataclass

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


class Remembering:
    """The beliefs of one worker's cameras, and the frames whose label may still change.

    State: the belief of each camera with the number of its frames, and by (camera, seq) the frames that asked or wait.
    """

    def __init__(self, rule: BeliefRule, recording: Recording) -> None:
        assert recording.stream is not None
        self._stream: Streamed = recording.stream
        self._beliefs = Beliefs(rule)
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

    def asks(self, seen: SeenFrame) -> bool:
        """Return whether the unsure frame asks; else it waits for the answer about an earlier one."""
        belief = self._belief(seen.camera, seen.shown_s)
        waits = belief.hold(seen.step)
        if not waits:
            belief.ask(seen.step)
        self._open[seen.camera, seen.step.seq] = seen
        return not waits

    def answered(self, asked: SeenFrame, family: int) -> list[tuple[SeenFrame, int]]:
        """The answer is in the belief; return the frames that it made final, each with what that gained, -1 to 1."""
        belief = self._beliefs.known(asked.camera)
        steps = (
            [] if belief is None else belief.answer(asked.step.seq, self._stream.server[asked.idx, family])
        )
        gains = []
        for step in steps:
            seen = self._open.pop((asked.camera, step.seq))
            gains.append((seen, self._is_right(step, seen.idx) - seen.right))
        return gains

    def unasked(self, asked: SeenFrame) -> None:
        """Its record was given up: it and the frames that waited for it keep their labels."""
        belief = self._beliefs.known(asked.camera)
        for step in [] if belief is None else belief.give_up(asked.step.seq):
            self._open.pop((asked.camera, step.seq))

    def _belief(self, camera: str, at_s: float) -> CameraBelief:
        return self._beliefs.of(camera, at_s)

    def _is_right(self, step: Step, idx: int) -> bool:
        return int(np.argmax(step.logits)) == int(self._stream.truth[idx])
