"""Settings of the roles: producers, edge workers, server workers, the budget, metrics and logs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, FilePath, field_validator, model_validator

from runtime.connections import check_redis_url
from runtime.section import Json, OffIsNone, Port, Section
from schemas.geometry import FULL_TOKENS, NUM_PATCHES
from schemas.identity import check_site
from schemas.limits import MAX_FRAME_BYTES, MAX_FRAME_PIXELS, MAX_OFFLOAD_BYTES
from schemas.operating_point import OperatingPoint
from schemas.rates import Budget, parse_budget

_MIB = 1024 * 1024


def _state_dir() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "saccade"


class ProducerSettings(Section):
    """Cameras → `frames`."""

    max_frame_bytes: int = Field(default=MAX_FRAME_BYTES, ge=1_024, le=64 * _MIB)
    """Image bytes of one frame; a larger one is dropped and counted. The limits of topics follow."""
    max_frame_pixels: int = Field(default=MAX_FRAME_PIXELS, ge=224 * 224)
    max_in_flight_bytes: int = Field(default=16 * _MIB, ge=1_024)
    """Bytes handed to the client and not acknowledged; beyond it cameras wait or drop."""
    linger_ms: int = Field(default=5, ge=0, le=1_000)
    fps: float = Field(default=5.0, ge=0, le=1_000)
    """Frames per second of each camera; 0 = as fast as possible."""
    drop: Literal["auto", "newest", "oldest", "never"] = "auto"
    """Which frame goes when a camera's queue is full; `never` makes the source wait. `auto` is `oldest` for
    live cameras, whose frames are worth less by the second, and `never` for files."""
    queue_frames: int = Field(default=8, ge=1, le=10_000)
    """Frames of one camera that may wait for the broker."""
    jpeg_quality: int = Field(default=85, ge=1, le=100)
    """For sources that do not deliver compressed images."""
    state_dir: Path = Field(default_factory=_state_dir)
    """Where reserved sequence numbers are kept."""
    sequence_block: int = Field(default=1_000, ge=1, le=1_000_000)
    """Numbers reserved durably at once; a crash skips at most this many."""
    open_timeout_s: float = Field(default=10.0, gt=0, le=300)
    read_timeout_s: float = Field(default=10.0, gt=0, le=300)
    reconnect_min_s: float = Field(default=1.0, gt=0)
    reconnect_max_s: float = Field(default=60.0, gt=0)
    drain_s: float = Field(default=10.0, gt=0, le=600)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.reconnect_min_s > self.reconnect_max_s:
            raise ValueError(
                f"reconnect_min_s {self.reconnect_min_s} is above reconnect_max_s {self.reconnect_max_s}"
            )
        return self


class EdgeSettings(Section):
    """`frames` → labels and `offload`."""

    group_id: str = Field(default="saccade-edge", min_length=1)
    group_instance_id: str | None = None
    """Static membership: a restarted worker keeps its partitions."""
    model: str = "deit_tiny_patch16_224"
    """A timm name, a folder or file of safetensors, or `shipped`."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto` is bfloat16 where the processor computes it."""
    backend: Literal["torch", "openvino", "openvino_int8"] = "torch"
    """What computes the model. OpenVINO is faster on x86 and needs the extra: pip install 'saccade[openvino]'."""
    quantised: Annotated[Path | None, OffIsNone] = None
    """For openvino_int8: the folder that `saccade quantise` wrote from this very model."""
    threads: Annotated[int | None, OffIsNone] = Field(default=None, ge=1, le=1_024)
    """Of the model; `off` = what the container's quota allows."""
    decode_threads: int = Field(default=2, ge=1, le=256)
    batch_frames: int = Field(default=8, ge=1, le=1_024)
    """Frames of one forward pass at most; a batch never waits for more."""
    max_waiting_frames: int = Field(default=2_048, ge=1)
    max_waiting_bytes: int = Field(default=256 * _MIB, ge=_MIB)
    """Encoded frames held between the broker and the model, each counted with its record. Deep enough to
    see the newest frames behind a backlog; when full, live cameras that are behind lose their oldest."""
    fetch_max_bytes: int = Field(default=5 * _MIB, ge=1_024)
    """Of one answer of the broker, as is `max_partition_fetch_bytes`. Large answers come and go among small
    lasting objects and leave holes in the heap: at 16 MiB memory grew by 300 MB in 70,000 frames, at 5 it stayed
    within 50 MB over 64,000."""
    max_partition_fetch_bytes: int = Field(default=5 * _MIB, ge=1_024)
    max_latency_ms: int = Field(default=2_000, ge=10)
    """From capture (files: from intake) to the server's label; the deadline of offloaded frames."""
    max_frame_age_s: float = Field(default=30.0, gt=0)
    """Older frames of live cameras are dropped."""
    tau: float = Field(default=0.8, ge=0)
    """Offload when the min-entropy reaches this many bits; `inf` never offloads."""
    delta: float = Field(default=0.97, ge=0, le=1)
    """Share of the attention that the sent patches cover; 1 sends all."""
    min_patches: int = Field(default=1, ge=1, le=NUM_PATCHES)
    codec: str = Field(default="webp", min_length=1)
    """A patch codec by name; the worker names all there are where it does not know this one."""
    quality: int = Field(default=75, ge=0, le=100)
    selection: Literal["attention_sum", "threshold", "top_k"] = "attention_sum"
    max_offload_bytes: int = Field(default=MAX_OFFLOAD_BYTES, ge=1_024, le=16 * _MIB)
    offload_request_timeout_ms: int = Field(default=3_000, ge=500, le=3_000)
    """Each retry sends its request again over a thin uplink, and nothing handed to the client expires."""
    offload_linger_ms: int = Field(default=0, ge=0, le=1_000)
    commit_interval_ms: int = Field(default=250, ge=10, le=250)
    drain_s: float = Field(default=10.0, gt=0, le=600)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_frame_age_s * 1_000 < self.max_latency_ms:
            raise ValueError(
                f"max_frame_age_s {self.max_frame_age_s} is below max_latency_ms {self.max_latency_ms}: "
                "frames would be dropped before their deadline"
            )
        if self.backend == "openvino_int8" and self.quantised is None:
            raise ValueError("backend openvino_int8 needs quantised: the folder that saccade quantise wrote")
        return self

    @property
    def point(self) -> OperatingPoint:
        """The operating point that the settings name."""
        return OperatingPoint(
            tau=self.tau,
            delta=self.delta,
            min_patches=self.min_patches,
            codec=self.codec,
            quality=self.quality,
            selection=self.selection,
        )


