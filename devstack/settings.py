"""The settings of a full installation: every section of every role in one tree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from edge_workers.settings import EdgeProgramSettings, EdgeSettings
from page.settings import PageProgramSettings
from producers.settings import ProducerProgramSettings, ProducerSettings
from runtime import settings_loader
from server_workers.settings import ServerProgramSettings


class Settings(ProducerProgramSettings, EdgeProgramSettings, ServerProgramSettings, PageProgramSettings):
    """What every program reads, so that one object serves all."""

    # Said again: of sections that several programs read a part of, the whole one counts.
    producer: ProducerSettings = Field(default_factory=ProducerSettings)
    edge: EdgeSettings = Field(default_factory=EdgeSettings)


def load_settings(
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The checked settings of all roles; see `runtime.settings_loader`."""
    return settings_loader.load_settings(Settings, config, overrides, environ)
