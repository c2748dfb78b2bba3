from __future__ import annotations

import pytest

from schemas.rates import Volume, parse_budget
from uplink.volume import VolumePlan

DAY_S = 86_400.0
MONTH = parse_budget("5GB/month")


def test_an_even_volume_is_its_mean_rate() -> None:
    assert isinstance(MONTH, Volume)
    assert VolumePlan(MONTH).rate_bytes_per_s(0.0, 0.0) == pytest.approx(5e9 / (30 * DAY_S))


def test_what_was_overspent_is_saved_in_the_rest_and_nothing_leaves_once_all_is_spent() -> None:
    plan = VolumePlan(Volume(1000.0, DAY_S))
    assert plan.rate_bytes_per_s(750.0, DAY_S / 2) == pytest.approx(250 / (DAY_S / 2))
    assert plan.rate_bytes_per_s(1001.0, DAY_S / 2) == 0.0


def test_hours_get_their_weight() -> None:
    weights = [0.0] * 24
    weights[8], weights[9] = 3.0, 1.0
    plan = VolumePlan(Volume(4000.0, DAY_S), weights)
    assert plan.rate_bytes_per_s(0.0, 3600.0) == 0.0
    assert plan.rate_bytes_per_s(0.0, 8 * 3600.0) == pytest.approx(3000 / 3600)
    assert plan.rate_bytes_per_s(3000.0, 9 * 3600.0) == pytest.approx(1000 / 3600)


@pytest.mark.parametrize("period_s", [3600.0, DAY_S, 30 * DAY_S])
def test_following_the_rate_spends_the_volume_in_its_period(period_s: float) -> None:
    plan = VolumePlan(Volume(1e6, period_s), [1.0 + hour % 5 for hour in range(24)])
    spent, at_s, step_s = 0.0, period_s * 3, 300.0
    while at_s < period_s * 4:
        spent += plan.rate_bytes_per_s(spent, at_s) * step_s
        at_s += step_s
    assert spent == pytest.approx(1e6, rel=0.01)
    assert spent <= 1e6


def test_a_new_period_starts_anew() -> None:
    plan = VolumePlan(Volume(1000.0, DAY_S))
    assert plan.rate_bytes_per_s(999.0, DAY_S - 1) == pytest.approx(1.0)
    assert plan.rate_bytes_per_s(0.0, DAY_S) == pytest.approx(1000 / DAY_S)


def test_weights_that_are_not_24_are_refused() -> None:
    with pytest.raises(ValueError, match="hour_weights"):
        VolumePlan(Volume(1000.0, DAY_S), [1.0] * 23)
