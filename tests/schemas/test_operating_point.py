"""Operating points: ranges checked when made, exact as JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DecodeError
from schemas.fields import Fields
from schemas.operating_point import OperatingPoint, point_from_fields

points = st.builds(
    OperatingPoint,
    tau=st.floats(0, 20) | st.just(math.inf),
    delta=st.floats(0, 1),
    min_patches=st.integers(1, 196),
    codec=st.sampled_from(["raw", "webp", "avif"]),
    quality=st.integers(0, 100),
    selection=st.sampled_from(["attention_sum", "threshold", "top_k"]),
)


@given(points)
def test_json_round_trip_is_exact(point: OperatingPoint) -> None:
    plain = json.loads(json.dumps(point.to_json(), allow_nan=False))
    assert point_from_fields(Fields("point", plain)) == point


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tau", -0.1),
        ("tau", math.nan),
        ("delta", 1.1),
        ("delta", math.nan),
        ("min_patches", 0),
        ("min_patches", 197),
        ("codec", ""),
        ("quality", 101),
        ("selection", ""),
    ],
)
def test_a_value_out_of_range_is_named(name: str, value: Any) -> None:
    values: dict[str, Any] = {"tau": 0.8, "delta": 0.97} | {name: value}
    with pytest.raises(ValueError, match=name):
        OperatingPoint(**values)
    with pytest.raises(DecodeError, match=name):
        point_from_fields(Fields("point", OperatingPoint(0.8, 0.97).to_json() | values))
