"""Cameras from a TOML file that may be edited while they run: one table a camera.

```toml
[front]
source = "rtsp://10.0.0.7/stream"
user = "admin"
password_file = "front.password"   # or password_env = "FRONT_PASSWORD"
fps = 5
crop = [0.0, 0.2, 1.0, 1.0]
mask = [[0.0, 0.0, 0.3, 0.1]]
```
"""

from __future__ import annotations

import asyncio
import os
import re
import tomllib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from producers.camera import CameraSpec
from producers.drop_queue import DropPolicy
from producers.region import Region
from runtime.log import get_logger
from runtime.redact import redact
from schemas.errors import SettingsError
from schemas.identity import camera_id, check_site

_log = get_logger(__name__)

LOOK_S: Final = 0.5
"""How often the file is looked at. Mounted volumes tell of no change by themselves."""
_Rectangle = tuple[float, float, float, float]


class _Entry(BaseModel):
    """One camera's table."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    source: str
    fps: float | None = Field(default=None, ge=0, le=1_000)
    drop: Literal["newest", "oldest", "never"] | None = None
    site: str | None = None
    crop: _Rectangle | None = None
    mask: tuple[_Rectangle, ...] = ()
    loop: bool = False
    limit: int | None = Field(default=None, ge=1)
    transport: Literal["tcp", "udp", "multicast", "http"] | None = None
    user: str | None = None
    password_file: Path | None = None
    password_env: str | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    """A file's text and the passwords that it refers to, by camera."""

    text: str
    passwords: tuple[tuple[str, str], ...]


def load_cameras(path: Path, environ: Mapping[str, str] = os.environ) -> list[CameraSpec]:
    """Return the cameras of the file. Blocks.

    Raises:
        SettingsError: whatever is wrong with it; names the file and, where known, line, camera and key; never a
            password.
    """
    with _one_line(path):
        return _cameras(path, _read(path, environ))


async def followed(path: Path) -> AsyncIterator[list[CameraSpec]]:
    """Give the file's cameras now, and again whenever the file or a password file has changed.

    Never raises: a wrong edit is logged with its line, once, and what was given before stays in force. A file that
    is wrong at the first look is given as soon as it is right.
    """
    seen: _Read | None = None
    refused = ""
    while True:
        try:
            now, cameras = await asyncio.to_thread(_look, path, seen)
        except SettingsError as wrong:
            if str(wrong) != refused:
                _log.error("cameras unchanged", why=str(wrong))
            refused = str(wrong)
        else:
            seen, refused = now, ""
            if cameras is not None:
                yield cameras
        await asyncio.sleep(LOOK_S)


