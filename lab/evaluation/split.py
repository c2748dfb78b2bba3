"""Which frames choose and which frames report: two halves by the hash of a name. Pure."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray


def calibration_half(names: Sequence[str]) -> NDArray[np.bool_]:
    """Return which frames belong to the calibration half; the others are the test half.

    Args:
        names: one a frame: the file's name without its folder, or for streams the camera or clip, so that
            neighbouring frames never stand on both sides.

    The half of a name never depends on the other names.
    """
    halves = {name: blake2b(name.encode(), digest_size=1).digest()[0] & 1 == 0 for name in set(names)}
    return np.asarray([halves[name] for name in names], dtype=np.bool_)
