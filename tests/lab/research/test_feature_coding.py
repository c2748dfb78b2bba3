"""Tables, rate and coder of quantised maps."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.research.feature_coding import (
    decode,
    encode,
    indices_bytes,
    rate_bits,
    tables_from,
)


@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.integers(1, 8),
    channels=st.integers(1, 9),
    side=st.integers(1, 6),
)
def test_maps_come_back_as_they_were(seed: int, bits: int, channels: int, side: int) -> None:
    """Also levels that the tables never counted, and with some channels left out."""
    random = np.random.default_rng(seed)
    sent = random.random(channels) < 0.6
    levels = random.integers(0, 2**bits, (channels, side, side)).astype(np.uint8)
    levels[~sent] = 0
    tables = tables_from(np.zeros((1, channels, side, side), np.uint8), np.ones((1, channels), bool), bits)
    assert np.array_equal(decode(encode(levels, sent, tables), sent, tables, (side, side)), levels)


def test_the_rate_is_the_sum_of_minus_log2_p() -> None:
    tables = np.array([[0.5, 0.25, 0.125, 0.125], [0.25, 0.25, 0.25, 0.25]])[:, None].repeat(125, axis=1)
    levels = np.array([[[0, 1], [2, 3]], [[0, 0], [0, 0]]], np.uint8)
    assert rate_bits(levels, np.array([True, False]), tables) == 1 + 2 + 3 + 3
    assert rate_bits(levels, np.array([True, True]), tables) == 9 + 8


def test_real_bytes_are_the_rate_and_at_most_two_words_more() -> None:
    random = np.random.default_rng(0)
    chances = np.array([0.7, 0.2, 0.05, 0.05])
    levels = random.choice(4, (1, 3, 16, 16), p=chances).astype(np.uint8)
    sent = np.ones((1, 3), bool)
    tables = tables_from(levels, sent, 2)
    real, ideal = len(encode(levels[0], sent[0], tables)), rate_bits(levels[0], sent[0], tables) / 8
    assert ideal * 0.999 <= real <= ideal + 8
    assert real < 3 * 256 * 2 / 8 * 0.75  # far below two plain bits a value


def test_tables_count_only_what_is_sent() -> None:
    levels = np.array([[[[1, 1]]], [[[0, 0]]]], np.uint8)
    tables = tables_from(levels, np.array([[True], [False]]), 1)
    assert tables.shape == (1, 27, 2)
    beside_none, beside_a_one = tables[0, 0], tables[0, 2]
    assert beside_none == pytest.approx([0.25, 0.75])
    assert beside_a_one == pytest.approx([0.25, 0.75])
    assert np.delete(tables[0], [0, 2], axis=0) == pytest.approx(np.full((25, 2), 0.5))


@pytest.mark.parametrize("along", ["columns", "rows", "maps"])
def test_what_a_neighbour_tells_is_not_sent_again(along: str) -> None:
    """Even levels at random, each the same as its neighbour: by single tables they would take all their bits."""
    random = np.random.default_rng(1)
    shape = {"columns": (200, 4, 8, 1), "rows": (200, 4, 1, 8), "maps": (200, 1, 8, 8)}[along]
    levels = np.broadcast_to(random.integers(0, 4, shape), (200, 4, 8, 8)).astype(np.uint8)
    sent = np.ones((200, 4), bool)
    told_once_bits = 2.0 * np.prod(shape[1:])
    rate = rate_bits(levels[0], sent[0], tables_from(levels, sent, 2))
    assert told_once_bits <= rate * 1.1
    assert rate < 1.3 * told_once_bits


def test_indices_of_four_of_128_channels_take_three_bytes() -> None:
    assert comb(128, 4) == 10_668_000  # < 2^24
    assert indices_bytes(128, 4) == 3
    assert indices_bytes(128, 0) == 0


def test_half_a_word_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        decode(b"abc", np.array([True]), np.array([[0.5, 0.5]]), (1, 1))
