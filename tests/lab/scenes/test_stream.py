from itertools import islice, pairwise

import numpy as np
import pytest

from lab.scenes.classes import CLASSES, IGNORE, NONE
from lab.scenes.seeds import TEST_SEEDS
from lab.scenes.stream import SceneStream
from lab.scenes.truth import crop_window


@pytest.fixture(scope="module")
def frames():
    return list(islice(SceneStream(TEST_SEEDS.start + 7, fps=5.0), 150))


def test_the_same_seed_gives_the_same_stream(frames) -> None:
    again = list(islice(SceneStream(TEST_SEEDS.start + 7, fps=5.0), 20))
    assert all((one == other).all() and a == b for (one, a), (other, b) in zip(again, frames, strict=False))


def test_truths_are_classes_none_or_ignored(frames) -> None:
    truths = [truth for _, truth in frames]
    assert set(truths) <= {IGNORE, *range(len(CLASSES))}
    assert {IGNORE, NONE} < set(truths)


def test_objects_approach_before_they_are_told(frames) -> None:
    """Between a view without an object and one of a class lies at least one that is neither."""
    truths = [truth for _, truth in frames]
    assert not any(a == NONE and b > NONE for a, b in pairwise(truths))


def test_quiet_frames_differ_by_little(frames) -> None:
    changes = [
        np.abs(after.astype(int) - before).mean()
        for (before, a), (after, b) in pairwise(frames)
        if a == b == NONE
    ]
    assert np.median(changes) < 12


def test_a_passing_object_grows() -> None:
    stream = SceneStream(TEST_SEEDS.start + 1, fps=5.0)
    passage, crop = stream._passage, crop_window(640, 480)
    span = passage.end_s - passage.begin_s
    sides = [passage.at(passage.begin_s + share * span, crop).side_px for share in (0.0, 0.3, 0.6, 0.9)]
    assert sides == sorted(sides)
    assert sides[-1] > 3 * sides[0]


def test_a_rate_that_is_no_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="fps"):
        SceneStream(1, fps=0)
