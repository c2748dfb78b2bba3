"""Labelled frames as a folder to train on: `CLASS/CAMERA_SEQ.EXT`, and `index.json` that says what each one is."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from page.kept_frames import KeptFrame, KeptFrames
from schemas.errors import SaccadeError

INDEX: Final = "index.json"
FORMAT: Final = "saccade-harvest"
_VERSION: Final = 1
_UNSAFE: Final = re.compile(r'^\.|[\x00-\x1f\x7f%/\\:*?"<>|]')
_EXPORTED: Final = re.compile(r"[^./\\][^/\\]*/[^./\\][^/\\]*")
_MAX_NAME_BYTES: Final = 180


def export(kept: KeptFrames, folder: Path) -> dict[str, int]:
    """`folder` holds every labelled frame, as it came from its producer; returns how many there are of each class.

    An earlier export there is brought up to date: what it had and this one has not is gone. The index is written
    after what it names, so that a run that was cut short can be run again.

    Raises:
        SaccadeError: the folder holds something that no export has made.
        TransientError: the frames cannot be read now.
    """
    earlier = _earlier(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if earlier is None:
        _write_index(folder, [])
    entries = []
    for frame in kept.frames("labelled"):
        found = kept.image(frame.id)
        if found is None:
            continue  # taken back and gone since the list was read
        entry = entry_of(frame)
        path = folder / entry["file"]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(found[1])
        entries.append(entry)
    _write_index(folder, entries)
    for name in (earlier or set()) - {entry["file"] for entry in entries}:
        _remove(folder / name)
    classes = [entry["class"] for entry in entries]
    return {name: classes.count(name) for name in sorted(set(classes))}


def entry_of(frame: KeptFrame) -> dict[str, Any]:
    """What the index says of a labelled frame: its file below the folder, its class, its camera, who said what."""
    said = {name: value for name, value in asdict(frame).items() if name not in ("id", "encoding", "label")}
    name = f"{file_name(frame.camera)}_{frame.seq}.{frame.encoding}"
    return {"file": f"{file_name(frame.label or '')}/{name}", "class": frame.label, **said}


def file_name(text: str) -> str:
    """A camera or a class as a name that every file system takes: odd characters as %XX, a long one cut."""
    name = _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", text)
    raw = name.encode()
    if len(raw) <= _MAX_NAME_BYTES:
        return name
    digest = blake2b(text.encode(), digest_size=8).hexdigest()
    return f"{raw[: _MAX_NAME_BYTES - 17].decode(errors='ignore')}~{digest}"


def _earlier(folder: Path) -> set[str] | None:
    """The files of the export that the folder holds; None for a new or empty folder."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        files = {str(each["file"]) for each in index["images"]}
        is_ours = (index["format"], index["version"]) == (FORMAT, _VERSION)
        if is_ours and all(_EXPORTED.fullmatch(each) for each in files):
            return files
    except FileNotFoundError:
        if not folder.exists() or not any(folder.iterdir()):
            return None
    except (ValueError, KeyError, TypeError):
        pass
    raise SaccadeError(f"{folder}: is not empty, and no earlier export; name another folder")


def _write_index(folder: Path, entries: list[dict[str, Any]]) -> None:
    partial = folder / f"{INDEX}.partial"
    text = json.dumps(
        {"format": FORMAT, "version": _VERSION, "images": entries}, indent=1, ensure_ascii=False
    )
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(folder / INDEX)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    if path.parent.exists() and not any(path.parent.iterdir()):
        path.parent.rmdir()
