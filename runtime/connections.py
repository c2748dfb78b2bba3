"""Settings of the connections to Kafka and Redis, with the TLS and SASL combinations that make sense."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, FilePath, SecretStr, field_validator, model_validator

from runtime.redact import redact_url
from runtime.section import OffIsNone, Section
from schemas.redis_keys import LABEL_TTL_S, MIN_LABEL_TTL_S, STREAM_MAX_LEN
from schemas.topics import PARTITIONS


def _joined(value: object) -> object:
    return ",".join(str(each) for each in value) if isinstance(value, (list, tuple)) else value


_REDIS_SCHEMES = ("redis", "rediss", "unix")
_RESERVED = re.compile(r"[\s/?#@\[\]]|%(?![0-9a-fA-F]{2})")
_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_BRACKETED = re.compile(r"\[[0-9a-fA-F:.]+\]")


def is_host(text: str) -> bool:
    """Whether this is a name that can be looked up, or an IPv4 address: a name's parts have 1 to 63 characters."""
    return _HOST.fullmatch(text) is not None


def check_redis_url(url: str) -> str:
    """`url`, as it was meant, when it is one that the client understands as a whole.

    Spaces around it and capitals in its scheme do not matter.

    Raises:
        ValueError: says what is wrong, without user, password or place.
    """
    scheme, separator, rest = url.strip().partition("://")
    scheme = scheme.lower()
    url = f"{scheme}://{rest}"
    if not separator or scheme not in _REDIS_SCHEMES:
        raise ValueError("must begin with redis://, rediss:// (TLS) or unix://")
    user_info, at, _ = rest.rpartition("@")
    if at and _RESERVED.search(user_info):
        raise ValueError("percent-encode the password (@ is %40, / is %2F, # is %23, % is %25)")
    parts = urlsplit(url)
    try:
        (parts.hostname or "").encode("idna")
    except UnicodeError:
        raise ValueError("the parts of the host's name must have 1 to 63 characters") from None
    try:
        parts.port  # noqa: B018 - asking is what checks it
    except ValueError:
        raise ValueError("the port must be a number in [1, 65535]") from None
    if any(not name.startswith("db=") for name in parts.query.split("&") if name) or parts.fragment:
        raise ValueError("options after ? do not count: they stand in the section redis, such as timeout_s")
    if scheme != "unix" and not re.fullmatch(r"/?\d*", parts.path):
        raise ValueError("the path must be the number of the database, such as /0")
    return url


class KafkaSettings(Section):
    """One Kafka cluster, under Kafka's own names."""

    bootstrap_servers: Annotated[str, BeforeValidator(_joined)] = "127.0.0.1:9092"
    """HOST:PORT, several separated by commas."""
    client_id: str = "saccade"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_plain_username: str | None = None
    sasl_plain_password: SecretStr | None = None
    ssl_cafile: FilePath | None = None
    """Certificate authority of the brokers (PEM); the system's own when not given."""
    ssl_certfile: FilePath | None = None
    """Client certificate (PEM), for mutual TLS; needs ssl_keyfile."""
    ssl_keyfile: FilePath | None = None
    ssl_password: SecretStr | None = None
    """Password of ssl_keyfile."""
    ssl_check_hostname: bool = True
    request_timeout_ms: int = Field(default=10_000, ge=1_000, le=300_000)
    """A broker that is silent this long is asked again elsewhere."""
    retry_backoff_ms: int = Field(default=100, ge=10, le=10_000)
    metadata_max_age_ms: int = Field(default=60_000, ge=1_000, le=86_400_000)
    session_timeout_ms: int = Field(default=6_000, ge=3_000, le=300_000)
    """A worker without a heartbeat this long loses its partitions; brokers allow 6 s and more by default."""
    heartbeat_interval_ms: int = Field(default=1_000, ge=100)
    """A worker learns with its next heartbeat that another has come; until then the new one waits."""
    rebalance_timeout_ms: int = Field(default=30_000, ge=6_000, le=3_600_000)
    """Workers may drain for half of this when partitions are taken from them."""
    max_poll_interval_ms: int = Field(default=300_000, ge=10_000, le=86_400_000)

    @field_validator("bootstrap_servers")
    @classmethod
    def _check_servers(cls, servers: str) -> str:
        for server in servers.split(","):
            if "://" in server:
                raise ValueError(
                    "must be HOST:PORT alone: what stands before :// belongs in security_protocol"
                )
            host, _, port = server.strip().rpartition(":")
            is_known = is_host(host) or _BRACKETED.fullmatch(host)
            if not is_known or not port.isdecimal() or not 0 < int(port) < 1 << 16:
                raise ValueError(f"{server.strip()!r} must be HOST:PORT with a port in [1, 65535]")
        return servers

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        self._check_sasl()
        self._check_tls()
        if 2 * self.heartbeat_interval_ms > self.session_timeout_ms:
            raise ValueError(
                f"heartbeat_interval_ms {self.heartbeat_interval_ms} must be at most half of "
                f"session_timeout_ms {self.session_timeout_ms}"
            )
        return self

    def _check_sasl(self) -> None:
        credentials = {
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_plain_username,
            "sasl_plain_password": self.sasl_plain_password,
        }
        wants = self.security_protocol.startswith("SASL_")
        for name, value in credentials.items():
            if wants and value is None:
                raise ValueError(f"{name} is missing, security_protocol {self.security_protocol} needs it")
            if not wants and value is not None:
                raise ValueError(
                    f"{name} is set, but security_protocol is {self.security_protocol}; "
                    "it must be SASL_SSL or SASL_PLAINTEXT"
                )

    def _check_tls(self) -> None:
        files = {
            "ssl_cafile": self.ssl_cafile,
            "ssl_certfile": self.ssl_certfile,
            "ssl_keyfile": self.ssl_keyfile,
            "ssl_password": self.ssl_password,
        }
        if not self.uses_tls:
            for name, value in files.items():
                if value is not None:
                    raise ValueError(
                        f"{name} is set, but security_protocol is {self.security_protocol}; "
                        "it must be SSL or SASL_SSL"
                    )
        if (self.ssl_certfile is None) != (self.ssl_keyfile is None):
            raise ValueError("ssl_certfile and ssl_keyfile belong together, one is missing")
        if self.ssl_password is not None and self.ssl_keyfile is None:
            raise ValueError("ssl_password is set, but there is no ssl_keyfile")

    @property
    def uses_tls(self) -> bool:
        """True when connections are encrypted."""
        return self.security_protocol.endswith("SSL")

    @property
    def revoke_drain_s(self) -> float:
        """How long a worker may finish what it holds when partitions are taken from it."""
        return self.rebalance_timeout_ms / 2_000


