"""Frames kept for teaching, with the labels that people give: one SQLite file of a bounded size.

The page's process writes it; `saccade harvest` reads it, also meanwhile. The pictures lie in the same file as
what is known of them, so that a crash leaves none without the other.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from page.keeping import (
    LEFT_OUT,
    SIGNATURE_SIDE,
    Doubt,
    Held,
    Reason,
    evicted,
    is_near_duplicate,
    signature_of,
)
from schemas.errors import SettingsError, TransientError
from schemas.frame import Frame

_VERSION: Final = 1
_PRAGMAS: Final = "PRAGMA auto_vacuum = FULL; PRAGMA foreign_keys = ON;"
_SCHEMA: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS frames (
  id INTEGER PRIMARY KEY AUTOINCREMENT, camera TEXT NOT NULL, seq INTEGER NOT NULL, captured_ns INTEGER NOT NULL,
  reason TEXT NOT NULL, answer TEXT NOT NULL, confidence REAL NOT NULL, edge TEXT NOT NULL, server TEXT NOT NULL,
  encoding TEXT NOT NULL, num_bytes INTEGER NOT NULL, signature BLOB NOT NULL, label TEXT, UNIQUE (camera, seq));
CREATE TABLE IF NOT EXISTS pictures (
  id INTEGER PRIMARY KEY REFERENCES frames (id) ON DELETE CASCADE, image BLOB NOT NULL, thumbnail BLOB NOT NULL);
PRAGMA user_version = {_VERSION};
COMMIT;
"""
_BUSY_S: Final = 10.0
_ROW_BYTES: Final = 8 * 1024
"""What a frame costs beside its picture and thumbnail: its signature, its row, the unused rest of its pages."""
_COMPARED: Final = 256
"""A new frame is compared with so many of its camera's kept ones, the newest."""
_FREED_SHARE: Final = 0.05
"""So much is freed at once where the room is over, so that it seldom must be."""
_ORDER: Final = (
    "ORDER BY CASE reason WHEN 'marked' THEN 0 WHEN 'disagree' THEN 1 ELSE 2 END, answer, camera, seq"
)
SHOWN: Final = {
    "kept": "TRUE",
    "open": "label IS NULL",
    "labelled": "label IS NOT NULL AND label != ''",
    "left_out": "label IS NOT NULL AND label = ''",
}
"""Which frames: all, those without a label, with one, and those that teach nothing."""


class Outcome(StrEnum):
    """What became of a frame that was to be kept."""

    KEPT = "kept"
    KNOWN = "known"
    """It was kept before."""
    NEAR_DUPLICATE = "near_duplicate"
    NO_ROOM = "no_room"
    """The file has its full size, and nothing in it may go for this frame."""


@dataclass(frozen=True, slots=True)
class KeptFrame(Doubt):
    """A kept frame without its picture; `label` is None until a person gives one, empty where it teaches nothing."""

    id: int
    encoding: str
    label: str | None


_COLUMNS: Final = tuple(each.name for each in fields(KeptFrame))


