import numpy as np
import pytest
from PIL import Image

from lab.scenes.classes import IGNORE, NONE
from lab.scenes.composition import Thing, compose
from lab.scenes.sprites import Look, distractors, sign_masters
from lab.scenes.truth import crop_window

CROP = crop_window(640, 480)
PLAIN = Look(0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0, 0)
PARKING = 13
"""A class with a square outline: shares of it are easy to tell."""


def composed(*things: Thing, want_mask: bool = False):
    canvas = Image.new("RGB", (640, 480), (120, 120, 120))
    return compose(canvas, list(things), CROP, noise=0, random=np.random.default_rng(0), want_mask=want_mask)


def sign(x: float = 320, y: float = 240, side_px: float = 120, look: Look = PLAIN) -> Thing:
    return Thing(PARKING, sign_masters(PARKING), x, y, side_px, look)


def test_a_bare_object_inside_the_crop_is_its_class() -> None:
    view = composed(sign())
    assert (view.truth, view.label) == (PARKING, PARKING)
    assert view.visible == pytest.approx(1.0)
    assert view.side_px == pytest.approx(120 * 224 / 420)


def test_the_crop_cuts_what_is_visible() -> None:
    assert composed(sign(x=CROP.left)).visible == pytest.approx(0.5, abs=0.02)
    assert composed(sign(x=CROP.left)).truth == IGNORE
    assert composed(sign(x=CROP.left - 80)).truth == NONE


@pytest.mark.parametrize("edge", range(4))
def test_a_cover_hides_its_share(edge) -> None:
    covered = Look(0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.3, edge, 60)
    assert composed(sign(look=covered)).visible == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize("want_mask", [False, True])
def test_a_nearer_thing_hides_and_a_farther_one_does_not(want_mask) -> None:
    masters = distractors()[0]
    near = Thing(NONE, masters, 320 + 100, 240, 200, PLAIN)
    far = Thing(NONE, masters, 320 + 60, 240, 60, PLAIN)
    assert composed(sign(), far, want_mask=want_mask).visible == pytest.approx(1.0)
    assert composed(sign(), near, want_mask=want_mask).visible < 0.75


def test_the_mask_is_what_is_visible_in_the_frame() -> None:
    view = composed(sign(), want_mask=True)
    rows, columns = np.nonzero(np.asarray(view.mask) > 128)
    assert np.mean(columns) == pytest.approx(320, abs=1.5)
    assert np.mean(rows) == pytest.approx(240, abs=1.5)
    assert composed(sign()).mask is None


def test_a_view_without_an_object_is_none_and_has_no_mask() -> None:
    view = composed(Thing(NONE, distractors()[1], 320, 240, 80, PLAIN), want_mask=True)
    assert (view.truth, view.label, view.visible, view.mask) == (NONE, NONE, 0.0, None)
