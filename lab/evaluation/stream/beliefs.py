"""What a belief a camera would do to recorded frames: many settings at once, as arrays. Pure numpy.

The same filter as `gating.belief`, which a test holds it to. There one camera's frames come one after the other; here
all cameras and all settings of a sweep take a step together, so that a sweep of thousands takes minutes.

Time is counted in frames: the answer to an ask of frame i is there before frame i + `delay` is looked at. A frame that
is unsure waits; its label is what the belief makes of it when an answer comes, the doubt ends, or its time is over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gating.belief import TRUST_MEMORY, WAIT_SHARE, trust
from gating.entropy import min_entropy_bits, softmax
from lab.evaluation.models import Embedding
from schemas.belief_rule import BeliefRule

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

MAX_LATENCY_S: Final = 2.0
"""How long after a frame its answer counts: what an edge worker allows where nothing else is set."""
_TINY: Final = 1e-300


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

    State: for each of the last frames the stay before it, its evidence, the belief by it, whether it waits, whether
    an ask about it is under way, and how much of it is left now; for how many frames each row has been in doubt; and
    how many answers were heard, in how many of them edge and server agreed, and how far the edge is trusted by them.
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
        self._patience = _column([rule.patience_s * streams.fps for rule in rules])
        self._longest = math.ceil(WAIT_SHARE * MAX_LATENCY_S * streams.fps)
        priors = [classes * np.asarray(rule.prior) if rule.prior else np.ones(classes) for rule in rules]
        self._prior = np.broadcast_to(np.stack(priors)[:, None, :], (*rows, classes))
        self._tau = _column(taus)
        self._size = max(self._longest, delay) + 2
        self._evidence = np.zeros((self._size, *rows, classes))
        self._belief = np.zeros((self._size, *rows, classes))
        self._stay = np.zeros((self._size, *rows))
        self._left = np.zeros((self._size, *rows))
        self._waits = np.zeros((self._size, *rows), dtype=np.bool_)
        self._asks = np.zeros((self._size, *rows), dtype=np.bool_)
        self._doubtful = np.zeros(rows)
        self._agreement = np.broadcast_to(_column([rule.agreement for rule in rules]), rows)
        self._answers, self._agreed, self._trust = np.zeros(rows), np.zeros(rows), np.ones(rows)
        self._label = np.zeros((*rows, frames), dtype=np.int16)
        self._first = np.zeros((*rows, frames), dtype=np.int16)
        self._asked = np.zeros((*rows, frames), dtype=np.bool_)
        self._doubt = np.zeros((*rows, frames), dtype=np.float32)

    def step(self, frame: int) -> None:
        """Frame number `frame` of every camera is seen; the answer about the one `delay` frames before is there."""
        slot = frame % self._size
        if frame >= self._delay:
            self._hear(frame - self._delay, frame - 1)
        kept = self._kept(frame)
        weight = self._alpha * self._trust * (1.0 - self._redundancy * kept)
        everywhere = np.nonzero(np.ones_like(kept, dtype=np.bool_))
        self._stay[slot] = kept
        self._evidence[slot] = weight[..., None] * self._streams.logits[:, frame]
        self._belief[slot] = self._evidence[slot] + self._before(frame, everywhere).reshape(self._prior.shape)
        self._left *= kept
        self._left[slot] = 1.0
        doubt = min_entropy_bits(self._belief[slot])
        unsure = doubt >= self._tau
        is_settled = ~unsure & ~self._asks.any(axis=0)
        self._end(frame, np.broadcast_to(is_settled, self._waits.shape))
        self._end(frame, self._seen_by(frame - self._longest))
        self._doubtful = np.where(unsure, self._doubtful + 1, 0)
        awaited = np.where(self._asks, self._left, 0.0).max(axis=0) >= self._least
        self._asks[slot] = unsure & ~awaited & (self._doubtful - 1 >= self._patience)
        self._waits[slot] = unsure
        self._doubt[..., frame], self._asked[..., frame] = doubt, self._asks[slot]
        self._first[..., frame] = self._label[..., frame] = self._belief[slot].argmax(axis=-1)

    def finish(self) -> Replay:
        """Return the replay; the last answers come after the last frame. What waits for more stays as it is."""
        frames = self._label.shape[-1]
        for frame in range(max(frames, self._delay), frames + self._delay):
            self._hear(frame - self._delay, frames - 1)
        return Replay(self._label, self._first, self._asked, self._doubt)

    def _kept(self, frame: int) -> Floats:
        """Return (S, K) the stays from the frame before."""
        if frame == 0:
            return np.zeros(self._doubtful.shape)
        near = (np.minimum(self._streams.cosine[:, frame], 1.0) - self._floor) / (1.0 - self._floor)
        return np.asarray(np.maximum(near, 0.0) ** self._gamma * self._fade)

    def _before(self, frame: int, rows: tuple[Ints, ...]) -> Floats:
        """Return (N, C) logits at the N `rows` of what is known of a frame before it is seen."""
        prior, kept = self._prior[rows], self._stay[frame % self._size][rows][:, None]
        mixed = (1.0 - kept) * prior
        if frame > 0:
            mixed += kept * prior.shape[-1] * softmax(self._belief[(frame - 1) % self._size][rows])
        return np.asarray(np.log(np.maximum(mixed, _TINY)))

    def _hear(self, about: int, last: int) -> None:
        """The answers about frame `about` join the beliefs at all frames from it to the `last`, and end all waiting."""
        asking = self._asks[about % self._size].copy()
        rows = np.nonzero(asking)
        if not rows[0].size:
            return
        self._learn(about, rows)
        server = self._beta[rows[0]] * self._streams.server[:, about][rows[1]]
        self._evidence[about % self._size][rows] += server
        self._belief[about % self._size][rows] += server
        for frame in range(about + 1, last + 1):
            slot = frame % self._size
            self._belief[slot][rows] = self._evidence[slot][rows] + self._before(frame, rows)
        self._asks[about % self._size] = False
        self._end(last, np.broadcast_to(asking, self._waits.shape))

    def _learn(self, about: int, rows: tuple[Ints, ...]) -> None:
        """The server has answered the N `rows` about a frame: the trust in the edge follows."""
        agrees = self._streams.logits[:, about].argmax(axis=-1) == self._streams.server[:, about].argmax(
            axis=-1
        )
        self._answers[rows] = TRUST_MEMORY * self._answers[rows] + 1.0
        self._agreed[rows] = TRUST_MEMORY * self._agreed[rows] + agrees[rows[1]]
        learns = tuple(each[self._agreement[rows] > 0] for each in rows)
        self._trust[learns] = trust(self._agreed[learns], self._answers[learns], self._agreement[learns])

    def _end(self, last: int, which: Mask) -> None:
        """The frames that wait and are in `which` (ring, S, K) have their labels, by all frames to the `last`.

        One whose own answer is under way waits for that.
        """
        ending = self._waits & which & ~self._asks
        rows = np.nonzero(ending.any(axis=0))
        if not rows[0].size:
            return
        self._waits &= ~ending
        prior = self._prior[rows]
        later = np.zeros(prior.shape)
        for frame in range(last, max(-1, last - self._size), -1):
            slot = frame % self._size
            mine = ending[slot][rows]
            if mine.any():
                smoothed = (self._belief[slot][rows] + later).argmax(axis=-1)
                self._label[rows[0][mine], rows[1][mine], frame] = smoothed[mine]
            share = softmax(self._evidence[slot][rows] + later)
            kept = self._stay[slot][rows][:, None]
            later = np.log(kept * share + (1.0 - kept) * (share * prior).mean(axis=-1, keepdims=True) + _TINY)

    def _seen_by(self, frame: int) -> Mask:
        """Return (ring, 1, 1) which places of the ring hold a frame up to `frame`, given that the ring is full."""
        newest = frame + self._longest
        ages = (newest - np.arange(self._size)) % self._size
        return np.asarray(ages >= self._longest)[:, None, None]


def _column(values: Sequence[float]) -> Floats:
    return np.asarray(values, dtype=np.float64)[:, None]


def _fade(rule: BeliefRule, dt_s: float) -> float:
    return 0.0 if rule.memory_s == 0 else float(2.0 ** (-dt_s / rule.memory_s))
