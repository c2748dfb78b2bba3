"""The bitmap of kept patches: a set of positions in, the same ascending positions out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.bitmap import bitmap_of, positions_of


@given(st.lists(st.integers(0, 195), min_size=1, max_size=196, unique=True))
def test_positions_come_back_ascending(positions: list[int]) -> None:
    back = positions_of(bitmap_of(np.array(positions)))
    assert back.dtype == np.int64
    assert back.tolist() == sorted(positions)


def test_the_first_bit_is_patch_0_and_the_last_four_are_unused() -> None:
    assert bitmap_of(np.array([0])) == b"\x80" + bytes(24)
    assert bitmap_of(np.array([195])) == bytes(24) + b"\x10"
    assert bitmap_of(np.arange(196)) == b"\xff" * 24 + b"\xf0"


@pytest.mark.parametrize("positions", [[], [196], [-1], [3, 3], [[1, 2]]])
def test_what_is_no_set_of_patches_is_refused(positions: list[int]) -> None:
    with pytest.raises(ValueError, match="positions"):
        bitmap_of(np.array(positions, dtype=np.int64))
