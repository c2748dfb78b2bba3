"""What all sections of the settings share: frozen, no unknown keys, secrets from files, texts as lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, model_validator

_FILE_SUFFIX = "_file"
_OFF = frozenset({"", "off", "none"})


def _none_if_off(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() in _OFF else value


def _parsed_if_text(value: object) -> object:
    # The environment and --set carry texts only; lists and maps are written there as JSON.
    return json.loads(value) if isinstance(value, str) else value


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
    def _read_secret_files(cls, values: Any) -> Any:
        """`password_file = PATH` stands for `password = its content`, for every secret field."""
        if not isinstance(values, dict):
            return values
        read = dict(values)
        for name in cls.secret_names():
            path = read.pop(name + _FILE_SUFFIX, None)
            if path is None:
                continue
            if read.get(name) is not None:
                raise ValueError(f"{name} and {name}{_FILE_SUFFIX} are both set, use one")
            try:
                read[name] = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
            except OSError as error:
                raise ValueError(f"{name}{_FILE_SUFFIX} {str(path)!r}: {error.strerror}") from None
        return read

    @classmethod
    def secret_names(cls) -> list[str]:
        """The fields whose values are never shown."""
        return [
            name
            for name, field in cls.model_fields.items()
            if field.annotation is SecretStr or SecretStr in get_args(field.annotation)
        ]
