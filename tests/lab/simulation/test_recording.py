from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lab.simulation.recording import Recording, load_recording, synthetic
from schemas.errors import DecodeError
from uplink.default_curve import default_frontier

FRONTIER = default_frontier()


def test_frames_drawn_from_a_frontier_have_its_entropies_accuracies_and_bytes() -> None:
    recording = synthetic(FRONTIER, frames=20_000, frames_per_s=10.0, seed=3)
    assert np.quantile(recording.min_entropy, 0.57) == pytest.approx(0.8, rel=0.05)
    assert recording.edge_right.mean() == pytest.approx(0.715, abs=0.02)
    for idx, family in enumerate(recording.families):
        point = next(
            p for p in FRONTIER.points if (p.point.quality, p.point.delta) == (family.quality, family.delta)
        )
        assert recording.num_bytes[:, idx].mean() == pytest.approx(point.bytes_per_offload, rel=0.05)
        assert np.quantile(recording.num_bytes[:, idx], 0.95) == pytest.approx(
            point.bytes_per_offload_p95, rel=0.1
        )
    assert (recording.server_right.mean(axis=0)[[0, -1]] > recording.edge_right.mean()).all()


def test_neighbouring_frames_are_alike_and_a_seed_gives_the_same_frames() -> None:
    one = synthetic(FRONTIER, frames=2_000, frames_per_s=10.0, seed=3)
    two = synthetic(FRONTIER, frames=2_000, frames_per_s=10.0, seed=3)
    assert (one.min_entropy == two.min_entropy).all()
    assert np.corrcoef(one.min_entropy[1:], one.min_entropy[:-1])[0, 1] > 0.8


def test_a_recording_survives_its_file(tmp_path: Path) -> None:
    recording = synthetic(FRONTIER, frames=50, frames_per_s=10.0, seed=3)
    recording.save(tmp_path / "frames.npz")
    loaded = load_recording(tmp_path / "frames.npz")
    assert loaded.families == recording.families
    assert (loaded.num_bytes == recording.num_bytes).all()
    assert (loaded.server_right == recording.server_right).all()


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "frames.npz"
    path.write_bytes(b"no")
    with pytest.raises(DecodeError, match=r"frames\.npz"):
        load_recording(path)
    good = synthetic(FRONTIER, frames=50, frames_per_s=10.0, seed=3)
    with pytest.raises(ValueError, match="num_bytes"):
        Recording(good.min_entropy, good.edge_right, good.server_right, good.num_bytes[:, :2], good.families)
