"""Options that every command shares, and the settings that they lead to."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from runtime.settings import ProgramSettings
from saccade.settings import load_settings
from schemas.errors import SettingsError

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Settings file (TOML).", envvar="SACCADE_CONFIG", show_default=False),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="SECTION.KEY=VALUE", help="Any setting; may be repeated.", show_default=False
    ),
]
KafkaOption = Annotated[
    str | None,
    typer.Option("--kafka", metavar="HOST:PORT", help="Kafka bootstrap servers.", show_default=False),
]
RedisOption = Annotated[
    str | None, typer.Option("--redis", metavar="URL", help="Redis URL.", show_default=False)
]
HarvestOption = Annotated[
    Path | None,
    typer.Option("--harvest", help="File of the frames kept for people to label.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line on standard output.")]


def finite(value: float | None) -> float | None:
    """Let a flag's number through unless it is infinite or none at all: `float` reads `inf` and `nan` too."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter("must be a finite number")
    return value


Program = TypeVar("Program", bound=ProgramSettings)


def settings_from(
    config: Path | None, assign: list[str] | None, *, kafka: str | None = None, redis: str | None = None
) -> ProgramSettings:
    """Return the settings that every program shares; see `program_settings`."""
    return program_settings(ProgramSettings, config, assign, kafka=kafka, redis=redis)


def program_settings(
    program: type[Program],
    config: Path | None,
    assign: list[str] | None,
    *,
    kafka: str | None = None,
    redis: str | None = None,
    **overrides: Any,
) -> Program:
    """Return the settings of a program: file < environment < flags.

    Args:
        program: the kind of settings.
        config: TOML file or None.
        assign: ``section.key=value`` texts of ``--set``.
        kafka: bootstrap servers of both clusters unless the settings name an own offload cluster.
        redis: Redis URL.
        overrides: ``section__key`` to value; None values are left out.

    Raises:
        SettingsError: a text without ``=``, an unknown key or a value out of range, named.
    """
    flags: dict[str, Any] = {}
    for text in assign or []:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise SettingsError(f"--set {text!r}: want SECTION.KEY=VALUE, such as edge.tau=0.8")
        put(flags, key.split("."), value)
    if kafka is not None:
        put(flags, ["kafka", "bootstrap_servers"], kafka)
    if redis is not None:
        put(flags, ["redis", "url"], redis)
    for key, value in overrides.items():
        if value is not None:
            put(flags, key.split("__"), value)
    return load_settings(program, config, flags)


def put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    """Set ``value`` at ``path`` in a tree of dictionaries, making the branches on the way."""
    for key in path[:-1]:
        branch = tree.setdefault(key, {})
        if not isinstance(branch, dict):
            raise SettingsError(f"{'.'.join(path)}: {key} is a value, not a section")
        tree = branch
    tree[path[-1]] = value
