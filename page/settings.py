"""Settings of the page, of events and of frames kept for teaching."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from runtime.section import Json, Section
from runtime.settings import MIB, ProgramSettings


class PageSettings(Section):
    """Where the page is served, to whom, and how much it holds."""

    host: str = "127.0.0.1"
    """Address to listen on; any other than this machine's own needs users_file."""
    port: int = Field(default=8800, ge=0, le=65_535)
    """Port to listen on; 0 takes a free one."""
    users_file: Path | None = None
    """Lines NAME:look|change:HASH; `saccade page --hash-password` makes the hash."""
    ssl_certfile: Path | None = None
    """Certificate (PEM) for HTTPS; needs ssl_keyfile. Without it, put a proxy with HTTPS in front."""
    ssl_keyfile: Path | None = None
    max_viewers: int = Field(default=50, ge=1, le=1_000)
    """Open live streams; one more is refused."""
    max_held_frames: int = Field(default=400, ge=1, le=10_000)
    """Newest frames and thumbnails kept in memory, each; the least recent goes."""
    thumbnail_pixels: int = Field(default=320, ge=64, le=1_280)
    """Longer side of a thumbnail."""

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.ssl_certfile is None) != (self.ssl_keyfile is None):
            raise ValueError("ssl_certfile and ssl_keyfile belong together, one is missing")
        return self


class PatienceSettings(Section):
    """How long a label must stand, and may be gone."""

    stand_s: float = Field(default=1.0, ge=0, le=3_600)
    """A label is an event once it has stood for this long."""
    gone_s: float = Field(default=3.0, ge=0, le=86_400)
    """An event ends once its label was gone for this long."""


class EventSettings(PatienceSettings):
    """What is an event, and where events are sent."""

    min_confidence: float = Field(default=0.5, ge=0, le=1)
    """A frame below it counts as `unknown`."""
    ignored: Annotated[list[str], Json] = Field(default_factory=lambda: ["none", "unknown"])
    """Labels that are no events: they only end others."""
    by_label: Annotated[dict[str, PatienceSettings], Json] = Field(default_factory=dict)
    """Another patience with some labels."""
    webhook_url: SecretStr | None = None
    """Each event is POSTed here as JSON; may hold a token, so it is kept secret."""
    webhook_secret: SecretStr | None = None
    """Key of the signature in X-Saccade-Signature: sha256= HMAC of TIMESTAMP.BODY."""
    mqtt_url: str | None = Field(default=None, pattern=r"^mqtts?://[^/@\s]+/?$")
    """mqtt://HOST:PORT or mqtts://HOST:PORT; user and password stand beside it."""
    mqtt_username: str | None = None
    mqtt_password: SecretStr | None = None
    mqtt_prefix: str = Field(default="saccade", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """First part of every MQTT topic."""
    kafka_topic: str | None = Field(default=None, pattern=r"^[a-zA-Z0-9._-]{1,200}$")
    """Events are records of this topic of the site's cluster; it must exist."""

    @field_validator("webhook_url")
    @classmethod
    def _check_webhook(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("must be http://... or https://...")
        if url is not None and not _names_a_host(url.get_secret_value()):
            raise ValueError(_WANT_HOST)
        return url

    @field_validator("mqtt_url")
    @classmethod
    def _check_mqtt(cls, url: str | None) -> str | None:
        if url is not None and not _names_a_host(url):
            raise ValueError(_WANT_HOST)
        return url


_WANT_HOST = "must name a host, and a port from 1 to 65535 where it names one"


def _names_a_host(url: str) -> bool:
    """Nothing of the address is told on: it may hold a token."""
    try:
        parts = urlsplit(url)
        return url.isprintable() and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no port, or half an IPv6 address
        return False


class HarvestSettings(Section):
    """Which frames are kept for people to label, and where."""

    file: Path | None = None
    """Frames that nobody was sure of, or on which the server corrected the edge, are kept here; unset: none are."""
    max_bytes: int = Field(default=512 * MIB, ge=MIB)
    """Size of the file; what is worth least goes, of the camera that holds most. What people labelled stays."""
    max_confidence: float = Field(default=0.6, ge=0, le=1)
    """An answer below it is one that nobody is sure of."""


class PageProgramSettings(ProgramSettings):
    """All that the page reads."""

    page: PageSettings = Field(default_factory=PageSettings)
    events: EventSettings = Field(default_factory=EventSettings)
    harvest: HarvestSettings = Field(default_factory=HarvestSettings)
