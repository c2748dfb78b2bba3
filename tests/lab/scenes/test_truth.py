import pytest

from lab.scenes.classes import IGNORE, NONE
from lab.scenes.truth import crop_window, truth_of


@pytest.mark.parametrize(
    ("label", "visible", "side_px", "truth"),
    [
        (3, 1.0, 100.0, 3),
        (3, 0.60, 24.0, 3),
        (3, 0.59, 24.0, IGNORE),
        (3, 0.60, 23.9, IGNORE),
        (3, 0.10, 100.0, IGNORE),
        (3, 0.09, 100.0, NONE),
        (3, 1.0, 10.0, IGNORE),
        (3, 1.0, 9.9, NONE),
        (NONE, 1.0, 100.0, NONE),
    ],
)
def test_the_truth_follows_what_is_visible_and_how_large_it_is(
    label: int, visible: float, side_px: float, truth: int
) -> None:
    assert truth_of(label, visible, side_px) == truth


@pytest.mark.parametrize(("width", "height"), [(640, 480), (1280, 720), (480, 640), (1920, 1080)])
def test_the_crop_is_the_centre_seven_eighths_of_the_short_side(width: int, height: int) -> None:
    window = crop_window(width, height)
    assert window.side == pytest.approx(min(width, height) * 224 / 256)
    assert window.left + window.side / 2 == pytest.approx(width / 2)
    assert window.top + window.side / 2 == pytest.approx(height / 2)
    assert window.side * window.scale == pytest.approx(224)
