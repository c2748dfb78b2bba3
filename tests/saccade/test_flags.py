"""Flags of the roles: made from the settings, and a line that says so where the role is not installed."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import typer

from edge_workers.settings import EdgeProgramSettings
from producers.settings import ProducerProgramSettings
from runtime.settings import ProgramSettings
from saccade import flags
from saccade.flags import add_role, field_of, metavar_of
from schemas.errors import SaccadeError
from server_workers.settings import ServerProgramSettings

ROLES = {
    "producers": ProducerProgramSettings,
    "edge_workers": EdgeProgramSettings,
    "server_workers": ServerProgramSettings,
}


def described(app: typer.Typer) -> dict[str, Any]:
    """Each command's flags: name → (what stands for the value, help)."""
    return {
        each.callback.__name__: {
            name: parameter.annotation.__metadata__[0]
            for name, parameter in inspect.signature(each.callback).parameters.items()
        }
        for each in app.registered_commands
        if each.callback is not None
    }


def test_a_flag_has_the_meaning_the_choices_and_the_default_of_its_setting() -> None:
    app = typer.Typer()

    def work(settings: EdgeProgramSettings) -> None:
        """Work."""

    add_role(app, "edge_workers", work, backend="edge.backend", budget="budget.rate", site="site")
    made = described(app)["work"]
    assert list(made) == ["backend", "budget", "site", "config", "assign", "kafka", "redis"]
    field = field_of(EdgeProgramSettings, "edge.backend")
    assert field.description
    assert made["backend"].help.replace("\\", "").startswith(" ".join(field.description.split()))
    assert made["backend"].help.endswith("(edge.backend: auto)")
    assert metavar_of(field_of(ProducerProgramSettings, "producer.drop")) == "auto|newest|oldest|never"
    assert metavar_of(field_of(EdgeProgramSettings, "edge.tau")) == "NUMBER"
    assert made["budget"].help.endswith("(budget.rate: off)")


def test_every_setting_with_a_flag_says_what_it_is() -> None:
    from saccade.commands import workers

    app = typer.Typer()
    workers.register(app)
    for options in described(app).values():
        for option in options.values():
            assert option.help
            assert not option.help.startswith(" (")


def test_the_command_takes_settings_that_its_flags_and_own_options_make() -> None:
    app, seen = typer.Typer(), []

    def work(settings: EdgeProgramSettings, twice: bool = False) -> None:
        """Work."""
        seen.append((settings.edge.tau, settings.budget.rate, settings.edge.delta, twice))

    add_role(app, "edge_workers", work, tau="edge.tau", budget="budget.rate")
    app(["--tau", "0.25", "--budget", "400kbit", "--set", "edge.delta=0.5", "--twice"], standalone_mode=False)
    assert seen == [(0.25, "400kbit", 0.5, True)]


@pytest.mark.parametrize("room", ROLES)
def test_where_a_room_is_not_installed_its_command_says_so(
    room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flags, "has", lambda _: False)
    app = typer.Typer()

    def work(settings: ProgramSettings) -> None:
        """Work."""

    add_role(app, room, work, tau="edge.tau")
    with pytest.raises(SaccadeError, match=f"lacks the room '{room}'"):
        app(["--tau", "1", "more"], standalone_mode=False)
