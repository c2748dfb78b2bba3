"""Rivals that send some whole frames and let the last answer stand in between. Pure numpy."""

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]


def every_nth(num_frames: int, n: int) -> Mask:
    """Return (T,) which frames are sent: the first and every n-th after it."""
    return np.asarray(np.arange(num_frames) % n == 0)


def changed(thumbnails: NDArray[np.float32], threshold: float) -> Mask:
    """Return (T,) which frames are sent: those that differ from the last one sent.

    Args:
        thumbnails: (T, h, w) grey levels 0..255.
        threshold: mean absolute difference in grey levels from which a frame is sent.
    """
    sent = np.zeros(len(thumbnails), dtype=np.bool_)
    reference = None
    for idx, picture in enumerate(thumbnails):
        if reference is None or float(np.abs(picture - reference).mean()) >= threshold:
            sent[idx] = True
            reference = picture
    return sent


def held(answers: Ints, sent: Mask) -> Ints:
    """Return (T,) the answer that stands at each frame: that of the last frame sent, the first of all."""
    if not sent[0]:
        raise ValueError("sent: the first frame must be sent, or nothing stands before it")
    last = np.maximum.accumulate(np.where(sent, np.arange(sent.size), 0))
    return np.asarray(answers[last])


def thumbnails(crops: NDArray[np.uint8], factor: int = 8) -> NDArray[np.float32]:
    """Return (T, 224 / factor, 224 / factor) grey means of blocks of (T, 224, 224, 3) crops."""
    count, side, _, _ = crops.shape
    blocks = crops.reshape(count, side // factor, factor, side // factor, factor * 3)
    return np.asarray(blocks.mean(axis=(2, 4), dtype=np.float32))
