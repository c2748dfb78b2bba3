"""Flags of the roles' commands, made from the settings: each name, meaning and default stands at its setting alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from pydantic.fields import FieldInfo

from runtime.section import Section
from runtime.settings import ProgramSettings
from saccade.options import ConfigOption, KafkaOption, RedisOption, SetOption, program_settings
from saccade.parts import MissingPartError, has
from saccade.settings import PROGRAMS

COMMON = {"config": ConfigOption, "assign": SetOption, "kafka": KafkaOption, "redis": RedisOption}
_METAVARS: dict[Any, str] = {int: "INTEGER", float: "NUMBER"}
_ANY_ARGUMENTS = {"allow_extra_args": True, "ignore_unknown_options": True}


def add_role(app: typer.Typer, room: str, command: Callable[..., None], **flags: str) -> None:
    """Add the command of a role; it takes the role's checked `settings` and what else it names itself.

    Each flag stands for the setting `section.key` that it is given here. Where the room is not installed, the
    command only says so.
    """
    if not has(room):

        @app.command(command.__name__, help=command.__doc__, context_settings=_ANY_ARGUMENTS)
        def absent() -> None:
            raise MissingPartError(room)

        return
    name, _ = PROGRAMS[room]
    program: type[ProgramSettings] = getattr(import_module(f"{room}.settings"), name)

    @wraps(command)
    def run(**given: Any) -> None:
        chosen = {key.replace(".", "__"): given.pop(flag) for flag, key in flags.items()}
        shared = {option: given.pop(option) for option in COMMON}
        command(settings=program_settings(program, **shared, **chosen), **given)

    own = get_type_hints(command, localns={name: program}, include_extras=True)
    parameters = [
        each.replace(annotation=own[each.name])
        for each in inspect.signature(command).parameters.values()
        if each.name != "settings"
    ]
    options = {flag: flag_of(program, flag, key) for flag, key in flags.items()} | COMMON
    parameters += [
        inspect.Parameter(flag, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for flag, option in options.items()
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    del run.__wrapped__
    app.command()(run)


def flag_of(program: type[ProgramSettings], flag: str, key: str) -> Any:
    """The option of one setting; the text that a user gives is checked with all other settings."""
    field = field_of(program, key)
    meaning = " ".join((field.description or "").split())
    default = field.get_default(call_default_factory=True)
    shown = "off" if default is None else default if default != "" else "none"
    return Annotated[
        str | None,
        typer.Option(
            f"--{flag.replace('_', '-')}",
            metavar=metavar_of(field),
            # What looks like markup is none.
            help=f"{meaning} ({key}: {shown})".replace("[", r"\["),
            show_default=False,
        ),
    ]


def field_of(program: type[Section], key: str) -> FieldInfo:
    """The field of a setting `section.key`, or of a `key` at the root."""
    section, _, rest = key.partition(".")
    field = program.model_fields[section]
    if not rest:
        return field
    assert isinstance(field.annotation, type)
    assert issubclass(field.annotation, Section)
    return field_of(field.annotation, rest)


def metavar_of(field: FieldInfo) -> str:
    """What stands for the value in the help: the choices, or the kind."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if get_origin(kind) is Literal:
            return "|".join(get_args(kind))
        if kind in _METAVARS:
            return _METAVARS[kind]
    return "TEXT"
