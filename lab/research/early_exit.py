"""Early exit with a transmission decision (TD): keep the device's answer, or send features over a noisy channel. Pure.

Source: the abstract of Jankowski, Gündüz and Mikolajczyk, arXiv 2311.18098: a TD that takes what the exit says and the
state of the channel. Their list of TDs is not known here; these are this project's reconstruction. Everything runs on
recorded answers: the exit's probabilities and the server's classes at each SNR of a grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from lab.research.channels import Floats

Booleans = NDArray[np.bool_]
_RIDGE: Final = 1e-2
_NEWTON_STEPS: Final = 25


def _nearest(snrs_db: Floats, snr_db: Floats) -> NDArray[np.int64]:
    return np.asarray(np.abs(snrs_db[None] - snr_db[:, None]).argmin(1))


@dataclass(frozen=True)
class Recorded:
    """What exit and server answer to N pictures.

    truth: (N,). exit: (N, classes) probabilities. snrs_db: (S,) rising. server: (S, N) classes at each SNR; where a
    packet does not arrive, the exit's. symbols: (S, N) that a transmission takes. tracks: (N,), for intervals.
    """

    truth: NDArray[np.int64]
    exit: Floats
    snrs_db: Floats
    server: NDArray[np.int64]
    symbols: Floats
    tracks: NDArray[np.int64]

    @property
    def exit_right(self) -> Booleans:
        """(N,), whether the exit is right."""
        return np.asarray(self.exit.argmax(1) == self.truth)

    def nearest(self, snr_db: Floats) -> NDArray[np.int64]:
        """Return for (N,) SNRs the places of the nearest recorded ones; beyond the grid its ends stand."""
        return _nearest(self.snrs_db, snr_db)


@dataclass(frozen=True)
class Moment:
    """N pictures at the device: exit (N, classes), the channel's SNR (N,), the symbols (N,) that sending would take."""

    exit: Floats
    snr_db: Floats
    symbols: Floats


class TransmissionDecision(Protocol):
    """A rule; True sends."""

    def __call__(self, moment: Moment) -> Booleans:
        """Return (N,) decisions."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What a rule comes to over N pictures: right (N,), sent (N,), symbols (N,), 0 for kept ones."""

    right: Booleans
    sent: Booleans
    symbols: Floats


def play(recorded: Recorded, snr_db: Floats, rule: TransmissionDecision) -> Outcome:
    """Return what `rule` does with every picture at its own SNR (N,)."""
    at = recorded.nearest(snr_db)
    every = np.arange(len(recorded.truth))
    symbols = recorded.symbols[at, every]
    sent = rule(Moment(recorded.exit, snr_db, symbols))
    classes = np.where(sent, recorded.server[at, every], recorded.exit.argmax(1))
    return Outcome(classes == recorded.truth, sent, np.where(sent, symbols, 0.0))


def play_oracle(recorded: Recorded, snr_db: Floats) -> Outcome:
    """Return the best that any rule could do: send where, and only where, the server is right and the exit wrong."""
    at = recorded.nearest(snr_db)
    every = np.arange(len(recorded.truth))
    server_right = recorded.server[at, every] == recorded.truth
    sent = server_right & ~recorded.exit_right
    return Outcome(recorded.exit_right | sent, sent, np.where(sent, recorded.symbols[at, every], 0.0))


def always(moment: Moment) -> Booleans:
    """Send every picture."""
    return np.ones(len(moment.exit), np.bool_)


def never(moment: Moment) -> Booleans:
    """Keep every answer of the exit."""
    return np.zeros(len(moment.exit), np.bool_)


def unsure(probabilities: Floats) -> Floats:
    """Return 1 - max p, (N,)."""
    return np.asarray(1.0 - probabilities.max(1))


def entropy_bits(probabilities: Floats) -> Floats:
    """Return the Shannon entropy in bits, (N,)."""
    return np.asarray(-(probabilities * np.log2(np.maximum(probabilities, 1e-12))).sum(1))


def closeness(probabilities: Floats) -> Floats:
    """Return 1 - (p1 - p2), (N,): 1 where the two best classes tie."""
    best = np.sort(probabilities, axis=1)[:, -2:]
    return np.asarray(1.0 - (best[:, 1] - best[:, 0]))


SCORES: Final = {"confidence": unsure, "entropy": entropy_bits, "margin": closeness}
"""The rules' scores by name; a higher one speaks for sending."""


@dataclass(frozen=True)
class Threshold:
    """Send where a score reaches a threshold that may depend on the SNR: that of the nearest entry of the table."""

    score: str
    snrs_db: Floats
    thresholds: Floats

    def __call__(self, moment: Moment) -> Booleans:
        """Return (N,) decisions."""
        at = _nearest(self.snrs_db, moment.snr_db)
        return np.asarray(SCORES[self.score](moment.exit) >= self.thresholds[at])


