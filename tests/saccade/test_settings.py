"""The settings of an installation: every room that is here is checked, sections of absent rooms are passed over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from devstack.settings import Settings
from edge_workers.settings import EdgeProgramSettings
from producers.settings import ProducerProgramSettings
from runtime.settings import ProgramSettings
from saccade import settings
from saccade.settings import installed, load_settings
from schemas.errors import SettingsError
from server_workers.settings import ServerProgramSettings

ROLES = (ProducerProgramSettings, EdgeProgramSettings, ServerProgramSettings)
FILE = """
[producer]
fps = 2.0
max_frame_bytes = 100_000
[edge]
tau = 0.5
[budget]
rate = "400kbit"
[server]
max_batch_wait_ms = 5
"""


@pytest.mark.parametrize("program", [ProgramSettings, *ROLES])
def test_in_a_full_installation_every_program_checks_every_section(program: type[ProgramSettings]) -> None:
    kinds = {name: field.annotation for name, field in Settings.model_fields.items()}
    fields = installed(program).model_fields
    assert {name: fields[name].annotation for name in kinds} == kinds
    assert issubclass(installed(program), program)
    for section in ("producer", "edge", "budget", "server"):
        with pytest.raises(SettingsError, match=rf"{section}\.tipo: no such setting"):
            load_settings(program, None, {section: {"tipo": 1}}, {})


@pytest.mark.parametrize("program", ROLES)
def test_in_an_image_of_one_role_the_same_file_serves(
    program: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (room,) = [room for room, (name, _) in settings.PROGRAMS.items() if name == program.__name__]
    monkeypatch.setattr(settings, "find_spec", lambda name: True if name == room else None)
    path = tmp_path / "saccade.toml"
    path.write_text(FILE)
    loaded = load_settings(program, path, None, {})
    assert loaded.producer.max_frame_bytes == 100_000
    assert hasattr(loaded, "server") == (room == "server_workers")
    assert hasattr(loaded, "budget") == (room == "edge_workers")
    (own, *_) = settings.PROGRAMS[room][1]
    with pytest.raises(SettingsError, match=rf"{own}\.tipo: no such setting"):
        load_settings(program, path, {own: {"tipo": 1}}, {})
    with pytest.raises(SettingsError, match=r"serfer: no such setting"):
        load_settings(program, path, {"serfer": {}}, {})
