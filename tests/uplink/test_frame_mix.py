from __future__ import annotations

import numpy as np
import pytest

from uplink.frame_mix import MAX_FRAMES, FrameMix, Mix

PRIOR = tuple(np.linspace(0.0, 1.0, 101))


def share_at(mix: Mix, tau: float) -> float:
    """The share of frames whose min-entropy reaches `tau` bits."""
    return float(np.append(mix.share_from, 0.0)[mix.scores.searchsorted(tau)])


def test_without_frames_the_calibration_stands_in() -> None:
    mix = FrameMix(PRIOR, 0.0).snapshot(1.0)
    assert mix.frames_per_s == 0.0
    assert share_at(mix, 0.5) == pytest.approx(0.5, abs=0.05)


def test_the_rate_counts_the_last_seconds() -> None:
    frames = FrameMix(PRIOR, 0.0)
    for idx in range(200):
        frames.observe(1.0, idx / 20)
    assert frames.frames_per_s(10.0) == pytest.approx(20, rel=0.05)
    for idx in range(200):
        frames.observe(1.0, 10.0 + idx / 40)
    assert frames.frames_per_s(15.0) == pytest.approx(40, rel=0.05)


def test_a_slow_camera_is_counted_over_a_longer_time() -> None:
    frames = FrameMix(PRIOR, 0.0)
    for idx in range(60):
        frames.observe(1.0, idx * 2.0)
    assert frames.frames_per_s(120.0) == pytest.approx(0.5, rel=0.05)


def test_the_present_outweighs_the_past() -> None:
    """Six seconds after all frames turned hard, most of the mix is hard."""
    frames = FrameMix(PRIOR, 0.0)
    for idx in range(200):
        frames.observe(0.1, idx / 20)
    for idx in range(120):
        frames.observe(3.0, 10.0 + idx / 20)
    assert 0.6 < share_at(frames.snapshot(16.0), 1.0) < 0.75


def test_shares_descend_from_one_over_ascending_entropies() -> None:
    frames = FrameMix(PRIOR, 0.0)
    for idx in range(3 * MAX_FRAMES):
        frames.observe(float(np.sin(idx) ** 2), idx / 1_000)
    mix = frames.snapshot(3 * MAX_FRAMES / 1_000)
    assert mix.share_from[0] == 1.0
    assert (np.diff(mix.share_from) <= 0).all()
    assert (np.diff(mix.scores) >= 0).all()
    assert share_at(mix, 2.0) == 0.0
