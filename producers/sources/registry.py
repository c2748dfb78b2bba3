"""All kinds of sources: those that come with the producer, then plug-ins by their entry points.

A plug-in is a module that follows `SourceKind`, named by an entry point of the group `saccade.sources`; the
entry point's name is the word before the colon in what a person writes (`scenes` for `scenes:1`). It is loaded
when a camera first names it.
"""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, cast
from urllib.parse import unquote, urlsplit

from producers.credentials import hidden_before_at
from producers.sources import http_camera, image_files, standard_input, stream, video_file, webcam
from producers.sources.source import Source, SourceKind
from schemas.errors import SettingsError

PLUGINS: Final = "saccade.sources"
_AROUND: Final = " \t\r\n\u00a0\u200b\ufeff\"'`<>“”‘’«»"
"""What chat programs, documents and terminals leave around an address."""
KINDS: Final[tuple[SourceKind, ...]] = (standard_input, webcam, http_camera, stream)
"""Kinds that are known by how they are written, asked in this order."""
FILE_KINDS: Final[tuple[SourceKind, ...]] = (image_files, video_file)
"""Kinds that are known by what lies at the path, asked after the plug-ins."""


def parse_source(text: str) -> Source:
    """Return what `text` names. Files and folders exist then; networks and devices are not tried.

    Raises:
        SettingsError: it names nothing that there is; one line, without credentials.
    """
    if "\0" in text:
        raise SettingsError("source: no address or path holds a zero byte")
    text = _as_meant(text)
    if not text:
        raise SettingsError(f"source is empty: want {wanted()}")
    # A mistyped URL ends up among the paths, so what stands before an @ may be a password.
    name = hidden_before_at(text)
    try:
        Path(text).expanduser()
    except RuntimeError:
        raise SettingsError(f"source {name!r}: there is no home folder of this user") from None
    for kind in KINDS:
        if kind.claims(text):
            return kind.parse(text)
    if (plugin := _plugin(text)) is not None:
        return plugin.parse(text)
    try:
        for kind in FILE_KINDS:
            if kind.claims(text):
                return kind.parse(text)
    except OSError as error:
        raise SettingsError(f"source {name!r}: {error.strerror}") from error
    raise SettingsError(f"source {name!r}: there is no such file or folder; want {wanted()}")


def wanted() -> str:
    """Return what a source may be, for error messages."""
    plugins = [f"{plugin.name}:…" for plugin in entry_points(group=PLUGINS)]
    forms = [*(kind.FORM for kind in (*FILE_KINDS, *KINDS)), *plugins]
    return f"{', '.join(forms[:-1])} or {forms[-1]}"


def _as_meant(text: str) -> str:
    """Return what was pasted without the signs around it, and a URL of a file as its path."""
    bare = text.strip(_AROUND)
    if bare != text and not os.path.lexists(text):
        text = bare
    return unquote(urlsplit(text).path) if text.lower().startswith("file://") else text


def _plugin(text: str) -> SourceKind | None:
    name, colon, _ = text.partition(":")
    found = [plugin for plugin in entry_points(group=PLUGINS) if plugin.name == name] if colon else []
    if not found:
        return None
    try:
        return cast("SourceKind", found[0].load())
    except ImportError as error:
        raise SettingsError(
            f"source kind {name!r} is not part of this installation ({error.name} is missing); "
            "install the whole package"
        ) from None
