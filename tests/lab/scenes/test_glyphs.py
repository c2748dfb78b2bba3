import numpy as np

from lab.scenes.classes import GROUP_OF_CLASS
from lab.scenes.glyphs import MASTER_PX, all_pyramids
from lab.scenes.views import MAX_SIDE_PX, MIN_SIDE_PX


def masters() -> list[np.ndarray]:
    return [np.asarray(pyramid[0]).astype(int) for pyramid in all_pyramids()]


def glyph_side(one: np.ndarray, other: np.ndarray) -> int:
    """Return the larger side of what differs between two masters of one group."""
    rows, columns = np.nonzero(np.abs(one - other).max(axis=2) > 40)
    return int(max(np.ptp(rows), np.ptp(columns))) + 1


def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    drawn = masters()
    labels = range(1, len(drawn) + 1)
    return [
        (drawn[a - 1], drawn[b - 1])
        for a in labels
        for b in labels
        if a < b and GROUP_OF_CLASS[a] == GROUP_OF_CLASS[b]
    ]


def test_signs_of_one_group_have_the_same_outline() -> None:
    assert all((one[..., 3] == other[..., 3]).all() for one, other in pairs())


def test_the_glyph_spans_14_pixels_for_85_percent_of_objects() -> None:
    """Sides are log-uniform, so the share of objects above a side is known exactly."""
    span = np.log(MAX_SIDE_PX / MIN_SIDE_PX)
    shares = []
    for one, other in pairs():
        least = 14 * MASTER_PX / glyph_side(one, other)
        shares.append(np.clip(np.log(MAX_SIDE_PX / max(least, MIN_SIDE_PX)) / span, 0, 1))
    assert np.mean(shares) >= 0.85


def test_pyramids_halve() -> None:
    for pyramid in all_pyramids():
        assert [level.width for level in pyramid] == [MASTER_PX, MASTER_PX // 2, MASTER_PX // 4]
