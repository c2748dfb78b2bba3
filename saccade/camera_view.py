"""The cameras of a site as lines for a person or a program."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Final

from schemas.camera_state import CameraState

_HEADER: Final = (
    "camera",
    "state",
    "frames/s",
    "last frame",
    "published",
    "dropped",
    "restarts",
    "last error",
)


def camera_rows(states: Sequence[CameraState], now_ns: int, *, as_json: bool) -> Iterator[str]:
    """Return one line a camera, with a header for a person; one JSON object a line for a program."""
    if as_json:
        for state in states:
            yield json.dumps(asdict(state) | {"online": state.online(now_ns)})
        return
    rows = [_HEADER, *(_row(state, now_ns) for state in states)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER) - 1)]
    for row in rows:
        *cells, last = row
        yield "  ".join(
            [*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), last]
        ).rstrip()


def _row(state: CameraState, now_ns: int) -> tuple[str, ...]:
    shown = state.state
    if state.state in {"online", "frozen", "starting", "waiting"} and not state.fresh(now_ns):
        shown = "offline"
    lost = ", ".join(f"{count} {cause}" for cause, count in sorted(state.dropped.items()))
    error = f"{state.error}, {_ago(state.error_ns, now_ns)}: {state.message}" if state.error else ""
    return (
        state.camera,
        shown,
        f"{state.fps:.1f}",
        _ago(state.last_frame_ns, now_ns),
        str(state.published),
        lost or "none",
        str(state.restarts),
        error,
    )


def _ago(at_ns: int, now_ns: int) -> str:
    if not at_ns:
        return "never"
    seconds = max(0, now_ns - at_ns) / 1e9
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
