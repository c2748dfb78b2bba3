"""Budgets as people write them: rates in tc's units, `auto`, volumes, and schedules of rates.

`400kbit`, `2 Mbit/s` (bits per second), `80kbps` (kilobytes per second, as tc has it), `64000` (bits per
second), `auto`, `5GB/month`, `1600kbit@0,300kbit@20,0@40`.

Pure; used by settings, the controller and the simulation.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

_SCALES: Final = {
    **{"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12},
    **{"ki": 2.0**10, "mi": 2.0**20, "gi": 2.0**30, "ti": 2.0**40},
}
_PERIODS_S: Final = {"hour": 3600.0, "day": 86400.0, "week": 7 * 86400.0, "month": 30 * 86400.0}
_RATE = re.compile(r"(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<scale>[kmgt]i?)?(?P<unit>bits?(?:/s)?|bps)?")
_VOLUME = re.compile(r"(?P<number>\d+(?:\.\d*)?|\.\d+)(?P<scale>[kmgt]i?)?b/(?P<period>hour|day|week|month)")
_ALLOWED = "a rate (400kbit, 2mbit, 80kbps), auto, a volume (5GB/month) or RATE@SECOND,RATE@SECOND,..."


@dataclass(frozen=True, slots=True)
class Auto:
    """No told budget: the usable rate is estimated from the link."""


@dataclass(frozen=True, slots=True)
class Volume:
    """At most `volume_bytes` in each period of `period_s` seconds (a month counts as 30 days)."""

    volume_bytes: float
    period_s: float


@dataclass(frozen=True, slots=True)
class RateSchedule:
    """A rate that steps: `rates_bytes_per_s[i]` holds from `starts_s[i]` on, both as seconds since the start.

    A single rate is a schedule of one step at second 0. Starts ascend strictly; the first is 0.
    """

    starts_s: tuple[float, ...]
    rates_bytes_per_s: tuple[float, ...]

    def rate_at(self, elapsed_s: float) -> float:
        """The rate in bytes/s in force `elapsed_s` after the start."""
        return self.rates_bytes_per_s[max(bisect_right(self.starts_s, elapsed_s) - 1, 0)]

    def bytes_between(self, from_s: float, to_s: float) -> float:
        """The integral of the rate over [from_s, to_s], in bytes."""
        edges = [from_s, *(start for start in self.starts_s if from_s < start < to_s), to_s]
        return sum(self.rate_at(left) * (right - left) for left, right in pairwise(edges))


Budget = Auto | Volume | RateSchedule


def constant(bytes_per_s: float) -> RateSchedule:
    """A schedule of one rate for ever."""
    return RateSchedule((0.0,), (bytes_per_s,))


def parse_rate(text: str) -> float:
    """A rate in tc's units as bytes/s; a bare number is bits/s.

    Raises:
        ValueError: the text is no rate; the message shows it and what is allowed.
    """
    match = _RATE.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(
            f"rate {text!r}: expected a number and bit, kbit, mbit, gbit, bps, kbps, mbps or gbps"
        )
    value = float(match["number"]) * _SCALES[match["scale"] or ""]
    return value if match["unit"] == "bps" else value / 8


def _parse_schedule(text: str) -> RateSchedule:
    starts: list[float] = []
    rates: list[float] = []
    for step in text.split(","):
        rate, _, second = step.partition("@")
        try:
            start = float(second)
        except ValueError:
            raise ValueError(f"budget {text!r}: step {step!r} must be RATE@SECOND") from None
        if not 0 <= start < float("inf") or (starts and start <= starts[-1]):
            raise ValueError(f"budget {text!r}: seconds must ascend from 0, got {second!r}")
        starts.append(start)
        rates.append(parse_rate(rate))
    if starts[0] != 0:
        raise ValueError(f"budget {text!r}: the first step must be at second 0, got {starts[0]:g}")
    return RateSchedule(tuple(starts), tuple(rates))


def parse_budget(text: str) -> Budget:
    """The budget that `text` states.

    Raises:
        ValueError: it is none; the message shows it and what is allowed.
    """
    plain = text.strip().lower()
    if plain == "auto":
        return Auto()
    if "@" in plain:
        return _parse_schedule(plain)
    volume = _VOLUME.fullmatch(plain)
    if volume is not None:
        size = float(volume["number"]) * _SCALES[volume["scale"] or ""]
        return Volume(size, _PERIODS_S[volume["period"]])
    try:
        return constant(parse_rate(plain))
    except ValueError:
        raise ValueError(f"budget {text!r}: expected {_ALLOWED}") from None
