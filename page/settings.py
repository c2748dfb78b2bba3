"""Settings of the page."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from runtime.section import Section
from runtime.settings import ProgramSettings


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


class PageProgramSettings(ProgramSettings):
    """All that the page reads."""

    page: PageSettings = Field(default_factory=PageSettings)
