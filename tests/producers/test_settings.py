"""Settings of a producer: where its state is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from producers.settings import ProducerSettings
from schemas.errors import SettingsError


def test_state_is_kept_in_the_users_home_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert ProducerSettings().state_folder == Path("/home/someone/.local/state/saccade")
    monkeypatch.setenv("XDG_STATE_HOME", "/var/state")
    assert ProducerSettings().state_folder == Path("/var/state/saccade")
    assert ProducerSettings(state_dir=Path("~/x")).state_folder == Path("/home/someone/x")


def test_a_user_without_a_home_is_told_which_setting_names_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    with pytest.raises(SettingsError, match=r"producer.state_dir .*no home folder"):
        _ = ProducerSettings().state_folder
