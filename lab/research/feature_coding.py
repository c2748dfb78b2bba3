"""Quantised feature maps as bytes and back, by a range coder with one fixed table per channel. Pure numpy.

The tables are counted once on the training pictures and lie on both sides, so nothing of them travels.
"""

from __future__ import annotations

from math import comb
from typing import Final

import constriction
import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.uint8]
Tables = NDArray[np.float64]
_WORD_BYTES: Final = 4


def tables_from(levels: Levels, sent: NDArray[np.bool_], bits: int) -> Tables:
    """Return (C, 2^bits) probabilities: counts of the sent maps plus one half each, so that no level is impossible.

    Args:
        levels: (N, C, H, W), 0 to 2^bits - 1.
        sent: (N, C), the channels that a picture sends.
        bits: 1 to 8.
    """
    counts = np.full((levels.shape[1], 2**bits), 0.5)
    for channel in range(levels.shape[1]):
        used = levels[sent[:, channel], channel]
        counts[channel] += np.bincount(used.ravel(), minlength=2**bits)
    return np.asarray(counts / counts.sum(1, keepdims=True))


def rate_bits(levels: Levels, sent: NDArray[np.bool_], tables: Tables) -> float:
    """Return the ideal bits of one picture's maps under `tables`: the sum of -log2 p, indices not included."""
    return float(sum(-np.log2(tables[channel, levels[channel]]).sum() for channel in np.flatnonzero(sent)))


def encode(levels: Levels, sent: NDArray[np.bool_], tables: Tables) -> bytes:
    """Return one picture's sent maps, (C, H, W) levels in channel order, as whole 4-byte words of a range coder."""
    coder = constriction.stream.queue.RangeEncoder()
    for channel in np.flatnonzero(sent):
        coder.encode(levels[channel].ravel().astype(np.int32), _model(tables[channel]))
    return bytes(coder.get_compressed().astype("<u4").tobytes())


def decode(coded: bytes, sent: NDArray[np.bool_], tables: Tables, shape: tuple[int, int]) -> Levels:
    """Return (C, H, W) levels of `encode`; maps that were not sent are 0.

    Raises:
        ValueError: `coded` is not a whole number of words.
    """
    if len(coded) % _WORD_BYTES:
        raise ValueError(f"coded maps: {len(coded)} bytes, must be a multiple of {_WORD_BYTES}")
    coder = constriction.stream.queue.RangeDecoder(np.frombuffer(coded, "<u4").astype(np.uint32))
    levels = np.zeros((len(tables), *shape), np.uint8)
    for channel in np.flatnonzero(sent):
        levels[channel] = np.reshape(coder.decode(_model(tables[channel]), shape[0] * shape[1]), shape)
    return levels


def _model(probabilities: NDArray[np.float64]) -> constriction.stream.model.Categorical:
    return constriction.stream.model.Categorical(probabilities.astype(np.float32), perfect=False)


def encode_indices(sent: NDArray[np.bool_]) -> bytes:
    """Return which k of C channels are sent as their number among all such sets; both sides know C and k.

    The set {c1 < c2 < ...} has the number sum of binomial(ci, i), so all sets of k channels count from 0 on.
    """
    channels = np.flatnonzero(sent)
    number = sum(comb(int(channel), place) for place, channel in enumerate(channels, 1))
    return number.to_bytes(indices_bytes(len(sent), len(channels)), "big")


def decode_indices(coded: bytes, num_channels: int, num_sent: int) -> NDArray[np.bool_]:
    """Return the (C,) mask of `encode_indices`.

    Raises:
        ValueError: the number is not that of a set of `num_sent` of `num_channels` channels.
    """
    number = int.from_bytes(coded, "big")
    if number >= comb(num_channels, num_sent):
        raise ValueError(f"indices {number}: must be below {comb(num_channels, num_sent)}")
    sent = np.zeros(num_channels, np.bool_)
    channel = num_channels - 1
    for place in range(num_sent, 0, -1):
        while comb(channel, place) > number:
            channel -= 1
        sent[channel] = True
        number -= comb(channel, place)
    return sent


def indices_bytes(num_channels: int, num_sent: int) -> int:
    """Return the bytes that tell any set of `num_sent` of `num_channels` channels."""
    return -(-(comb(num_channels, num_sent) - 1).bit_length() // 8)
