"""Checked reading of one decoded map (msgpack or JSON): type first, then range, one clear error.

Used by every schema; unknown extra fields are ignored, so that newer writers stay readable.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.errors import DecodeError

_MISSING = object()


def json_value(what: str, text: str) -> Any:
    """What JSON says, or `DecodeError` `bad_json`; numbers too long and nesting too deep are none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DecodeError("bad_json", f"{what}: {str(error)[:200]}") from None


@dataclass(frozen=True, slots=True)
class Fields:
    """One map and its name in error messages.

    Every reader returns the named field with the stated type and range, or raises `DecodeError` with reason
    `missing_field`, `wrong_type`, `out_of_range` or `too_large`.
    """

    what: str
    values: Mapping[str, Any]

    @classmethod
    def of(cls, what: str, value: object) -> Fields:
        """`value` as a map, or `DecodeError` `wrong_type`."""
        if not isinstance(value, Mapping):
            raise DecodeError("wrong_type", f"{what}: expected a map, got {type(value).__name__}")
        return cls(what, value)

    @classmethod
    def of_json(cls, what: str, text: str) -> Fields:
        """The map that `text` is; `DecodeError` as of `json_value` and `of`."""
        return cls.of(what, json_value(what, text))

    def _typed(self, name: str, kind: type | tuple[type, ...], expected: str) -> Any:
        value = self.values.get(name, _MISSING)
        if value is _MISSING:
            raise DecodeError("missing_field", f"{self.what}.{name}: missing, expected {expected}")
        is_bool = isinstance(value, bool)
        if not isinstance(value, kind) or (is_bool and kind is not bool):
            raise DecodeError(
                "wrong_type", f"{self.what}.{name}: expected {expected}, got {type(value).__name__}"
            )
        return value

    def is_null(self, name: str) -> bool:
        """True when the field is absent or null."""
        return self.values.get(name) is None

    def version(self, supported: int, name: str = "v") -> None:
        """Returns when the version field is the supported one, else `DecodeError` `version`."""
        value = self._typed(name, int, f"version {supported}")
        if value != supported:
            raise DecodeError("version", f"{self.what}.{name}: version {value}, only {supported} is known")

    def integer(self, name: str, low: int, high: int) -> int:
        """An integer in [low, high]."""
        value: int = self._typed(name, int, f"an integer in [{low}, {high}]")
        if not low <= value <= high:
            raise DecodeError("out_of_range", f"{self.what}.{name}: {value} is outside [{low}, {high}]")
        return value

    def number(self, name: str, low: float, high: float = math.inf, *, infinite: bool = False) -> float:
        """A float (or integer) in [low, high], never NaN, infinite only where `infinite` says so."""
        value = self._typed(name, (float, int), f"a number in [{low:g}, {high:g}]")
        try:
            number = float(value)
        except OverflowError:
            number = math.nan
        if not low <= number <= high or (math.isinf(number) and not infinite):
            raise DecodeError("out_of_range", f"{self.what}.{name}: {number} is outside [{low:g}, {high:g}]")
        return number

    def text(self, name: str, max_chars: int) -> str:
        """A string of at most `max_chars` characters."""
        value: str = self._typed(name, str, f"text of at most {max_chars} characters")
        if len(value) > max_chars:
            raise DecodeError(
                "too_large", f"{self.what}.{name}: {len(value)} characters, at most {max_chars}"
            )
        return value

    def binary(self, name: str, max_bytes: int) -> bytes:
        """A byte string of at most `max_bytes`."""
        value: bytes = self._typed(name, bytes, f"at most {max_bytes} bytes")
        if len(value) > max_bytes:
            raise DecodeError("too_large", f"{self.what}.{name}: {len(value)} bytes, at most {max_bytes}")
        return value

    def boolean(self, name: str) -> bool:
        """True or false."""
        value: bool = self._typed(name, bool, "true or false")
        return value

    def sequence(self, name: str, max_items: int) -> list[Any]:
        """A list of at most `max_items` unchecked values."""
        value: list[Any] = self._typed(name, list, f"a list of at most {max_items}")
        if len(value) > max_items:
            raise DecodeError("too_large", f"{self.what}.{name}: {len(value)} items, at most {max_items}")
        return value

    def choice(self, name: str, allowed: frozenset[str]) -> str:
        """One of the allowed strings."""
        value: str = self._typed(name, str, f"one of {', '.join(sorted(allowed))}")
        if value not in allowed:
            raise DecodeError(
                "out_of_range", f"{self.what}.{name}: {value!r:.80} is none of {', '.join(sorted(allowed))}"
            )
        return value
