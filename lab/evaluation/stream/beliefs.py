"""What a belief a camera would do to recorded frames: many settings at once, as arrays. Pure numpy.

The same filter as `gating.belief`, which a test holds it to. There one camera's frames come one after the other; here
all cameras and all settings of a sweep take a step together, so that a sweep of thousands takes minutes.

Time is counted in frames: the answer to an ask of frame i is there before frame i + `delay` is looked at. A frame that
is unsure while an answer that still counts is under way is held for it; its label is the belief that the answer gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gating.entropy import min_entropy_bits, softmax
from lab.evaluation.models import Embedding
from schemas.belief_rule import BeliefRule

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Streams:
    """K cameras of T frames at one rate.

    `logits` (K, T, C) and `cosine` (K, T), of each frame's embedding with the last one's, are the edge's. `server`
    (K, T, C) are the logarithms of the server's probabilities under one scheme, as they travel: the leading classes,
    and the rest spread evenly.
    """

    logits: Floats
    cosine: Floats
    server: Floats
    fps: float


@dataclass(frozen=True)
class Replay:
    """What became of the frames under each of S settings: (S, K, T) the label in the end, and which were asked about.

    `first` (S, K, T) is the label that stood before any answer to that frame's ask or hold, `doubt` (S, K, T) the
    min-entropy in bits that the gate saw.
    """

    label: NDArray[np.int16]
    first: NDArray[np.int16]
    asked: Mask
    doubt: NDArray[np.float32]


def cosines(embedding: Embedding) -> Floats:
    """Return (T,) the cosine of each of (T, D) embeddings with the one before; 0 for the first."""
    unit = embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)
    near = np.einsum("td,td->t", unit[1:], unit[:-1], dtype=np.float64)
    return np.concatenate([[0.0], near])


def replay(streams: Streams, rules: Sequence[BeliefRule], taus: Sequence[float], delay: int) -> Replay:
    """Return what each setting does: `rules` and `taus` are S each, `delay` >= 1 frames."""
    sweep = _Sweep(streams, rules, taus, delay)
    for frame in range(streams.logits.shape[1]):
        sweep.step(frame)
    return sweep.finish()


class _Sweep:
    """S settings on K cameras, at one frame. Rows of all arrays are (S, K); `slot` is a frame's place in a ring.

    State: the belief of every row as logits; for each of the last `delay` frames its belief, whether it asked, how
    much of it is left at each later frame of the ring, and for which frame it is held.
    """

    def __init__(
        self, streams: Streams, rules: Sequence[BeliefRule], taus: Sequence[float], delay: int
    ) -> None:
        if len(rules) != len(taus) or delay < 1:
            raise ValueError(
                f"{len(rules)} rules, {len(taus)} taus, delay {delay}: need as many, and at least 1"
            )
        cameras, frames, classes = streams.logits.shape
        rows = (len(rules), cameras)
        self._streams, self._delay = streams, delay
        self._floor = _column([rule.floor for rule in rules])
        self._gamma = _column([rule.gamma for rule in rules])
        self._fade = _column([_fade(rule, 1.0 / streams.fps) for rule in rules])
        self._alpha = _column([rule.alpha for rule in rules])
        self._redundancy = _column([rule.redundancy for rule in rules])
        self._beta = _column([rule.beta for rule in rules])
        self._least = _column([rule.least_weight for rule in rules])
        priors = [classes * np.asarray(rule.prior) if rule.prior else np.ones(classes) for rule in rules]
        self._prior = np.stack(priors)[:, None, :]
        self._tau = _column(taus)
        self._belief = np.zeros((*rows, classes))
        self._ring = np.zeros((delay, *rows, classes))
        self._weight = np.zeros((delay, delay, *rows))  # [frame asked about, later frame]
        self._now = np.zeros((delay, *rows))  # what is left of each frame of the ring now
        self._asking = np.zeros((delay, *rows), dtype=np.bool_)
        self._held_for = np.full((delay, *rows), -1)
        self._label = np.zeros((*rows, frames), dtype=np.int16)
        self._first = np.zeros((*rows, frames), dtype=np.int16)
        self._asked = np.zeros((*rows, frames), dtype=np.bool_)
        self._doubt = np.zeros((*rows, frames), dtype=np.float32)

    def step(self, frame: int) -> None:
        """Frame number `frame` of every camera is seen; the answer about the one `delay` frames before is there."""
        slot = frame % self._delay
        if frame >= self._delay:
            self._hear(frame - self._delay, frame)
        kept = self._kept(frame)
        mixed = kept[..., None] * self._prior.shape[-1] * softmax(self._belief)
        mixed += (1.0 - kept[..., None]) * self._prior
        weight = self._alpha * (1.0 - self._redundancy * kept)
        evidence = weight[..., None] * self._streams.logits[:, frame]
        self._belief = evidence + np.log(np.maximum(mixed, 1e-300))
        self._now *= kept
        waited = np.where(self._asking, self._now, 0.0)
        best = waited.argmax(axis=0)
        waits = np.take_along_axis(waited, best[None], axis=0)[0] >= self._least
        doubt = min_entropy_bits(self._belief)
        self._doubt[..., frame] = doubt
        unsure = doubt >= self._tau
        self._weight[:, slot] = self._now
        self._ring[slot], self._now[slot], self._weight[slot, slot] = self._belief, 1.0, 1.0
        self._asking[slot] = unsure & ~waits
        self._held_for[slot] = np.where(unsure & waits, best, -1)
        self._asked[..., frame] = self._asking[slot]
        self._first[..., frame] = self._label[..., frame] = self._belief.argmax(axis=-1)

    def finish(self) -> Replay:
        """Return the replay; the last answers come after the last frame."""
        frames = self._label.shape[-1]
        for frame in range(frames, frames + self._delay):
            if frame >= self._delay:
                self._hear(frame - self._delay, min(frame, frames))
        return Replay(self._label, self._first, self._asked, self._doubt)

    def _kept(self, frame: int) -> Floats:
        """Return (S, K) the stays from the frame before."""
        if frame == 0:
            return np.zeros(self._now.shape[1:])
        near = (np.minimum(self._streams.cosine[:, frame], 1.0) - self._floor) / (1.0 - self._floor)
        return np.asarray(np.maximum(near, 0.0) ** self._gamma * self._fade)

    def _hear(self, about: int, now: int) -> None:
        """The answers about frame `about` join the beliefs of that frame, of those held for it, and of now."""
        asked_slot = about % self._delay
        asking = self._asking[asked_slot]
        server = self._streams.server[:, about]
        for later in range(about, now):
            slot = later % self._delay
            concerned = asking & ((self._held_for[slot] == asked_slot) | (later == about))
            weight = self._beta * self._weight[asked_slot, slot]
            fused = self._ring[slot] + weight[..., None] * server
            label = self._label[..., later]
            label[concerned] = fused.argmax(axis=-1)[concerned]
            self._ring[slot][concerned] = fused[concerned]
        left = np.where(asking, self._beta * self._now[asked_slot], 0.0)
        self._belief = self._belief + left[..., None] * server
        self._asking[asked_slot] = False


def _column(values: Sequence[float]) -> Floats:
    return np.asarray(values, dtype=np.float64)[:, None]


def _fade(rule: BeliefRule, dt_s: float) -> float:
    return 0.0 if rule.memory_s == 0 else float(2.0 ** (-dt_s / rule.memory_s))