class RedisSettings(Section):
    """One Redis server and how long labels live in it."""

    url: str = Field(default="redis://127.0.0.1:6379/0", repr=False)
    """redis://, rediss:// (TLS) or unix://, with the database's number as path."""
    username: str | None = None
    password: SecretStr | None = None
    """Instead of a password in the URL."""
    ssl_ca_certs: FilePath | None = None
    ssl_certfile: FilePath | None = None
    ssl_keyfile: FilePath | None = None
    ssl_check_hostname: bool = True
    timeout_s: float = Field(default=2.0, gt=0, le=60)
    """For connecting and for each answer."""
    label_ttl_s: int = Field(default=LABEL_TTL_S, ge=MIN_LABEL_TTL_S, le=31_536_000)
    """A replay of `frames` must still meet its labels: at least its retention and ten minutes."""
    stream_max_len: int = Field(default=STREAM_MAX_LEN, ge=1, le=10_000_000)
    """Label changes kept for each camera."""
    traces: bool = False
    """Keep for ten minutes what happened to each frame, stage by stage: `saccade trace` and the page show it. It costs
    Redis a kilobyte a frame, and two commands."""
    deadline_grace_ms: int = Field(default=1_000, ge=0, le=60_000)
    """A server label this long after its deadline is still written."""

    def at(self, url: str) -> Self:
        """The same for another server, whose address names its user and password itself."""
        return self.model_copy(update={"url": url, "username": None, "password": None})

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        return check_redis_url(url)

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if not self.url.startswith("rediss:"):
            for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is set, but url is not rediss://")
        if (self.ssl_certfile is None) != (self.ssl_keyfile is None):
            raise ValueError("ssl_certfile and ssl_keyfile belong together, one is missing")
        if self.password is not None and urlsplit(self.url).password:
            raise ValueError("password is set, and url holds one too; use one")
        return self


class OtlpSettings(Section):
    """Traces for an OpenTelemetry collector; its headers come from `OTEL_EXPORTER_OTLP_HEADERS`."""

    url: str = Field(default="", repr=False)
    """Where spans go by OTLP over HTTP, such as http://collector:4318/v1/traces; empty = nowhere."""
    sample: float = Field(default=0.01, ge=0, le=1)
    """The share of frames that are told, the same ones by every process."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        if url and not url.startswith(("http://", "https://")):
            raise ValueError(f"{redact_url(url)!r} must begin with http:// or https://")
        return url


class TopicSettings(Section):
    """Names and sizes of the topics; both clusters need the same ones."""

    frames: str = Field(default="frames", pattern=r"^[a-zA-Z0-9._-]{1,200}$")
    offload: str = Field(default="offload", pattern=r"^[a-zA-Z0-9._-]{1,200}$")
    partitions: int = Field(default=PARTITIONS, ge=1, le=10_000)
    """No more workers of a role can share the work; cannot be lowered later."""
    replication_factor: int = Field(default=1, ge=1, le=15)
    frames_disk_bytes: Annotated[int | None, OffIsNone] = Field(default=8 * 1024**3, ge=1024**2, le=1024**5)
    """What `frames` may take on each broker's disk; `off` = by time only."""
