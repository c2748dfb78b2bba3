"""The settings of this installation: those of a program, checked with the sections of every room that is here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import create_model

from runtime import settings_loader
from runtime.settings import ProgramSettings

PROGRAMS = {
    "producers": ("ProducerProgramSettings", ("producer",)),
    "edge_workers": ("EdgeProgramSettings", ("edge", "budget")),
    "server_workers": ("ServerProgramSettings", ("server",)),
    "page": ("PageProgramSettings", ("page", "events", "harvest")),
}
"""Room → its program's settings, and the sections that are its own."""

Program = TypeVar("Program", bound=ProgramSettings)


def installed(program: type[Program]) -> type[Program]:
    """`program` with the sections of all programs that are installed here."""
    bases: list[type[ProgramSettings]] = []
    # Each program has a part of some sections of others: the owner's whole section counts.
    whole: dict[str, Any] = {}
    for room, (name, sections) in PROGRAMS.items():
        if find_spec(room) is not None:
            owner = getattr(import_module(f"{room}.settings"), name)
            bases.append(owner)
            whole |= {
                each: (owner.model_fields[each].annotation, owner.model_fields[each]) for each in sections
            }
    if not any(issubclass(each, program) for each in bases):
        bases.append(program)
    return cast("type[Program]", create_model("InstalledSettings", __base__=tuple(bases), **whole))


def load_settings(
    program: type[Program],
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Program:
    """The checked settings of `program`; see `runtime.settings_loader`.

    Sections of programs that are not installed here are passed over, so that one file serves all images.
    """
    elsewhere = {section for _, sections in PROGRAMS.values() for section in sections}
    return settings_loader.load_settings(installed(program), config, overrides, environ, elsewhere=elsewhere)
