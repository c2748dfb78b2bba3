"""Settings that all programs share, and the loader: TOML file < `SACCADE__SECTION__KEY` environment < flags.

Each role adds its own sections in a subclass of `ProgramSettings`, in its own room. Unknown keys are errors
wherever they come from. A secret may be given by the name with `_file` added and the path of a file that holds it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from runtime.connections import KafkaSettings, RedisSettings, TopicSettings
from runtime.redact import redact
from runtime.section import Port, Section
from schemas.errors import SettingsError
from schemas.identity import check_site
from schemas.limits import MAX_FRAME_BYTES, MAX_FRAME_PIXELS, MAX_OFFLOAD_BYTES

ENV_PREFIX: Final = "SACCADE__"
MIB: Final = 1024 * 1024
READING_LIMITS: Final = ("max_partition_fetch_bytes", "fetch_max_bytes", "max_waiting_bytes")
"""The settings of a consumer that must let its largest record through."""
_SECRET_WORDS = ("password", "url", "redis_by_site")


class MetricsSettings(Section):
    """The HTTP side of each process: /metrics, /healthz, /readyz."""

    host: str = "127.0.0.1"
    port: Port = Field(default=0, ge=0, lt=1 << 16)
    """0 = any free one (logged), `off` = none."""
    stuck_after_s: float = Field(default=30.0, gt=0)
    """With records waiting and none finished this long, /healthz says 503."""
    per_camera: bool = True
    """A series for each camera; switch it off for many hundred cameras in one process."""


class LogSettings(Section):
    """Logs on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class FrameLimits(Section, extra="ignore"):
    """What every program reads of the section `producer`."""

    max_frame_bytes: int = Field(default=MAX_FRAME_BYTES, ge=1_024, le=64 * MIB)
    """Image bytes of one frame; a larger one is dropped and counted. The limits of topics follow."""
    max_frame_pixels: int = Field(default=MAX_FRAME_PIXELS, ge=224 * 224)


class OffloadLimits(Section, extra="ignore"):
    """What every program reads of the section `edge`."""

    max_offload_bytes: int = Field(default=MAX_OFFLOAD_BYTES, ge=1_024, le=16 * MIB)


class ProgramSettings(Section):
    """The sections that every program has, frozen."""

    site: str = ""
    """Prefix of this site's camera ids (SITE/NAME); empty = one site only."""
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    """The cluster of `frames`, and of `offload` unless offload_kafka names another."""
    offload_kafka: KafkaSettings | None = None
    """The cluster of `offload`, beyond the uplink."""
    topics: TopicSettings = Field(default_factory=TopicSettings)
    redis: RedisSettings = Field(default_factory=RedisSettings)
    producer: FrameLimits = Field(default_factory=FrameLimits)
    edge: OffloadLimits = Field(default_factory=OffloadLimits)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    log: LogSettings = Field(default_factory=LogSettings)

    @field_validator("site")
    @classmethod
    def _check_site(cls, site: str) -> str:
        check_site(site)
        return site

    @property
    def offload_cluster(self) -> KafkaSettings:
        """The cluster of `offload`: offload_kafka, or kafka without one."""
        return self.kafka if self.offload_kafka is None else self.offload_kafka

    def redacted(self) -> dict[str, Any]:
        """The tree as plain JSON values, passwords and credentials in URLs replaced by asterisks."""
        plain: dict[str, Any] = _redacted(self.model_dump(mode="json"))
        return plain


def check_lets_through(section: str, limits: Mapping[str, int], needed_bytes: int, source: str) -> None:
    """Each of a section's `limits` lets a record of `needed_bytes` through, whose size `source` sets.

    Raises:
        ValueError: names the first that does not.
    """
    for name, value in limits.items():
        if value < needed_bytes:
            raise ValueError(
                f"{section}.{name} {value} must be at least {needed_bytes}: {source} and headers"
            )


def _redacted(value: Any) -> Any:
    match value:
        case dict():
            return {key: _redacted(each) for key, each in value.items()}
        case list():
            return [_redacted(each) for each in value]
        case str():
            return redact(value)
        case float() if value == float("inf"):
            return "inf"
        case _:
            return value


Program = TypeVar("Program", bound=ProgramSettings)


def load_settings(
    program: type[Program],
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    elsewhere: Collection[str] = (),
) -> Program:
    """A program's checked settings: `config` (TOML) < environment < `overrides` (a nested tree).

    Sections of `elsewhere` that the program does not have are passed over: they are for programs that are
    not installed here.

    Raises:
        SettingsError: names the key, its value (unless secret) and what is allowed.
    """
    tree: dict[str, Any] = {}
    _merge(tree, _from_file(config) if config is not None else {})
    _merge(tree, _from_environment(os.environ if environ is None else environ))
    _merge(tree, overrides or {})
    try:
        return program.model_validate(
            {key: value for key, value in tree.items() if key in program.model_fields or key not in elsewhere}
        )
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(each) for each in error.errors(include_url=False))) from None


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"settings file {path}: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"settings file {path}: no TOML: {error}") from None


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name in sorted(environ):
        if not name.upper().startswith(ENV_PREFIX):
            continue
        *sections, key = name[len(ENV_PREFIX) :].lower().split("__")
        nested: dict[str, Any] = {key: environ[name]}
        for section in reversed(sections):
            nested = {section: nested}
        _merge(tree, nested)
    return tree


def _merge(tree: dict[str, Any], above: Mapping[str, Any]) -> None:
    """`tree` holds `above`'s values over its own, section by section."""
    for key, value in above.items():
        mine = tree.get(key)
        if isinstance(mine, dict) and isinstance(value, Mapping):
            _merge(mine, value)
        else:
            tree[key] = _copied(value)


def _copied(value: Any) -> Any:
    return {key: _copied(each) for key, each in value.items()} if isinstance(value, Mapping) else value


def _explain(error: ErrorDetails) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "settings"
    if error["type"] == "extra_forbidden":
        return f"{key}: no such setting"
    message = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
    value = error["input"]
    if isinstance(value, (dict, Section)):
        return f"{key}: {message}"
    shown = "***" if any(word in key for word in _SECRET_WORDS) else redact(f"{value!r:.120}")
    return f"{key} = {shown}: {message}"
