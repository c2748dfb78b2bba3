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
from runtime.section import FILE_SUFFIX, Section, text_of
from runtime.settings import ProgramSettings
from runtime.units import wanted
from schemas.errors import SettingsError

ENV_PREFIX: Final = "SACCADE__"
CONFIG_VARIABLE: Final = "SACCADE_CONFIG"
"""Names the settings file; the one variable that is no setting."""
_SECRET_WORDS = ("password", "url", "redis_by_site")
_SERVICE_LINKS = ("tcp://", "udp://")
"""Kubernetes and Docker set SACCADE_REDIS_PORT=tcp://... for a service of that name: no attempt at a setting."""
_SIMILARITY = 0.8
_CONFIG_WORDS = ("config", "config_file", "configuration")

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
        return tomllib.loads(text_of(path))
    except OSError as error:
        raise SettingsError(f"settings file {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"settings file {path}{no_text(error)}") from None
    except ValueError as error:
        raise SettingsError(f"settings file {path}: no TOML: {error}") from None


def no_text(error: UnicodeDecodeError) -> str:
    """Return where a file is no text, as the rest of a sentence that begins with its name."""
    line = error.object[: error.start].count(b"\n") + 1
    return f", line {line}: no UTF-8 text; save it as UTF-8"


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
            _put(tree, path, environ[name])
        elif name.upper().startswith("SACCADE_") and name != CONFIG_VARIABLE:
            words = name.lower().split("_")[1:]
            hint = _hint(words, known, _variable)
            if get_close_matches("_".join(words), _CONFIG_WORDS, 1, _SIMILARITY):
                hint = f"; did you mean {CONFIG_VARIABLE}?"
            if hint and not environ[name].startswith(_SERVICE_LINKS):
                raise SettingsError(f"{name}: no such setting{hint}")
        elif "__" in name and get_close_matches(name.lower().partition("__")[0], ["saccade"], 1, _SIMILARITY):
            raise SettingsError(f"{name}: no such setting; the names of settings begin with {ENV_PREFIX}")
    return tree


def _is_open(program: type[Section], section: str) -> bool:
    """Whether the program has only a part of this section."""
    field = program.model_fields.get(section)
    kind = field.annotation if field is not None else None
    return isinstance(kind, type) and issubclass(kind, Section) and kind.model_config.get("extra") == "ignore"


def _put(tree: dict[str, Any], path: list[str], value: str) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
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
    if "_" in words:  # the beginning of a name
        near = near or [name for name in names if name.startswith(f"{words}_")][:1]
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
