"""Numbers with the units that people write beside them: `2m` for a time in seconds, `4MB` for a size in bytes."""

from __future__ import annotations

import re
from typing import Final

_NUMBER: Final = re.compile(r"\s*(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>[a-z/]+)\s*")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_BYTES: Final = {
    "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30
}  # fmt: skip
_KINDS: Final = (
    ("_ms", {unit: 1000 * length for unit, length in _SECONDS.items()}, "milliseconds, such as 250 or 2s"),
    ("_s", _SECONDS, "seconds, such as 10, 2m or 500ms"),
    ("_bytes", _BYTES, "bytes, such as 4000000, 4MB or 4MiB"),
    ("fps", {"fps": 1.0, "/s": 1.0}, "frames per second, such as 5 or 0.2"),
)
"""How a setting's name ends → units by their size in the setting's own, and what to say of them."""


def in_own_unit(name: str, value: object) -> object:
    """Return the number in the unit of the setting `name` where `value` is a text like `2m`, else `value` itself."""
    found = _NUMBER.fullmatch(value.lower()) if isinstance(value, str) else None
    for ending, units, _ in _KINDS:
        if found is not None and name.endswith(ending) and found["unit"] in units:
            number = float(found["number"]) * units[found["unit"]]
            return int(number) if number.is_integer() else number
    return value


def wanted(name: str) -> str:
    """Return what may be written for a number of that name."""
    return next((words for ending, _, words in _KINDS if name.endswith(ending)), "")
