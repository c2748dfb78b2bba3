"""Settings of a producer process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from runtime.settings import MIB, FrameLimits, ProgramSettings, check_lets_through
from schemas.errors import SettingsError
from schemas.topics import max_frame_record_bytes


def _state_dir() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state") / "saccade"


class ProducerSettings(FrameLimits, extra="forbid"):
    """Cameras → `frames`."""

    max_in_flight_bytes: int = Field(default=16 * MIB, ge=1_024)
    """Bytes handed to the client and not acknowledged; beyond it cameras wait or drop."""
    linger_ms: int = Field(default=5, ge=0, le=1_000)
    fps: float = Field(default=5.0, ge=0, le=1_000)
    """Frames per second of each camera; 0 = as fast as possible."""
    drop: Literal["auto", "newest", "oldest", "never"] = "auto"
    """Which frame goes when a camera's queue is full; `never` makes the source wait. `auto` is `oldest` for
    live cameras, whose frames are worth less by the second, and `never` for files."""
    queue_frames: int = Field(default=8, ge=1, le=10_000)
    """Frames of one camera that may wait for the broker. Together they take 24 MiB at most, which decoded are 4 of
    1920x1080 or 27 of 640x480; one frame may always wait."""
    jpeg_quality: int = Field(default=85, ge=1, le=100)
    """For sources that do not deliver compressed images."""
    captured: Literal["now", "own"] = "now"
    """Capture time of files' frames: `now`, when they are played, or `own`, when the file says they were taken."""
    state_dir: Path = Field(default_factory=_state_dir)
    """Where reserved sequence numbers are kept; `~` is the user's home."""
    sequence_block: int = Field(default=1_000, ge=1, le=1_000_000)
    """Numbers reserved durably at once; a crash skips at most this many."""
    open_timeout_s: float = Field(default=10.0, gt=0, le=300)
    read_timeout_s: float = Field(default=10.0, gt=0, le=300)
    frozen_after_s: float = Field(default=60.0, ge=0)
    """A live camera that gives the same picture for so long is called frozen; 0 = never."""
    rtsp_transport: Literal["tcp", "udp", "multicast", "http"] = "tcp"
    """How RTSP cameras send. Over udp a lost packet damages the picture up to the next key frame."""
    verify_tls: bool = False
    """Refuse cameras whose certificate no known authority has signed; nearly all cameras sign their own."""
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

    @property
    def state_folder(self) -> Path:
        """`state_dir` with the user's home put in.

        Raises:
            SettingsError: this user has none.
        """
        try:
            return self.state_dir.expanduser()
        except RuntimeError:
            raise SettingsError(
                f"producer.state_dir {self.state_dir}: this user has no home folder, name another place"
            ) from None


class ProducerProgramSettings(ProgramSettings):
    """All that a producer process reads."""

    producer: ProducerSettings = Field(default_factory=ProducerSettings)

    @model_validator(mode="after")
    def _check_producer_lets_frames_through(self) -> Self:
        check_lets_through(
            "producer",
            {"max_in_flight_bytes": self.producer.max_in_flight_bytes},
            max_frame_record_bytes(self.producer.max_frame_bytes),
            "producer.max_frame_bytes",
        )
        return self
