"""Settings of a server worker."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from runtime.connections import RedisSettings, check_redis_url
from runtime.section import Json, OffIsNone, Section
from runtime.settings import MIB, READING_LIMITS, ProgramSettings, check_lets_through
from schemas.geometry import FULL_TOKENS
from schemas.identity import check_site
from schemas.topics import max_offload_record_bytes
from vit.backends import check_backend


class ServerSettings(Section):
    """`offload` → final labels."""

    group_id: str = Field(default="saccade-server", min_length=1)
    group_instance_id: str | None = None
    model: str = "deit_base_patch16_224"
    """A timm name, a folder or file of safetensors, or `shipped`."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    backend: str = "auto"
    """What computes the model; `auto` is torch."""
    threads: Annotated[int | None, OffIsNone] = Field(default=None, ge=1, le=1_024)
    """Of the model; `off` = what the container's quota allows."""
    decode_threads: int = Field(default=2, ge=1, le=256)
    edge_weight: float = Field(default=0.5, ge=0, le=4)
    """How much the edge's own answer counts in a final label: the power of its probabilities beside the server's.
    Two models together err less than either; 0 leaves the edge out."""
    max_batch_tokens: int = Field(default=16 * FULL_TOKENS, ge=FULL_TOKENS)
    """Tokens of one forward pass at most; a whole image has 197, so less could never be served."""
    max_batch_wait_ms: int = Field(default=10, ge=0, le=10_000)
    """How long a record may wait for company while the model is free; it does not where none is to be expected."""
    max_batch_ms: int = Field(default=250, ge=1, le=60_000)
    """A forward pass is cut to what the model computes in this time, one record at least: so long waits a record
    that comes just after it has begun."""
    max_waiting_records: int = Field(default=1_024, ge=1)
    """Of all sites together. A site alone gets three quarters of it at most, two get three sevenths each, and so on;
    and no more than the model computes in about a second."""
    max_waiting_bytes: int = Field(default=64 * MIB, ge=MIB)
    fetch_max_bytes: int = Field(default=8 * MIB, ge=1_024)
    max_partition_fetch_bytes: int = Field(default=MIB, ge=1_024)
    redis_by_site: Annotated[dict[str, str], Json] = Field(default_factory=dict, repr=False)
    """Site → Redis URL of its labels; sites not named here use the section `redis`."""
    label_write_timeout_s: float = Field(default=5.0, gt=0, le=60)
    """Where redis_by_site names several: a Redis that is silent this long loses its final labels (counted),
    and the edge's stand. A worker with one Redis waits for it."""
    commit_interval_ms: int = Field(default=250, ge=10, le=250)
    drain_s: float = Field(default=10.0, gt=0, le=600)

    @field_validator("backend")
    @classmethod
    def _check_backend(cls, name: str) -> str:
        check_backend(name)
        return name

    @field_validator("redis_by_site")
    @classmethod
    def _check_sites(cls, urls: dict[str, str]) -> dict[str, str]:
        for site, url in urls.items():
            check_site(site)
            try:
                check_redis_url(url)
            except ValueError as error:
                raise ValueError(f"{site}: {error}") from None
        return urls


class ServerProgramSettings(ProgramSettings):
    """All that a server worker reads."""

    server: ServerSettings = Field(default_factory=ServerSettings)

    @model_validator(mode="after")
    def _check_server_lets_offloads_through(self) -> Self:
        check_lets_through(
            "server",
            {name: getattr(self.server, name) for name in READING_LIMITS},
            max_offload_record_bytes(self.edge.max_offload_bytes),
            "edge.max_offload_bytes",
        )
        return self

    @model_validator(mode="after")
    def _check_group_is_its_own(self) -> Self:
        # Known only where the edge's room is installed too.
        if getattr(self.edge, "group_id", None) == self.server.group_id:
            raise ValueError(
                f"edge.group_id and server.group_id are both {self.server.group_id!r}, must differ"
            )
        return self

    def redis_for(self, site: str) -> RedisSettings:
        """The Redis that holds a site's labels."""
        url = self.server.redis_by_site.get(site)
        if url is None:
            return self.redis
        return self.redis.at(url)