def best_threshold(score: Floats, gain: Floats) -> float:
    """Return the threshold t that makes the sum of `gain` over score >= t largest; +inf where sending never pays.

    Args:
        score: (N,).
        gain: (N,), what sending each picture is worth: server right - exit right - the price of its symbols.
    """
    order = np.argsort(-score, kind="stable")
    totals = np.cumsum(gain[order])
    ranked = score[order]
    # Pictures of one score are sent together, so only the last of each counts.
    ends = np.append(ranked[1:] != ranked[:-1], True)
    totals = np.where(ends, totals, -np.inf)
    best = int(totals.argmax())
    return float(ranked[best]) if totals[best] > 0 else float("inf")


def fit_blind_threshold(recorded: Recorded, score: str, price: float) -> Threshold:
    """Return one threshold for all SNRs of the grid, each as likely as the others."""
    scores = np.tile(SCORES[score](recorded.exit), len(recorded.snrs_db))
    return Threshold(score, np.zeros(1), np.array([best_threshold(scores, _gains(recorded, price).ravel())]))


def fit_threshold_by_snr(recorded: Recorded, score: str, price: float) -> Threshold:
    """Return a threshold for each SNR of the grid."""
    scores = SCORES[score](recorded.exit)
    thresholds = [best_threshold(scores, gain) for gain in _gains(recorded, price)]
    return Threshold(score, recorded.snrs_db, np.array(thresholds))


def _gains(recorded: Recorded, price: float) -> Floats:
    right = (recorded.server == recorded.truth).astype(np.float64)
    return np.asarray(right - recorded.exit_right - price * recorded.symbols)


@dataclass(frozen=True)
class ExpectedGain:
    """Send where P(server right | SNR, exit) - P(exit right | exit) > price × symbols; both by logistic regression.

    `price` is in right answers a symbol. With `knows_snr` off the rule is the control that is blind to the channel.
    """

    server: Floats
    exit: Floats
    price: float
    knows_snr: bool = True

    def __call__(self, moment: Moment) -> Booleans:
        """Return (N,) decisions."""
        return np.asarray(self.gain(moment) > self.price * moment.symbols)

    def gain(self, moment: Moment) -> Floats:
        """Return the expected gain in right answers, (N,)."""
        says = _exit_features(moment.exit)
        heard = _with_snr(says, moment.snr_db) if self.knows_snr else says
        return _sigmoid(heard @ self.server) - _sigmoid(says @ self.exit)


def fit_expected_gain(recorded: Recorded, price: float, *, knows_snr: bool = True) -> ExpectedGain:
    """Return the rule, fitted on all SNRs of the grid, each as likely as the others."""
    says = _exit_features(recorded.exit)
    levels = len(recorded.snrs_db)
    rows = np.tile(says, (levels, 1))
    if knows_snr:
        rows = _with_snr(rows, np.repeat(recorded.snrs_db, len(says)))
    right = (recorded.server == recorded.truth).ravel().astype(np.float64)
    exit_weights = logistic(says, recorded.exit_right.astype(np.float64))
    return ExpectedGain(logistic(rows, right), exit_weights, price, knows_snr)


def logistic(features: Floats, right: Floats) -> Floats:
    """Return ridge logistic regression's weights (F,) for features (N, F) and targets (N,) of 0 and 1."""
    weights = np.zeros(features.shape[1])
    for _ in range(_NEWTON_STEPS):
        chance = _sigmoid(features @ weights)
        slope = features.T @ (chance - right) + _RIDGE * weights
        curvature = (features * (chance * (1 - chance))[:, None]).T @ features
        weights = weights - np.linalg.solve(curvature + _RIDGE * np.eye(len(weights)), slope)
    return weights


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -30.0, 30.0))))


def _exit_features(probabilities: Floats) -> Floats:
    columns = [score(probabilities) for score in SCORES.values()]
    return np.stack([np.ones(len(probabilities)), *columns], axis=1)


def _with_snr(says: Floats, snr_db: Floats) -> Floats:
    level = (snr_db / 10.0)[:, None]
    # The server's accuracy saturates at both ends of the range, so bends of the SNR stand beside the line.
    bends = np.concatenate([level, level**2, np.tanh(level), np.tanh(level + 0.5)], axis=1)
    return np.concatenate(
        [says, bends, says[:, 1:] * np.tanh(level), says[:, 1:] * np.tanh(level + 0.5)], axis=1
    )