class ServerSettings(Section):
    """`offload` → final labels."""

    group_id: str = Field(default="saccade-server", min_length=1)
    group_instance_id: str | None = None
    model: str = "deit_base_patch16_224"
    """A timm name, a folder or file of safetensors, or `shipped`."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: Annotated[int | None, OffIsNone] = Field(default=None, ge=1, le=1_024)
    decode_threads: int = Field(default=2, ge=1, le=256)
    max_batch_tokens: int = Field(default=16 * FULL_TOKENS, ge=FULL_TOKENS)
    """Tokens of one forward pass at most; a whole image has 197, so less could never be served."""
    max_batch_wait_ms: int = Field(default=10, ge=0, le=10_000)
    """How long a record may wait for company while the model is free; it does not where none is to be expected."""
    max_batch_ms: int = Field(default=250, ge=1, le=60_000)
    """A forward pass is cut to what the model computes in this time, or in a quarter of the time that the
    most urgent record has left, whichever is more: a slow machine still meets deadlines."""
    max_waiting_records: int = Field(default=1_024, ge=1)
    max_waiting_bytes: int = Field(default=64 * _MIB, ge=_MIB)
    fetch_max_bytes: int = Field(default=8 * _MIB, ge=1_024)
    max_partition_fetch_bytes: int = Field(default=_MIB, ge=1_024)
    redis_by_site: Annotated[dict[str, str], Json] = Field(default_factory=dict, repr=False)
    """Site → Redis URL of its labels; sites not named here use the section `redis`."""
    label_write_timeout_s: float = Field(default=5.0, gt=0, le=60)
    """Where redis_by_site names several: a Redis that is silent this long loses its final labels (counted),
    and the edge's stand. A worker with one Redis waits for it."""
    commit_interval_ms: int = Field(default=250, ge=10, le=250)
    drain_s: float = Field(default=10.0, gt=0, le=600)

    @field_validator("redis_by_site")
    @classmethod
    def _check_sites(cls, urls: dict[str, str]) -> dict[str, str]:
        for site, url in urls.items():
            check_site(site)
            check_redis_url(url)
        return urls


class BudgetSettings(Section):
    """What the uplink may carry, and what each setting of the offload path is known to cost."""

    rate: Annotated[str | None, OffIsNone] = None
    """`400kbit`, `80kbps`, `auto`, `5GB/month`, or `RATE@SECOND,RATE@SECOND,...`; `off` = no budget."""
    schedule_start_unix_s: Annotated[float | None, OffIsNone] = Field(default=None, ge=0)
    """When second 0 of a schedule is, for all workers alike; each worker's own start when not given."""
    hour_weights: Annotated[tuple[float, ...] | None, Json, OffIsNone] = None
    """24 weights by hour of day (UTC) that spread a volume; even when not given."""
    frontier: FilePath | None = None
    """From `saccade calibrate`, for exactly these models; a built-in curve when not given."""
    camera_weights: Annotated[dict[str, float], Json] = Field(default_factory=dict)
    """Camera → weight of its share when the budget is short; others have 1."""

    @field_validator("rate")
    @classmethod
    def _check_rate(cls, rate: str | None) -> str | None:
        if rate is not None:
            parse_budget(rate)
        return rate

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        weights = self.hour_weights
        if weights is not None and (len(weights) != 24 or min(weights) < 0 or sum(weights) <= 0):
            raise ValueError(f"hour_weights: {len(weights)} weights, must be 24 that are >= 0, one above 0")
        for camera, weight in self.camera_weights.items():
            if not 0 < weight < float("inf"):
                raise ValueError(f"camera_weights: {camera} has {weight}, must be above 0")
        return self

    @property
    def parsed(self) -> Budget | None:
        """The budget that `rate` states, None without one."""
        return None if self.rate is None else parse_budget(self.rate)


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
