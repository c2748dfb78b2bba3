import numpy as np
import pytest

from lab.scenes.classes import CLASSES, IGNORE, NONE
from lab.scenes.seeds import TEST_SEEDS
from lab.scenes.views import render_view

pytestmark = pytest.mark.slow  # large scenes are rendered

FIRST = TEST_SEEDS.start


@pytest.fixture(scope="module")
def views():
    return [render_view(FIRST + number) for number in range(80)]


def test_the_same_seed_gives_the_same_frame(views) -> None:
    again = render_view(FIRST)
    assert (again.image == views[0].image).all()
    assert again[1:5] == views[0][1:5]
    assert not (render_view(FIRST + 1).image == again.image).all()


def test_the_mask_changes_nothing_but_itself() -> None:
    for seed in range(FIRST, FIRST + 12):
        plain, masked = render_view(seed), render_view(seed, want_mask=True)
        assert (plain.image == masked.image).all()
        assert plain[1:5] == masked[1:5]


def test_frames_are_rgb_bytes_of_the_size_asked_for(views) -> None:
    assert views[0].image.shape == (480, 640, 3)
    assert views[0].image.dtype == np.uint8
    assert render_view(FIRST, 1280, 720).image.shape == (720, 1280, 3)


def test_most_views_show_a_class_few_are_empty_or_ignored(views) -> None:
    truths = [view.truth for view in views]
    assert set(truths) <= set(range(-1, len(CLASSES)))
    assert 0.02 < np.mean([truth == NONE for truth in truths]) < 0.3
    assert 0.0 < np.mean([truth == IGNORE for truth in truths]) < 0.3
    assert len(set(truths)) > 12


def test_sizes_spread_widely(views) -> None:
    sides = [view.side_px for view in views if view.label != NONE]
    assert min(sides) < 36
    assert max(sides) > 90


def test_easy_views_show_large_bare_objects() -> None:
    easy = [render_view(seed, ease=1.0) for seed in range(30)]
    assert all(view.truth == view.label for view in easy)


def test_a_seed_outside_the_ranges_is_refused() -> None:
    with pytest.raises(ValueError, match="seed"):
        render_view(TEST_SEEDS.stop)