def _look(path: Path, seen: _Read | None) -> tuple[_Read, list[CameraSpec] | None]:
    """Return what the file holds now, and its cameras unless that was `seen`; `SettingsError` where it is wrong."""
    with _one_line(path):
        now = _read(path, os.environ)
        return now, None if now == seen else _cameras(path, now)


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Make whatever is raised a `SettingsError` that names the file.

    What a person may write has no end: a parser's recursion or a number of 5,000 digits must cost no running camera.
    """
    try:
        yield
    except SettingsError:
        raise
    except RecursionError:
        raise SettingsError(f"cameras file {path}: nested too deeply") from None
    except Exception as error:  # noqa: BLE001 - as above
        raise SettingsError(f"cameras file {path}: {type(error).__name__}: {redact(str(error))}") from None


def _read(path: Path, environ: Mapping[str, str]) -> _Read:
    try:
        text = path.read_text(encoding="utf-8-sig")
        tables = tomllib.loads(text)
    except OSError as error:
        raise SettingsError(f"cameras file {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise SettingsError(f"cameras file {path}, line {line}: no UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"line (\d+)", str(error))
        line_text = f", line {at[1]}" if at else ""
        raise SettingsError(f"cameras file {path}{line_text}: no TOML: {error}") from None
    passwords = []
    for name, table in tables.items():
        if isinstance(table, dict) and (secret := _password(path, text, name, table, environ)) is not None:
            passwords.append((name, secret))
    return _Read(text, tuple(passwords))


def _password(
    path: Path, text: str, name: str, table: dict[str, Any], environ: Mapping[str, str]
) -> str | None:
    file, variable = table.get("password_file"), table.get("password_env")
    if isinstance(file, str) and variable is not None:
        raise _wrong(path, text, name, "password_env", "give password_file or password_env, not both")
    if isinstance(file, str):
        try:
            return (path.parent / Path(file).expanduser()).read_text(encoding="utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            why = "no UTF-8 text"
        except (OSError, ValueError, RuntimeError) as error:
            # No system error: a zero byte in the name, or the home folder of a user that there is not.
            why = getattr(error, "strerror", None) or str(error)
        raise _wrong(path, text, name, "password_file", f"{file!r}: {why}")
    if isinstance(variable, str):
        if variable not in environ:
            raise _wrong(path, text, name, "password_env", f"the variable {variable} is not set")
        return environ[variable]
    return None


def _cameras(path: Path, read: _Read) -> list[CameraSpec]:
    passwords = dict(read.passwords)
    found: dict[str, CameraSpec] = {}
    for name, table in tomllib.loads(read.text).items():
        if not isinstance(table, dict):
            raise _wrong(path, read.text, name, "", f"want a table of its own: [{name}] and source = …")
        spec = _camera(path, read.text, name, table, passwords.get(name))
        try:
            camera = camera_id(spec.site or "", name)
        except ValueError as error:
            raise _wrong(path, read.text, name, "", str(error)) from None
        found[camera] = spec
    return list(found.values())


def _camera(path: Path, text: str, name: str, table: dict[str, Any], password: str | None) -> CameraSpec:
    try:
        entry = _Entry.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        words = first["msg"].replace("Input should be", "want", 1)
        if first["type"] == "extra_forbidden":
            words = f"no such key; known are {', '.join(_Entry.model_fields)}"
        raise _wrong(path, text, name, key, words) from None
    key = "source"
    try:
        check_site(entry.site or "")
        key = "crop" if entry.crop is not None else "mask"
        region = Region(entry.crop, entry.mask)
        key = "source"
        return CameraSpec.parse(
            f"{name}={_address(entry, password)}",
            fps=entry.fps,
            loop=entry.loop,
            limit=entry.limit,
            drop=None if entry.drop is None else DropPolicy(entry.drop),
            site=entry.site,
            region=region,
        )
    except (SettingsError, ValueError) as error:
        raise _wrong(path, text, name, key, str(error)) from None


def _address(entry: _Entry, password: str | None) -> str:
    """Return the source with user, password and transport in their places."""
    scheme, separator, rest = entry.source.partition("://")
    if entry.user is None and password is None and entry.transport is None:
        return entry.source
    if not separator:
        raise ValueError("user, password and transport belong to a source that is a URL")
    if entry.user is not None or password is not None:
        if "@" in re.split(r"[/?#]", rest, maxsplit=1)[0]:
            raise ValueError("give the user in the source or as user = …, not both")
        secret = "" if password is None else f":{quote(password, safe='')}"
        rest = f"{quote(entry.user or '', safe='')}{secret}@{rest}"
    if entry.transport is not None:
        if scheme.lower() not in {"rtsp", "rtsps"}:
            raise ValueError("transport belongs to an rtsp:// source")
        rest += f"{'&' if '?' in rest else '?'}transport={entry.transport}"
    return f"{scheme}://{rest}"


def _wrong(path: Path, text: str, name: str, key: str, words: str) -> SettingsError:
    where = f"camera {name}" + (f", {key}" if key else "")
    return SettingsError(f"cameras file {path}, line {_line_of(text, name, key)}: {where}: {words}")


def _line_of(text: str, name: str, key: str) -> int:
    """Return the line of a camera's key, else of its table, else the first."""
    quoted = re.escape(name)
    table = re.compile(rf"""\s*\[\s*["']?{quoted}["']?\s*\]""")
    wanted = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*=""")
    found, inside = 0, False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("["):
            inside = table.match(line) is not None
            found = number if inside else found
        elif key and inside and wanted.match(line):
            return number
        elif not found and re.match(rf"""\s*["']?{quoted}["']?\s*[.=]""", line):
            found = number
    return found or 1
