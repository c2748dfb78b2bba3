"""Settings of an edge worker."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from gating.entropy import CALIBRATED, check_score
from gating.select import check_selection
from runtime.section import OffIsNone
from runtime.settings import MIB, READING_LIMITS, OffloadLimits, check_lets_through
from schemas.geometry import NUM_PATCHES
from schemas.operating_point import OperatingPoint
from schemas.topics import max_frame_record_bytes
from uplink.settings import UplinkProgramSettings
from vit.backends import check_backend
from vit.codecs import check_codec, check_quality


class EdgeSettings(OffloadLimits, extra="forbid"):
    """`frames` → labels and `offload`."""

    group_id: str = Field(default="saccade-edge", min_length=1)
    group_instance_id: str | None = None
    """Static membership: a restarted worker keeps its partitions."""
    model: str = "deit_tiny_patch16_224"
    """A timm name, a folder or file of safetensors, `shipped`, or a folder that `saccade export` wrote."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto` is bfloat16 where the processor computes it."""
    backend: str = "auto"
    """What computes the model: torch, openvino or onnxruntime. `auto` is torch, and for an exported folder what is
    installed, OpenVINO first."""
    threads: Annotated[int | None, OffIsNone] = Field(default=None, ge=1, le=1_024)
    """Of the model; `off` = what the container's quota allows."""
    decode_threads: int = Field(default=2, ge=1, le=256)
    batch_frames: int = Field(default=8, ge=1, le=1_024)
    """Frames of one forward pass at most; a batch never waits for more."""
    stillness: Literal["auto", "on", "off"] = "auto"
    """A camera's JPEG that looks like its last classified frame takes that one's answer, for a second at most and
    not while its belief is in doubt. `auto` is on where the frontier was calibrated on streams. Never for stills."""
    max_waiting_frames: int = Field(default=2_048, ge=1)
    max_waiting_bytes: int = Field(default=256 * MIB, ge=MIB)
    """Encoded frames held between the broker and the model, each counted with its record. Deep enough to
    see the newest frames behind a backlog; when full, live cameras that are behind lose their oldest."""
    fetch_max_bytes: int = Field(default=5 * MIB, ge=1_024)
    """Of one answer of the broker, as is `max_partition_fetch_bytes`. Large answers come and go among small
    lasting objects and leave holes in the heap: at 16 MiB memory grew by 300 MB in 70,000 frames, at 5 it stayed
    within 50 MB over 64,000."""
    max_partition_fetch_bytes: int = Field(default=5 * MIB, ge=1_024)
    max_latency_ms: int = Field(default=2_000, ge=10)
    """From capture (files: from the edge's own label) to the server's label; the deadline of offloaded frames."""
    max_frame_age_s: float = Field(default=30.0, gt=0)
    """Older frames of live cameras are dropped."""
    score: str = "min_entropy"
    """How the gate measures doubt: min_entropy, shannon_entropy (both in bits) or margin (0 to 1)."""
    tau: float = Field(default=0.8, ge=0)
    """Offload when the score reaches this; `inf` never offloads."""
    delta: float = Field(default=0.97, ge=0, le=1)
    """Share of the attention that the sent patches cover; 1 sends all."""
    min_patches: int = Field(default=1, ge=1, le=NUM_PATCHES)
    codec: str = "webp"
    """A patch codec by name: raw, webp_lossless, jpeg, webp, avif, or one of your own."""
    quality: int = Field(default=75, ge=0, le=100)
    """Of the codec, as its library counts it."""
    selection: str = "attention_sum"
    """The rule that chooses the patches, by name."""
    offload_request_timeout_ms: int = Field(default=3_000, ge=500, le=3_000)
    """Each retry sends its request again over a thin uplink, and nothing handed to the client expires."""
    offload_linger_ms: int = Field(default=0, ge=0, le=1_000)
    commit_interval_ms: int = Field(default=250, ge=10, le=250)
    drain_s: float = Field(default=10.0, gt=0, le=600)

    @field_validator("backend")
    @classmethod
    def _check_backend(cls, name: str) -> str:
        check_backend(name)
        return name

    @field_validator("score")
    @classmethod
    def _check_score(cls, name: str) -> str:
        check_score(name)
        return name

    @field_validator("selection")
    @classmethod
    def _check_selection(cls, name: str) -> str:
        check_selection(name)
        return name

    @field_validator("codec")
    @classmethod
    def _check_codec(cls, name: str) -> str:
        check_codec(name)
        return name

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_quality(self.codec, self.quality)
        if self.max_frame_age_s * 1_000 < self.max_latency_ms:
            raise ValueError(
                f"max_frame_age_s {self.max_frame_age_s} is below max_latency_ms {self.max_latency_ms}: "
                "frames would be dropped before their deadline"
            )
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


class EdgeProgramSettings(UplinkProgramSettings):
    """All that an edge worker reads."""

    edge: EdgeSettings = Field(default_factory=EdgeSettings)

    @model_validator(mode="after")
    def _check_score_is_calibrated(self) -> Self:
        if self.budget.rate is not None and self.edge.score != CALIBRATED:
            raise ValueError(
                f"edge.score {self.edge.score!r} goes without a budget only: frontiers are calibrated on {CALIBRATED}"
            )
        return self

    @model_validator(mode="after")
    def _check_edge_lets_frames_through(self) -> Self:
        check_lets_through(
            "edge",
            {name: getattr(self.edge, name) for name in READING_LIMITS},
            max_frame_record_bytes(self.producer.max_frame_bytes),
            "producer.max_frame_bytes",
        )
        return self
