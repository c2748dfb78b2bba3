"""The sections of settings that all programs share.

Each role adds its own sections in a subclass of `ProgramSettings`, in its own room.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Final, Literal

from pydantic import Field, field_validator

from runtime.connections import KafkaSettings, OtlpSettings, RedisSettings, TopicSettings, is_host
from runtime.redact import redact_url
from runtime.section import Port, Section
from schemas.identity import check_site
from schemas.limits import MAX_FRAME_BYTES, MAX_FRAME_PIXELS, MAX_OFFLOAD_BYTES
from schemas.topics import offload_topic

MIB: Final = 1024 * 1024
READING_LIMITS: Final = ("max_partition_fetch_bytes", "fetch_max_bytes", "max_waiting_bytes")
"""The settings of a consumer that must let its largest record through."""


class MetricsSettings(Section):
    """The HTTP side of each process: /metrics, /healthz, /readyz."""

    host: str = "127.0.0.1"
    """Where the port listens; 0.0.0.0 = on every interface."""
    port: Port = Field(default=0, ge=0, lt=1 << 16)
    """Of /metrics, /healthz and /readyz; 0 = any free one (logged), `off` = none."""
    stuck_after_s: float = Field(default=30.0, gt=0)
    """With records waiting and none finished this long, /healthz says 503."""
    per_camera: bool = True
    """A series for each camera; switch it off for many hundred cameras in one process."""

    @field_validator("host")
    @classmethod
    def _check_host(cls, host: str) -> str:
        host = host.strip()
        address = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        try:
            ip_address(address)
        except ValueError:
            if not is_host(host):
                raise ValueError(
                    "must be an address (0.0.0.0 = every interface) or a name whose parts have 1 to 63 characters"
                ) from None
            return host
        return address


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
    otlp: OtlpSettings = Field(default_factory=OtlpSettings)

    @property
    def offload_topic(self) -> str:
        """Where this site's edges write their offload records."""
        return offload_topic(self.site, self.topics.offload)

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
            return redact_url(value)
        case float() if value == float("inf"):
            return "inf"
        case _:
            return value
