import numpy as np
import pytest

from lab.evaluation.stream.rivals import changed, every_nth, held, thumbnails


def test_every_nth_begins_with_the_first() -> None:
    assert np.flatnonzero(every_nth(7, 3)).tolist() == [0, 3, 6]


def test_the_last_answer_stands_until_the_next() -> None:
    sent = np.array([True, False, False, True, False])
    assert held(np.array([4, 5, 6, 7, 8]), sent).tolist() == [4, 4, 4, 7, 7]
    with pytest.raises(ValueError, match="first frame"):
        held(np.array([1, 2]), np.array([False, True]))


def test_a_frame_is_sent_when_it_differs_from_the_last_one_sent() -> None:
    """Slow drift adds up: each step is below the threshold, the sum is not."""
    levels = np.array([0, 1, 2, 3, 4, 4, 4], dtype=np.float32)
    pictures = np.ones((7, 4, 4), np.float32) * levels[:, None, None]
    assert np.flatnonzero(changed(pictures, 2.0)).tolist() == [0, 2, 4]


def test_thumbnails_are_block_means() -> None:
    crops = np.zeros((1, 224, 224, 3), np.uint8)
    crops[0, :8, :8] = 100
    small = thumbnails(crops)
    assert small.shape == (1, 28, 28)
    assert small[0, 0, 0] == 100
    assert small[0, 0, 1] == 0