class KeptFrames:
    """The file, open. Its methods block and may be called from any thread.

    Every method raises `TransientError` where the file cannot be read or written now.
    """

    def __init__(self, connection: sqlite3.Connection, max_bytes: int) -> None:
        self._connection = connection
        self._turn = threading.Lock()
        self.max_bytes = max_bytes

    @classmethod
    def open(cls, path: Path, *, max_bytes: int) -> Self:
        """The frames in the file at `path`, which is made where there is none, readable by its owner only.

        Raises:
            SettingsError: it cannot be opened, or is no such file.
        """
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            connection.executescript(_PRAGMAS)
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, _VERSION):
                raise SettingsError(f"harvest.file {path}: version {version}, this program knows {_VERSION}")
            connection.executescript(_SCHEMA)
        except OSError as error:
            raise SettingsError(f"harvest.file {path}: {error.strerror}") from None
        except sqlite3.Error as error:
            raise SettingsError(f"harvest.file {path}: {error}") from None
        return cls(connection, max_bytes)

    def close(self) -> None:
        """Nothing more is read or written."""
        with self._turn:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing of what is inside is in the file."""
        with self._turn:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                except BaseException:
                    if self._connection.in_transaction:  # a full disk has ended it already
                        self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise TransientError(f"frames for teaching: {error}") from None

    def keep(self, doubt: Doubt, frame: Frame, thumbnail: bytes) -> Outcome:
        """The frame is kept if it is new to the file and there is room. One that a person marked may look like others.

        Frames that are worth less go where room is short; see `keeping.evicted`.
        """
        signature = signature_of(thumbnail)
        num_bytes = len(frame.image) + len(thumbnail) + _ROW_BYTES
        is_marked = doubt.reason is Reason.MARKED
        with self._transaction() as file:
            known = file.execute(
                "SELECT id FROM frames WHERE camera = ? AND seq = ?", (doubt.camera, doubt.seq)
            ).fetchone()
            if known is not None:
                if is_marked:
                    file.execute("UPDATE frames SET reason = ? WHERE id = ?", (doubt.reason, *known))
                return Outcome.KNOWN
            if not is_marked and is_near_duplicate(signature, _signatures(file, doubt.camera)):
                return Outcome.NEAR_DUPLICATE
            if not self._make_room(file, num_bytes):
                return Outcome.NO_ROOM
            values = {name: getattr(doubt, name) for name in doubt.__slots__} | {
                "encoding": frame.encoding,
                "num_bytes": num_bytes,
                "signature": signature.tobytes(),
            }
            added = file.execute(
                f"INSERT INTO frames ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",  # noqa: S608
                tuple(values.values()),
            )
            file.execute("INSERT INTO pictures VALUES (?, ?, ?)", (added.lastrowid, frame.image, thumbnail))
        return Outcome.KEPT

    def _make_room(self, file: sqlite3.Connection, num_bytes: int) -> bool:
        (held_bytes,) = file.execute("SELECT coalesce(sum(num_bytes), 0) FROM frames").fetchone()
        excess_bytes = held_bytes + num_bytes - self.max_bytes
        if excess_bytes <= 0:
            return True
        rows = file.execute("SELECT id, camera, num_bytes, reason, confidence, label FROM frames")
        held = {
            id_: Held(id_, camera, bytes_, Reason(reason), confidence, label)
            for id_, camera, bytes_, reason, confidence, label in rows
        }
        gone = evicted(held.values(), max(excess_bytes, round(_FREED_SHARE * self.max_bytes)))
        if sum(held[each].num_bytes for each in gone) < excess_bytes:
            return False
        file.executemany("DELETE FROM frames WHERE id = ?", [(each,) for each in gone])
        return True

    def frames(self, show: str = "kept", *, limit: int = -1) -> list[KeptFrame]:
        """The frames of a key of `SHOWN`, the worthiest reason first; those with the same answer stand together."""
        with self._transaction() as file:
            rows = file.execute(
                f"SELECT {', '.join(_COLUMNS)} FROM frames WHERE {SHOWN[show]} {_ORDER} LIMIT ?",  # noqa: S608
                (limit,),
            ).fetchall()
        return [_kept(row) for row in rows]

    def image(self, frame_id: int) -> tuple[str, bytes] | None:
        """The encoding and the bytes of a frame as its producer sent it; None where it is not kept."""
        found: tuple[str, bytes] | None = self._one(
            "SELECT encoding, image FROM frames JOIN pictures USING (id) WHERE id = ?", frame_id
        )
        return found

    def thumbnail(self, frame_id: int) -> bytes | None:
        """The frame as a small JPEG; None where it is not kept."""
        found = self._one("SELECT thumbnail FROM pictures WHERE id = ?", frame_id)
        return None if found is None else found[0]

    def _one(self, query: str, frame_id: int) -> Any:
        with self._transaction() as file:
            return file.execute(query, (frame_id,)).fetchone()

    def label(self, labels: Mapping[int, str | None]) -> dict[int, str | None]:
        """Each frame has its label, None = none yet; returns the ones before, of those that are kept.

        Calling it again with what it returned takes it back.
        """
        before: dict[int, str | None] = {}
        with self._transaction() as file:
            for frame_id, label in labels.items():
                found = file.execute("SELECT label FROM frames WHERE id = ?", (frame_id,)).fetchone()
                if found is not None:
                    before[frame_id] = found[0]
                    file.execute("UPDATE frames SET label = ? WHERE id = ?", (label, frame_id))
        return before

    def names(self) -> set[str]:
        """Every class that a kept frame was called, by a model or a person."""
        with self._transaction() as file:
            rows = file.execute(
                "SELECT answer FROM frames UNION SELECT edge FROM frames UNION SELECT server FROM frames "
                "UNION SELECT label FROM frames WHERE label IS NOT NULL"
            ).fetchall()
        return {name for (name,) in rows if name != LEFT_OUT}

    def counts(self) -> list[dict[str, Any]]:
        """Of each camera, by name: how many frames of each reason, how many labelled and left out, and their bytes."""
        sums = [f"sum(reason = '{each}') AS {each}" for each in Reason]
        sums += [f"sum({where}) AS {name}" for name, where in SHOWN.items()]
        with self._transaction() as file:
            found = file.execute(
                f"SELECT camera, {', '.join(sums)}, sum(num_bytes) AS num_bytes "  # noqa: S608
                "FROM frames GROUP BY camera ORDER BY camera"
            )
            names = [each[0] for each in found.description]
            return [dict(zip(names, row, strict=True)) for row in found]


def _kept(row: tuple[Any, ...]) -> KeptFrame:
    values = dict(zip(_COLUMNS, row, strict=True))
    return KeptFrame(**values | {"reason": Reason(values["reason"])})


def _signatures(file: sqlite3.Connection, camera: str) -> Any:
    rows = file.execute(
        "SELECT signature FROM frames WHERE camera = ? ORDER BY id DESC LIMIT ?", (camera, _COMPARED)
    ).fetchall()
    joined = b"".join(signature for (signature,) in rows)
    return np.frombuffer(joined, np.uint8).reshape(-1, SIGNATURE_SIDE, SIGNATURE_SIDE, 3)
