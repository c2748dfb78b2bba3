"""All settings of all programs: TOML file < `SACCADE__SECTION__KEY` environment < flags, checked at start.

Unknown keys are errors wherever they come from. A secret may be given by the name with `_file` added and the
path of a file that holds it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from runtime.connections import KafkaSettings, RedisSettings, TopicSettings
from runtime.log import redact
from runtime.roles import (
    BudgetSettings,
    EdgeSettings,
    LogSettings,
    MetricsSettings,
    ProducerSettings,
    ServerSettings,
)
from runtime.section import Section
from schemas.errors import SettingsError
from schemas.identity import check_site
from schemas.topics import max_frame_record_bytes, max_offload_record_bytes

__all__ = [
    "BudgetSettings",
    "EdgeSettings",
    "KafkaSettings",
    "LogSettings",
    "MetricsSettings",
    "ProducerSettings",
    "RedisSettings",
    "ServerSettings",
    "Settings",
    "TopicSettings",
    "load_settings",
]

ENV_PREFIX = "SACCADE__"
_SECRET_WORDS = ("password", "url", "redis_by_site")


class Settings(Section):
    """The whole tree, frozen."""

    site: str = ""
    """Prefix of this site's camera ids (SITE/NAME); empty = one site only."""
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    """The cluster of `frames`, and of `offload` unless offload_kafka names another."""
    offload_kafka: KafkaSettings | None = None
    """The cluster of `offload`, beyond the uplink."""
    topics: TopicSettings = Field(default_factory=TopicSettings)
    redis: RedisSettings = Field(default_factory=RedisSettings)
    producer: ProducerSettings = Field(default_factory=ProducerSettings)
    edge: EdgeSettings = Field(default_factory=EdgeSettings)
    server: ServerSettings = Field(default_factory=ServerSettings)
    budget: BudgetSettings = Field(default_factory=BudgetSettings)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    log: LogSettings = Field(default_factory=LogSettings)

    @field_validator("site")
    @classmethod
    def _check_site(cls, site: str) -> str:
        check_site(site)
        return site

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        """One size setting each for frames and offloads; every limit on their way must let them through."""
        frame = max_frame_record_bytes(self.producer.max_frame_bytes)
        offload = max_offload_record_bytes(self.edge.max_offload_bytes)
        reading = ("max_partition_fetch_bytes", "fetch_max_bytes", "max_waiting_bytes")
        paths = (
            (self.producer, "producer", ("max_in_flight_bytes",), frame),
            (self.edge, "edge", reading, frame),
            (self.server, "server", reading, offload),
        )
        for section, role, names, needed in paths:
            source = "edge.max_offload_bytes" if role == "server" else "producer.max_frame_bytes"
            for name in names:
                value = getattr(section, name)
                if value < needed:
                    raise ValueError(f"{role}.{name} {value} must be at least {needed}: {source} and headers")
        if self.server.group_id == self.edge.group_id:
            raise ValueError(
                f"edge.group_id and server.group_id are both {self.edge.group_id!r}, must differ"
            )
        return self

    @property
    def offload_cluster(self) -> KafkaSettings:
        """The cluster of `offload`: offload_kafka, or kafka without one."""
        return self.kafka if self.offload_kafka is None else self.offload_kafka

    @property
    def uplink_simulated(self) -> bool:
        """True when a budget is set but both topics share one cluster: reports must say so."""
        return self.budget.rate is not None and self.offload_kafka is None

    def redis_for(self, site: str) -> RedisSettings:
        """The Redis that holds a site's labels."""
        url = self.server.redis_by_site.get(site)
        if url is None:
            return self.redis
        return self.redis.model_copy(update={"url": url, "username": None, "password": None})

    def redacted(self) -> dict[str, Any]:
        """The tree as plain JSON values, passwords and credentials in URLs replaced by asterisks."""
        plain: dict[str, Any] = _redacted(self.model_dump(mode="json"))
        return plain


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


def load_settings(
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The checked settings: `config` (TOML) < environment < `overrides` (a nested tree).

    Raises:
        SettingsError: names the key, its value (unless secret) and what is allowed.
    """
    tree: dict[str, Any] = {}
    _merge(tree, _from_file(config) if config is not None else {})
    _merge(tree, _from_environment(os.environ if environ is None else environ))
    _merge(tree, overrides or {})
    try:
        return Settings.model_validate(tree)
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
