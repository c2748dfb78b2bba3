"""Where settings come from: TOML file < `SACCADE__SECTION__KEY` environment < flags, checked before anything starts.

Unknown keys are errors wherever they come from, and the error names the nearest known one. A secret may be given
by its name with `_file` added and the path of a file that holds it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from runtime.redact import redact
from runtime.section import FILE_SUFFIX, Section, wanted
from runtime.settings import ProgramSettings
from schemas.errors import SettingsError

ENV_PREFIX: Final = "SACCADE__"
CONFIG_VARIABLE: Final = "SACCADE_CONFIG"
"""Names the settings file; the one variable that is no setting."""
_SECRET_WORDS = ("password", "url", "redis_by_site")
_SERVICE_LINKS = ("tcp://", "udp://")
"""Kubernetes and Docker set SACCADE_REDIS_PORT=tcp://... for a service of that name: no attempt at a setting."""
_SIMILARITY = 0.8

Program = TypeVar("Program", bound=ProgramSettings)


def load_settings(
    program: type[Program],
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    elsewhere: Collection[str] = (),
) -> Program:
    """A program's checked settings: `config` (TOML) < environment < `overrides` (a nested tree).

    Sections of `elsewhere` that the program does not have are passed over: they are for programs that are
    not installed here.

    Raises:
        SettingsError: names the key, its value (unless secret) and what is allowed.
    """
    known = program.setting_names()
    foreign = {section for section in elsewhere if section not in program.model_fields}
    tree: dict[str, Any] = {}
    _merge(tree, _from_file(config) if config is not None else {})
    _merge(tree, _from_environment(os.environ if environ is None else environ, program, known, foreign))
    _merge(tree, overrides or {})
    try:
        return program.model_validate({key: value for key, value in tree.items() if key not in foreign})
    except ValidationError as error:
        raise SettingsError(
            "; ".join(_explain(each, known) for each in error.errors(include_url=False))
        ) from None


def _from_file(path: Path) -> dict[str, Any]:
    try:
        # Editors of some systems put a byte order mark first.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"settings file {path}: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"settings file {path}: no TOML: {error}") from None


def _from_environment(
    environ: Mapping[str, str], program: type[Section], known: Collection[str], foreign: Collection[str]
) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name in sorted(environ):
        if name.upper().startswith(ENV_PREFIX):
            path = name[len(ENV_PREFIX) :].lower().split("__")
            if path[0] in foreign or _is_open(program, path[0]):
                pass
            elif not any(".".join(path[:end]) in known for end in range(1, len(path) + 1)):
                raise SettingsError(f"{name}: no such setting{_hint(path, known, _variable)}")
            _put(tree, path, environ[name], name)
        elif name.upper().startswith("SACCADE_") and name != CONFIG_VARIABLE:
            hint = _hint(name.lower().split("_")[1:], known, _variable)
            if hint and not environ[name].startswith(_SERVICE_LINKS):
                raise SettingsError(f"{name}: no such setting{hint}")
    return tree


def _is_open(program: type[Section], section: str) -> bool:
    """Whether the program has only a part of this section."""
    field = program.model_fields.get(section)
    kind = field.annotation if field is not None else None
    return isinstance(kind, type) and issubclass(kind, Section) and kind.model_config.get("extra") == "ignore"


def _put(tree: dict[str, Any], path: list[str], value: str, variable: str) -> None:
    for end, key in enumerate(path[:-1], 1):
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise SettingsError(
                f"{variable}: {_variable('.'.join(path[:end]))} is set too, and is no section"
            )
    if isinstance(tree.get(path[-1]), dict):
        raise SettingsError(f"{variable}: variables below it are set too, and it is no section")
    tree[path[-1]] = value


def _merge(tree: dict[str, Any], above: Mapping[str, Any]) -> None:
    """`tree` holds `above`'s values over its own, section by section."""
    for key, value in above.items():
        mine = tree.get(key)
        if isinstance(mine, dict) and isinstance(value, Mapping):
            _merge(mine, value)
            continue
        # A secret from above wins over one from below, whichever of the two is in a file.
        for other in (key + FILE_SUFFIX, key.removesuffix(FILE_SUFFIX)):
            if other not in above:
                tree.pop(other, None)
        tree[key] = _copied(value)


def _copied(value: Any) -> Any:
    return {key: _copied(each) for key, each in value.items()} if isinstance(value, Mapping) else value


def _variable(key: str) -> str:
    return ENV_PREFIX + key.upper().replace(".", "__")


def _hint(path: Iterable[str], known: Collection[str], shown: Any = str) -> str:
    """The known setting that somebody who wrote `path` most likely means, as the end of a sentence."""
    words = "_".join(part.strip("_") for part in path)
    plain = {key.replace(".", "_"): key for key in reversed(list(known)) if not key.endswith(FILE_SUFFIX)}
    # The first setting of a section is the one that stands for it: an address, a rate.
    sections = {key.partition(".")[0]: key for key in plain.values()}
    leaves = {key.rpartition(".")[2]: key for key in plain.values()}
    for meant in (plain, sections, leaves):
        if words in meant:
            return f"; did you mean {shown(meant[words])}?"
    names = plain | {section: section for section in sections}
    near = get_close_matches(words, names, 1, _SIMILARITY)
    return f"; did you mean {shown(names[near[0]])}?" if near else ""


def _explain(error: ErrorDetails, known: Collection[str]) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "settings"
    if error["type"] == "extra_forbidden":
        return f"{key}: no such setting{_hint(key.split('.'), known)}"
    message = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
    value = error["input"]
    if error["type"] in {"float_parsing", "int_parsing"}:
        message = f"must be a number{f' of {unit}' if (unit := wanted(key)) else ''}"
    if isinstance(value, (dict, Section)):
        return f"{key}: {message}"
    if any(word in key for word in _SECRET_WORDS):
        return f"{key} ***: {message}"
    return f"{key} = {redact(f'{value!r:.120}')}: {message}"
