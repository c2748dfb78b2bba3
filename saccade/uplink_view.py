"""``saccade top``: each edge worker's uplink as a table or as JSON."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from runtime.log import get_logger
from runtime.redis_store import RedisStore
from runtime.uplink_states import readable_uplinks
from runtime.waiting import set_within
from saccade.models_view import model_rows
from schemas.errors import DecodeError, SaccadeError, decodes

REFRESH_S = 1.0
ROWS = (
    "state",
    "budget kB/s",
    "usable",
    "measured",
    "wanted",
    "τ",
    "δ",
    "codec",
    "offloaded",
    "accuracy expected/observed",
    "still",
    "servers disagree, expected",
    "held back",
)

_log = get_logger(__name__)


async def print_uplinks(
    store: RedisStore, site: str, *, stop: asyncio.Event, refresh: bool, as_json: bool
) -> None:
    """Print the present state, once or each second until ``stop``.

    Raises:
        SaccadeError: no edge worker has reported lately.
    """
    console = Console()
    while True:
        found = readable_uplinks(await store.read_uplinks(site))
        models = await store.read_models()
        if not found and not refresh:
            raise SaccadeError("no edge worker has reported its uplink lately: is one running on this Redis?")
        if as_json:
            for name, state in sorted(found.items()):
                typer.echo(json.dumps({"worker": name, **state}))
        else:
            console.print(table_of(found))
            if models:
                console.print("\n".join(model_rows(models, as_json=False)), markup=False, highlight=False)
        if not refresh or await set_within(stop, REFRESH_S):
            return


def table_of(found: dict[str, dict[str, Any]]) -> Table:
    """Return the workers' states, a column each, and the bytes of each camera below."""
    table = Table(title="uplinks", title_justify="left", caption_justify="left")
    table.add_column("")
    columns: list[tuple[str, ...]] = [ROWS]
    by_camera: dict[str, float] = {}
    for name, state in sorted(found.items()):
        try:
            columns.append(column_of(state))
        except DecodeError as error:  # such as one of a worker that says less than this version shows
            _log.warning("an edge worker's uplink cannot be shown", worker=name, error=str(error))
            continue
        table.add_column(name)
        for camera, num_bytes in (state.get("bytes_by_camera") or {}).items():
            by_camera[camera] = by_camera.get(camera, 0.0) + num_bytes
    for row in zip(*columns, strict=True):
        table.add_row(*row)
    table.caption = "  ".join(
        f"{camera} {number / 1000:.1f} kB" for camera, number in sorted(by_camera.items())
    )
    return table


@decodes
def column_of(state: dict[str, Any]) -> tuple[str, ...]:
    """Return one worker's state as the texts of `ROWS`; raises `DecodeError` where something is missing."""
    point = state["point"]
    return (
        f"{state['state']} ({state['cause']})" if state["cause"] else state["state"],
        *(kilobytes(state[f"{each}_bytes_per_s"]) for each in ("budget", "usable", "measured", "wanted")),
        f"{point['tau']:.2f}" if isinstance(point["tau"], float | int) else str(point["tau"]),
        f"{point['delta']:.2f}",
        f"{point['codec']}-{point['quality']}",
        f"{state['offload_share']:.0%} of {state['frames_per_s']:.1f}/s",
        f"{share(state['expected_accuracy'])} / {share(state['observed_accuracy'])}",
        f"{state.get('still_per_s', 0.0) / max(state['frames_per_s'], 1e-9):.0%}",
        disagreement(state.get("disagreement")),
        ", ".join(f"{count} {cause}" for cause, count in sorted(state["held_back"].items())) or "–",
    )


def disagreement(found: dict[str, Any] | None) -> str:
    """Return how often the servers' answers name another class, and how often they should by the calibration."""
    if found is None:
        return "–"
    drifted = ", drifted" if found["has_drifted"] else ""
    return f"{share(found['observed'])}, {share(found['expected'])}{drifted}"


def kilobytes(bytes_per_s: float | None) -> str:
    """Return a rate in kB/s; None is unlimited."""
    return "∞" if bytes_per_s is None else f"{bytes_per_s / 1000:.1f}"


def share(value: float | None) -> str:
    """Return a share as per cent, a dash for none."""
    return "–" if value is None else f"{value:.1%}"
