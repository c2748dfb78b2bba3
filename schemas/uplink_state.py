"""What an edge worker tells of its uplink each second through Redis, as readers check it.

Written by edge workers (`uplink.scheduler.Explanation`), read by `saccade top` and the page.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from schemas.errors import DecodeError, decodes
from schemas.fields import Fields

_MAX_TEXT: Final = 512
_MAX: Final = 1e300
"""Two of them add up to a number still."""
_NUMBERS: Final = (
    *("budget_bytes_per_s", "usable_bytes_per_s", "measured_bytes_per_s", "wanted_bytes_per_s"),
    *("offload_share", "frames_per_s", "still_per_s", "expected_accuracy", "observed_accuracy"),
)


@decodes
def decode_uplink_state(text: str) -> dict[str, Any]:
    """The state as it was told. What its readers show has the right type, or is absent or null.

    Raises:
        DecodeError: it is no map, a field has another type, or something in it could not be told on as JSON.
    """
    fields = Fields.of_json("uplink state", text)
    try:
        json.dumps(fields.values, allow_nan=False, ensure_ascii=False).encode()
    except ValueError as error:  # NaN, infinity, half of a character
        raise DecodeError("out_of_range", f"uplink state: {error}") from None
    _check_numbers(fields, _NUMBERS)
    _check_texts(fields, ("state", "cause"))
    if (point := _part(fields, "point")) is not None:
        _check_numbers(
            point, ("delta", "quality") if point.values.get("tau") == "inf" else ("tau", "delta", "quality")
        )
        _check_texts(point, ("codec",))
    if (disagreement := _part(fields, "disagreement")) is not None:
        _check_numbers(disagreement, ("observed", "expected"))
    for name in ("held_back", "bytes_by_camera"):
        if (counts := _part(fields, name)) is not None:
            _check_numbers(counts, counts.values)
    return dict(fields.values)


def _part(fields: Fields, name: str) -> Fields | None:
    return None if fields.is_null(name) else Fields.of(f"{fields.what}.{name}", fields.values[name])


def _check_numbers(fields: Fields, names: Iterable[str]) -> None:
    for name in names:
        if not fields.is_null(name):
            fields.number(name, -_MAX, _MAX)


def _check_texts(fields: Fields, names: Iterable[str]) -> None:
    for name in names:
        if not fields.is_null(name):
            fields.text(name, _MAX_TEXT)
