"""Wireless channels for symbols of mean power 1: white noise, and Rayleigh block fading known to both ends. Pure numpy.

A symbol is complex: two real values. Under block fading y = h x + n with h ~ CN(0, 1) fixed for a picture; with h
known, y / h is a white-noise channel whose SNR is |h|² times the mean one. So one code, recorded over the SNR, serves
both channels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def faded_snr_db(mean_snr_db: float, count: int, random: np.random.Generator) -> Floats:
    """Return (count,) SNRs under Rayleigh block fading: the mean one times |h|², which is exponential of mean 1."""
    return np.asarray(mean_snr_db + 10.0 * np.log10(random.exponential(1.0, count)))


def digital_symbols(payload_bytes: Floats, snr_db: Floats) -> Floats:
    """Return the symbols for packets at the channel's capacity, bits / log2(1 + SNR); a bound that no code beats."""
    capacity_bits = np.log2(1.0 + 10.0 ** (snr_db / 10.0))
    return np.asarray(8.0 * payload_bytes / np.maximum(capacity_bits, 1e-9))
