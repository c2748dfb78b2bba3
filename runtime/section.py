"""What all sections of the settings share: frozen, no unknown keys, secrets from files, texts as lists, units.

A number may be written with its unit: `2m` for a time in seconds, `4MB` for a size in bytes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Final, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, model_validator

FILE_SUFFIX = "_file"
_OFF = frozenset({"", "off", "none"})


def _none_if_off(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() in _OFF else value


def _parsed_if_text(value: object) -> object:
    # The environment and --set carry texts only; lists and maps are written there as JSON.
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError(f"must be JSON: {error}") from None


OffIsNone = BeforeValidator(_none_if_off)
"""Lets files, variables and flags, which have no null, say `off`."""
Json = BeforeValidator(_parsed_if_text)
"""A list or map, or its JSON text."""

Port = Annotated[int | None, OffIsNone]


class Section(BaseModel):
    """A part of the settings; every field's meaning and unit stands below it."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True, allow_inf_nan=True
    )

    @model_validator(mode="before")
    @classmethod
    def _read_as_written(cls, values: Any) -> Any:
        """`password_file = PATH` stands for `password = its content`, and `timeout_s = "2m"` for `timeout_s = 120`."""
        if not isinstance(values, dict):
            return values
        read: dict[str, Any] = {name: in_own_unit(name, value) for name, value in values.items()}
        for name in cls.secret_names():
            path = read.pop(name + FILE_SUFFIX, None)
            if path is None:
                continue
            if read.get(name) is not None:
                raise ValueError(f"{name} and {name}{FILE_SUFFIX} are both set, use one")
            try:
                read[name] = Path(path).read_text(encoding="utf-8-sig").rstrip("\r\n")
            except OSError as error:
                raise ValueError(f"{name}{FILE_SUFFIX} {str(path)!r}: {error.strerror}") from None
            except ValueError:
                raise ValueError(f"{name}{FILE_SUFFIX} {str(path)!r}: is no UTF-8 text") from None
        return read

    @classmethod
    def secret_names(cls) -> list[str]:
        """The fields that are or may hold a secret; a URL may."""
        return [
            name
            for name, field in cls.model_fields.items()
            if not field.repr or field.annotation is SecretStr or SecretStr in get_args(field.annotation)
        ]

    @classmethod
    def setting_names(cls) -> list[str]:
        """Every key that may be set, those of sections inside as `section.key`."""
        names = []
        for name, field in cls.model_fields.items():
            inside = field.annotation, *get_args(field.annotation)
            section = next(
                (each for each in inside if isinstance(each, type) and issubclass(each, Section)), None
            )
            names += [name] if section is None else [f"{name}.{key}" for key in section.setting_names()]
        return names + [name + FILE_SUFFIX for name in cls.secret_names()]


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
