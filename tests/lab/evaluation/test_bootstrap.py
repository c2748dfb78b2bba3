import math

import numpy as np
import pytest

from lab.evaluation.bootstrap import mean_interval, paired_difference


def test_the_interval_of_a_share_is_the_binomials() -> None:
    """The normal approximation is good at 60 % of 1,000."""
    values = np.array([1.0] * 600 + [0.0] * 400)
    low, high = mean_interval(values)
    half = 1.96 * math.sqrt(0.6 * 0.4 / 1000)
    assert low == pytest.approx(0.6 - half, abs=0.004)
    assert high == pytest.approx(0.6 + half, abs=0.004)


def test_it_covers_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        low, high = mean_interval((rng.random(300) < 0.3).astype(float))
        hits += low <= 0.3 <= high
    assert 180 <= hits <= 200


def test_the_same_values_give_the_same_interval() -> None:
    values = np.array([0.0, 1.0, 1.0, 0.5])
    assert mean_interval(values) == mean_interval(values)


def test_pairing_removes_what_both_share() -> None:
    """Two methods that differ on one frame in 100 differ by a narrow interval, wide as each one's own is."""
    rng = np.random.default_rng(1)
    one = (rng.random(400) < 0.5).astype(float)
    other = one.copy()
    other[:4] = 1 - other[:4]
    difference, (low, high) = paired_difference(one, other)
    assert difference == pytest.approx((one - other).mean())
    own_low, own_high = mean_interval(one)
    assert high - low < (own_high - own_low) / 3
    assert low <= difference <= high


def test_frames_of_one_camera_are_resampled_together() -> None:
    """Ten cameras of 100 equal frames say as much as ten frames, not as a thousand."""
    cameras = np.repeat(np.arange(10), 100)
    values = np.repeat(np.array([1.0, 0.0] * 5), 100)
    low, high = mean_interval(values, cameras)
    frame_low, frame_high = mean_interval(values)
    assert high - low > 5 * (frame_high - frame_low)


def test_a_single_camera_leaves_everything_open() -> None:
    values = np.array([0.0, 1.0, 1.0])
    assert mean_interval(values, np.zeros(3, dtype=np.int64)) == (0.0, 1.0)


def test_bad_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="values"):
        mean_interval(np.zeros(0))
    with pytest.raises(ValueError, match="same frames"):
        paired_difference(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match="clusters"):
        mean_interval(np.zeros(2), np.zeros(3, dtype=np.int64))
