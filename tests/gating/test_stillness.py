"""When a frame is still: never for a tile changed above the noise, for a second at most, in order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gating.stillness import (
    LEAST_NOISE,
    MAX_NOISE,
    NOISE_DOUBLES_S,
    NOISE_RANGE,
    TILES,
    CameraStillness,
    Tiles,
)

S = 1_000_000_000
FRAME_NS = S // 5


def view(level: int = 100, *, noise: float = 0.0, seed: int = 0) -> Tiles:
    picture = np.full((TILES, TILES, 3), level, np.float64)
    grain = np.random.default_rng(seed).normal(0, noise, picture.shape)
    return (picture + grain).round().clip(0, 255).astype(np.uint8)


def with_tile(tiles: Tiles, level: int, at: tuple[int, int, int] = (5, 9, 1)) -> Tiles:
    changed = tiles.copy()
    changed[at] = level
    return changed


def quiet(noise: float = 0.5, frames: int = 10) -> CameraStillness[int]:
    """A camera that has shown nothing but noise; its next frame is number `frames`."""
    camera: CameraStillness[int] = CameraStillness()
    for seq in range(frames):
        camera.look(seq, seq * FRAME_NS, view(noise=noise, seed=seq), seq)
    return camera


def test_an_unchanged_frame_takes_what_was_shown_with_the_last_classified_one() -> None:
    camera: CameraStillness[str] = CameraStillness()
    assert camera.look(3, 0, view(), "third") is None
    assert camera.look(4, FRAME_NS, view(), "fourth") == "third"
    assert camera.look(6, 2 * FRAME_NS, view(101), "sixth") == "third"


@pytest.mark.parametrize("fps", [1.0, 5.0, 25.0, 30.0])
@pytest.mark.parametrize("noise", [0.0, 0.5, 1.2])
def test_a_standing_camera_is_classified_once_a_second(fps: float, noise: float) -> None:
    camera: CameraStillness[int] = CameraStillness()
    shown_s: list[float] = []
    for seq in range(round(20 * fps)):
        at_s = seq / fps
        if camera.look(seq, round(at_s * S), view(noise=noise, seed=seq), seq) is None:
            shown_s.append(at_s)
    assert all(later - sooner <= 1.0 + 1 / fps for sooner, later in pairwise(shown_s))
    assert 20 <= len(shown_s) <= 23


@given(
    st.floats(0, 1.0),
    st.tuples(st.integers(0, TILES - 1), st.integers(0, TILES - 1), st.integers(0, 2)),
    st.integers(0, 255),
    st.integers(0, 9),
)
def test_one_tile_changed_above_the_noise_is_never_still(
    noise: float, at: tuple[int, int, int], level: int, frames: int
) -> None:
    camera = quiet(noise, frames + 1)
    changed = with_tile(view(noise=noise, seed=frames), level, at)
    found = camera.look(frames + 1, (frames + 1) * FRAME_NS, changed, -1)
    if abs(level - 100) > NOISE_RANGE * MAX_NOISE + 5 * noise:
        assert found is None


def test_a_small_change_that_goes_on_is_seen_when_it_has_added_up() -> None:
    """Each frame differs by one grey level from the one before: compared with that one, none would ever count."""
    camera = quiet()
    classified = [
        seq
        for seq in range(10, 40)
        if camera.look(seq, 10 * FRAME_NS + seq * 1_000_000, view(90 + seq), seq) is None
    ]
    assert len(classified) >= 3


@pytest.mark.parametrize("captured_ns", [11 * FRAME_NS + S, 10 * FRAME_NS - S])
def test_a_clock_that_jumps_makes_no_frame_still(captured_ns: int) -> None:
    camera: CameraStillness[int] = CameraStillness()
    camera.look(10, 10 * FRAME_NS, view(), 10)
    assert camera.look(11, captured_ns, view(), 11) is None
    assert camera.look(12, captured_ns + FRAME_NS, view(), 12) == 11


def test_frames_that_come_again_or_late_are_classified_and_change_nothing() -> None:
    camera: CameraStillness[int] = CameraStillness()
    camera.look(10, 10 * FRAME_NS, view(), 10)
    for seq in (10, 4, 9):
        assert camera.look(seq, seq * FRAME_NS, view(200), seq) is None
    assert camera.look(11, 11 * FRAME_NS, view(), 11) == 10
    assert camera.look(11, 11 * FRAME_NS, view(), 11) is None


def test_a_camera_that_moves_is_never_still_however_long_it_does() -> None:
    rng = np.random.default_rng(1)
    camera: CameraStillness[int] = CameraStillness()
    for seq in range(500):
        tiles = rng.integers(60, 200, (TILES, TILES, 3)).astype(np.uint8)
        assert camera.look(seq, seq * FRAME_NS, tiles, seq) is None
    assert camera.noise == MAX_NOISE


def test_a_frame_that_nobody_could_look_at_may_have_shown_anything() -> None:
    camera: CameraStillness[int] = CameraStillness()
    tiles = np.full((TILES, TILES, 3), 90, np.uint8)
    assert [camera.look(seq, seq * 100_000_000, tiles, seq) for seq in range(3)] == [None, 0, 0]
    camera.forget()
    assert [camera.look(seq, seq * 100_000_000, tiles, seq) for seq in range(4, 6)] == [None, 4]


def test_noise_falls_at_once_and_rises_slowly_within_its_bounds() -> None:
    camera: CameraStillness[int] = CameraStillness()
    camera.look(0, 0, view(), 0)
    assert camera.noise == MAX_NOISE
    camera.look(1, FRAME_NS, view(101), 1)
    assert camera.noise == LEAST_NOISE
    camera.look(2, FRAME_NS + round(NOISE_DOUBLES_S * S), view(180), 2)
    assert camera.noise == pytest.approx(2 * LEAST_NOISE)
    camera.look(3, 10**6 * S, view(20), 3)
    assert camera.noise == MAX_NOISE


def test_the_same_picture_again_teaches_no_noise() -> None:
    """As of a decoder that repeats frames: the noise of the others would be taken for motion."""
    camera: CameraStillness[int] = CameraStillness()
    for seq in range(5):
        camera.look(seq, seq * FRAME_NS, view(), seq)
    assert camera.noise == MAX_NOISE


def test_a_frozen_reference_does_not_outlive_a_cut() -> None:
    camera = quiet()
    assert camera.look(10, 10 * FRAME_NS, view(30), 10) is None
    assert camera.look(11, 11 * FRAME_NS, view(30), 11) == 10
    assert camera.look(12, 12 * FRAME_NS, view(100), 12) is None
