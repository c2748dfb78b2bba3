"""Wireless channels for symbols of mean power 1: white noise, and Rayleigh block fading known to both ends. Pure numpy.

A symbol is complex: two real values. Under block fading y = h x + n with h ~ CN(0, 1) fixed for a picture; with h
known, y / h is a white-noise channel whose SNR is |h|² times the mean one. So one code, recorded over the SNR, serves
both channels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def noise_power(snr_db: Floats | float) -> Floats:
    """Return the power of a symbol's noise, both parts together: 10^(-SNR/10)."""
    return np.asarray(10.0 ** (-np.asarray(snr_db, np.float64) / 10.0))


def white_noise(shape: tuple[int, ...], snr_db: float, random: np.random.Generator) -> NDArray[np.complex128]:
    """Return complex noise whose parts have half of `noise_power` each."""
    parts = random.normal(0.0, np.sqrt(noise_power(snr_db) / 2.0), (2, *shape))
    return np.asarray(parts[0] + 1j * parts[1])


def faded_snr_db(mean_snr_db: float, count: int, random: np.random.Generator) -> Floats:
    """Return (count,) SNRs under Rayleigh block fading: the mean one times |h|², which is exponential of mean 1."""
    return np.asarray(mean_snr_db + 10.0 * np.log10(random.exponential(1.0, count)))


def digital_symbols(payload_bytes: Floats, snr_db: Floats) -> Floats:
    """Return the symbols for packets at the channel's capacity, bits / log2(1 + SNR); a bound that no code beats."""
    capacity_bits = np.log2(1.0 + 10.0 ** (snr_db / 10.0))
    return np.asarray(8.0 * payload_bytes / np.maximum(capacity_bits, 1e-9))
