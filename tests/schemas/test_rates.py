"""Budgets as people write them, in tc's units."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.rates import Auto, RateSchedule, Volume, constant, parse_budget, parse_rate


@pytest.mark.parametrize(
    ("text", "bytes_per_s"),
    [
        ("400kbit", 50_000),
        ("2mbit", 250_000),
        ("2Mbit", 250_000),
        ("2 Mbit/s", 250_000),
        ("500 kbits/s", 62_500),
        ("1.5mbit", 187_500),
        ("80kbps", 80_000),
        ("1kibit", 128),
        ("1kibps", 1_024),
        ("1gbit", 125_000_000),
        ("64000", 8_000),
        ("0", 0),
        (" 8bit ", 1),
    ],
)
def test_rates_follow_tc(text: str, bytes_per_s: float) -> None:
    assert parse_rate(text) == bytes_per_s
    assert parse_budget(text) == constant(bytes_per_s)


def test_auto_volumes_and_schedules() -> None:
    assert parse_budget("AUTO") == Auto()
    assert parse_budget("5GB/month") == Volume(5e9, 30 * 86_400)
    assert parse_budget("100MiB/hour") == Volume(100 * 2**20, 3_600)
    stepped = parse_budget("1600kbit@0,300kbit@20,0@40.5")
    assert stepped == RateSchedule((0, 20, 40.5), (200_000, 37_500, 0))


@pytest.mark.parametrize(
    "text",
    ["", "fast", "-1kbit", "1 parsec", "nan", "1e3", "5GB/year", "1kbit@", "1kbit@x", "1kbit@5",
     "1kbit@0,2kbit@0", "1kbit@0,", "1kbit@nan", "auto@0"],
)  # fmt: skip
def test_anything_else_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"budget|rate"):
        parse_budget(text)


def test_a_schedule_knows_its_rate_and_its_integral() -> None:
    steps = RateSchedule((0, 10, 20), (100, 0, 50))
    assert [steps.rate_at(at) for at in (-1, 0, 9.9, 10, 20, 1e9)] == [100, 100, 100, 0, 50, 50]
    assert steps.bytes_between(5, 25) == 5 * 100 + 5 * 50
    assert steps.bytes_between(11, 12) == 0


@given(st.lists(st.floats(0.1, 1e3), min_size=1, max_size=6), st.floats(0, 50), st.floats(0, 50))
def test_the_integral_adds_up(rates: list[float], middle: float, end: float) -> None:
    steps = RateSchedule(tuple(float(10 * idx) for idx in range(len(rates))), tuple(rates))
    left, right = sorted((middle, end))
    split = steps.bytes_between(0, left) + steps.bytes_between(left, right)
    assert split == pytest.approx(steps.bytes_between(0, right))
