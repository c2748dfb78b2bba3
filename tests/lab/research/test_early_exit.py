"""Channels, and transmission decisions against a loop over pictures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.research.channels import digital_symbols, faded_snr_db
from lab.research.early_exit import (
    SCORES,
    Moment,
    Recorded,
    Threshold,
    always,
    best_threshold,
    closeness,
    entropy_bits,
    fit_blind_threshold,
    fit_expected_gain,
    fit_threshold_by_snr,
    logistic,
    never,
    play,
    play_oracle,
    unsure,
)
from lab.research.exit_rows import AWARE, Recordings, in_packets, judge


def recorded(count: int = 3000, seed: int = 3) -> Recorded:
    """An exit that knows how sure it is, and a server that is right by the SNR alone: 10 % at -10 dB, 95 % at 20 dB."""
    random = np.random.default_rng(seed)
    sure = random.uniform(0.3, 1.0, count)
    right = random.random(count) < sure
    probabilities = np.full((count, 4), 0.0)
    truth = random.integers(0, 4, count)
    first = np.where(right, truth, (truth + 1) % 4)
    probabilities[:] = ((1 - sure) / 3)[:, None]
    probabilities[np.arange(count), first] = sure
    snrs = np.arange(-10.0, 21.0, 5.0)
    hit = random.random((len(snrs), count)) < np.linspace(0.1, 0.95, len(snrs))[:, None]
    server = np.where(hit, truth, (truth + 2) % 4)
    return Recorded(truth, probabilities, snrs, server, np.full(server.shape, 64.0), np.arange(count) // 5)


def test_fading_keeps_the_mean_power() -> None:
    faded = faded_snr_db(7.0, 200_000, np.random.default_rng(0))
    assert np.mean(10 ** (faded / 10)) == pytest.approx(10**0.7, rel=0.01)
    # P(|h|² < 1/10) = 1 - e^-0.1
    assert np.mean(faded < -3.0) == pytest.approx(1 - np.exp(-0.1), abs=0.003)


def test_digital_symbols_at_capacity() -> None:
    # log2(1 + 1) = 1 bit a symbol at 0 dB; log2(1 + 15) = 4 at 11.76 dB
    snr = np.array([0.0, 10 * np.log10(15.0)])
    assert digital_symbols(np.array([50.0, 50.0]), snr) == pytest.approx([400.0, 100.0])


def test_scores_by_hand() -> None:
    p = np.array([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
    assert unsure(p) == pytest.approx([0.5, 0.0])
    assert entropy_bits(p) == pytest.approx([1.5, 0.0])
    assert closeness(p) == pytest.approx([0.75, 0.0])


def test_playing_equals_a_loop() -> None:
    record = recorded(200)
    snr = np.random.default_rng(1).uniform(-14, 24, 200)
    table = Threshold("entropy", np.array([-5.0, 10.0]), np.array([1.4, 0.3]))
    outcome = play(record, snr, table)
    for place in range(200):
        p = record.exit[place]
        entropy = -sum(float(each) * np.log2(each) for each in p if each > 0)
        limit = 1.4 if abs(snr[place] + 5) <= abs(snr[place] - 10) else 0.3
        sent = entropy >= limit
        level = int(np.clip(round((snr[place] + 10) / 5), 0, 6))
        answer = record.server[level, place] if sent else p.argmax()
        assert outcome.sent[place] == sent
        assert outcome.right[place] == (answer == record.truth[place])
        assert outcome.symbols[place] == (64.0 if sent else 0.0)


def test_always_is_the_server_and_never_the_exit() -> None:
    record = recorded(100)
    snr = np.full(100, 10.0)
    assert np.array_equal(play(record, snr, always).right, record.server[4] == record.truth)
    assert np.array_equal(play(record, snr, never).right, record.exit_right)
    assert play(record, snr, never).symbols.sum() == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-2, 2)), min_size=1, max_size=30))
def test_the_best_threshold_is_the_best_of_all(rows: list[tuple[int, int]]) -> None:
    score, gain = (np.array(column, np.float64) for column in zip(*rows, strict=True))

    def total(threshold: float) -> float:
        return float(gain[score >= threshold].sum())

    found = best_threshold(score, gain)
    assert total(found) == max(0.0, *(total(each) for each in score))


def test_the_logistic_fit_finds_its_own_weights() -> None:
    random = np.random.default_rng(0)
    features = np.stack([np.ones(20_000), random.normal(0, 1, 20_000)], axis=1)
    chance = 1 / (1 + np.exp(-(features @ [0.5, -2.0])))
    weights = logistic(features, (random.random(20_000) < chance).astype(float))
    assert weights == pytest.approx([0.5, -2.0], abs=0.08)


@pytest.mark.parametrize(
    "fit", [fit_expected_gain, lambda r, price: fit_threshold_by_snr(r, "entropy", price)]
)
def test_a_rule_that_knows_the_channel_is_never_below_exit_or_server(fit: object) -> None:
    rule = fit(recorded(seed=3), 0.0)  # type: ignore[operator]
    asked = recorded(seed=4)
    for snr_db in asked.snrs_db:
        snr = np.full(len(asked.truth), snr_db)
        accuracy = play(asked, snr, rule).right.mean()
        exit_only, server_only = (play(asked, snr, each).right.mean() for each in (never, always))
        assert accuracy >= max(exit_only, server_only) - 0.01
        assert accuracy <= play_oracle(asked, snr).right.mean()


def test_a_blind_rule_falls_below_the_exit_at_low_snr() -> None:
    learnt, asked = recorded(seed=3), recorded(seed=4)
    snr = np.full(len(asked.truth), -10.0)
    exit_only = play(asked, snr, never).right.mean()
    for rule in (fit_blind_threshold(learnt, "margin", 0.0), fit_expected_gain(learnt, 0.0, knows_snr=False)):
        assert play(asked, snr, rule).right.mean() < exit_only - 0.02


def test_a_price_saves_symbols() -> None:
    learnt, asked = recorded(seed=3), recorded(seed=4)
    snr = np.full(len(asked.truth), 10.0)
    sums = [play(asked, snr, fit_expected_gain(learnt, price)).symbols.sum() for price in (0.0, 1e-3, 1e-2)]
    assert sums[0] > sums[1] > sums[2]


def test_scores_never_send_the_surest_first() -> None:
    p = np.array([[0.9, 0.1], [0.6, 0.4]])
    for score in SCORES.values():
        assert score(p)[1] > score(p)[0]
    moment = Moment(p, np.zeros(2), np.ones(2))
    rule = Threshold("confidence", np.zeros(1), np.array([0.3]))
    assert rule(moment).tolist() == [False, True]


def test_every_decision_is_judged_over_both_channels() -> None:
    rows = judge("analogue", Recordings(recorded(400, seed=3), recorded(400, seed=4)), seed=1)
    by = {(row.channel, row.snr_db, row.decision): row for row in rows}
    assert len(by) == len(rows)
    for channel in ("AWGN", "Rayleigh"):
        assert by[channel, 10.0, "never"].symbols == 0
        assert by[channel, 10.0, "always"].symbols == 64
        assert by[channel, 10.0, "oracle"].accuracy >= by[channel, 10.0, AWARE].accuracy
        for snr_db in (-10.0, 20.0):
            always, never, aware = (by[channel, snr_db, name] for name in ("always", "never", AWARE))
            assert max(always.gain, never.gain) == 0.0
            assert aware.gain == pytest.approx(aware.accuracy - max(always.accuracy, never.accuracy))
    assert by["AWGN", -10.0, "always"].accuracy < by["AWGN", 20.0, "always"].accuracy


def test_a_packet_beyond_the_capacity_is_lost_and_costs_all_symbols() -> None:
    exits = Recorded(
        truth=np.array([1, 1]),
        exit=np.array([[0.9, 0.1], [0.2, 0.8]]),
        snrs_db=np.array([0.0, 10 * np.log10(15.0)]),  # 1 and 4 bits a symbol
        server=np.zeros((2, 2), np.int64),
        symbols=np.full((2, 2), 64.0),
        tracks=np.arange(2),
    )
    packets = in_packets(exits, np.array([1, 1]), np.array([16.0, 8.0]))
    assert packets.symbols == pytest.approx(
        np.array([[64.0, 64.0], [32.0, 16.0]])
    )  # 128 bits need 128 symbols
    assert packets.server.tolist() == [[0, 1], [1, 1]]
