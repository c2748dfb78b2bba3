"""Early exit on the bench: analogue symbols and digital packets, every decision at every SNR of two channels."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lab.evaluation.bootstrap import Interval, mean_interval, paired_difference
from lab.research import early_exit as td
from lab.research.analogue import record, train_exit_and_code
from lab.research.bench import CODE_EPOCHS, EXIT_EPOCHS, Bench
from lab.research.bottleneck import answer
from lab.research.channels import Floats, digital_symbols, faded_snr_db
from lab.research.pictures import Pictures
from lab.research.rivals import aecnn

SNRS_DB: Final = tuple(float(each) for each in range(-10, 21, 5))
RECORDED_SNRS_DB: Final = np.arange(-20.0, 25.1, 2.5)
PRICES: Final = (0.0, 1e-2, 2e-2, 5e-2, 1e-1, 2e-1)
"""Right answers that a transmission must be expected to bring."""
AWARE: Final = "expected gain > 0"


class ExitRow(NamedTuple):
    """A decision at one mean SNR: accuracy, its interval, and means over all pictures.

    gain: accuracy minus that of the better of "always" and "never" there, paired, with its interval by track.
    """

    code: str
    channel: str
    snr_db: float
    decision: str
    accuracy: float
    interval: Interval
    sent: float
    symbols: float
    gain: float
    gain_interval: Interval


class Recordings(NamedTuple):
    """What decisions are fitted on, and what they are judged by."""

    held: td.Recorded
    test: td.Recorded


def analogue_recordings(bench: Bench, maps: int) -> Recordings:
    """Return exit and server over an analogue code of `maps` maps, trained or taken from the request's folder."""
    split = bench.request.split
    net, head, code = train_exit_and_code(
        bench.net,
        split,
        bench.learn,
        maps=maps,
        schedules=(bench.schedule(EXIT_EPOCHS), bench.schedule(CODE_EPOCHS)),
        folder=bench.request.out,
        progress=bench.progress,
    )

    def recorded(pictures: Pictures, seed: int) -> td.Recorded:
        exits, server, symbols = record(net, split, head, code, pictures, RECORDED_SNRS_DB, seed=seed)
        spent = np.full(server.shape, float(symbols))
        return td.Recorded(pictures.truth, exits, RECORDED_SNRS_DB, server, spent, pictures.tracks)

    return Recordings(recorded(bench.held, 1), recorded(bench.test, 2))


def digital_recordings(bench: Bench, analogue: Recordings, point: tuple[int, int]) -> Recordings:
    """Return the same exits with AECNN's packets at (kept maps, bits) instead of analogue symbols."""
    net, pruning = aecnn(bench, *point)
    found = []
    for pictures, exits in zip((bench.held, bench.test), analogue, strict=True):
        answers = answer(net, bench.request.split, pruning, bench.learn, pictures)
        found.append(in_packets(exits, answers.probabilities.argmax(1), answers.coded_bytes))
    return Recordings(*found)


def in_packets(exits: td.Recorded, classes: NDArray[np.int64], payload_bytes: Floats) -> td.Recorded:
    """Return recordings of packets sent at the channel's capacity, for which there are as many symbols as before.

    A packet that needs more is lost (outage): the exit's answer stands, and all the symbols were spent.

    Args:
        exits: gives the exits, the SNRs and the most symbols that a picture may take.
        classes: (N,) what the server answers to a packet that arrives.
        payload_bytes: (N,).
    """
    needed = digital_symbols(payload_bytes[None], exits.snrs_db[:, None])
    server = np.where(needed <= exits.symbols, classes[None], exits.exit.argmax(1)[None])
    return td.Recorded(
        exits.truth, exits.exit, exits.snrs_db, server, np.minimum(needed, exits.symbols), exits.tracks
    )


def judge(code: str, recordings: Recordings, *, seed: int) -> list[ExitRow]:
    """Return every decision at every SNR of `SNRS_DB`, over white noise and Rayleigh block fading. Pure."""
    held, test = recordings
    rules = _rules(held, float(test.symbols.max()))
    rows = []
    for channel in ("AWGN", "Rayleigh"):
        for snr_db in SNRS_DB:
            count = len(test.truth)
            random = np.random.default_rng([seed, round(10 * snr_db) + 1000])
            at: Floats = np.full(count, snr_db) if channel == "AWGN" else faded_snr_db(snr_db, count, random)
            outcomes = {name: td.play(test, at, rule) for name, rule in rules.items()}
            outcomes["oracle"] = td.play_oracle(test, at)
            simple = [outcomes[name].right.astype(np.float64) for name in ("always", "never")]
            better = max(simple, key=lambda right: float(right.mean()))
            for name, outcome in outcomes.items():
                right = outcome.right.astype(np.float64)
                gain, gain_interval = paired_difference(right, better, test.tracks)
                rows.append(
                    ExitRow(
                        code,
                        channel,
                        snr_db,
                        name,
                        float(right.mean()),
                        mean_interval(right, test.tracks),
                        float(outcome.sent.mean()),
                        float(outcome.symbols.mean()),
                        gain,
                        gain_interval,
                    )
                )
    return rows


def _rules(held: td.Recorded, most_symbols: float) -> dict[str, td.TransmissionDecision]:
    rules: dict[str, td.TransmissionDecision] = {"always": td.always, "never": td.never}
    for score in td.SCORES:
        rules[f"{score}, blind"] = td.fit_blind_threshold(held, score, 0.0)
        rules[f"{score}, threshold by SNR"] = td.fit_threshold_by_snr(held, score, 0.0)
    rules["expected gain, blind"] = td.fit_expected_gain(held, 0.0, knows_snr=False)
    for price in PRICES:
        rules[f"expected gain > {price:g}"] = td.fit_expected_gain(held, price / most_symbols)
    return rules
