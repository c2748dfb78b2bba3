"""``saccade events``: what happened at a site, and what happens now."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from saccade.event_loop import run_interruptible
from saccade.options import ConfigOption, JsonOption, RedisOption, SetOption, settings_from
from schemas.event import Event, encode_event

_BATCH = 100
_WAIT_S = 5.0


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(events)


def events(
    camera: Annotated[str | None, typer.Option(help="Only this camera.", show_default=False)] = None,
    last: Annotated[int, typer.Option(help="So many of the past ones first.", min=0, max=10_000)] = 20,
    follow: Annotated[bool, typer.Option("--follow", help="Print new ones until interrupted.")] = False,
    config: ConfigOption = None,
    assign: SetOption = None,
    redis: RedisOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print labels that began, changed or ended, as the page's process finds them."""
    from runtime.redis_events import EventStore

    settings = settings_from(config, assign, redis=redis)

    def show(event: Event) -> None:
        if camera in (None, event.camera):
            typer.echo(json.dumps(json.loads(encode_event(event))) if as_json else line(event))

    async def print_events() -> None:
        async with EventStore(settings.redis) as store:
            position = await store.newest_position(settings.site)
            for event in reversed(await store.recent(settings.site, last) if last else []):
                show(event)
            while follow:
                for place, found in await store.after(settings.site, position, count=_BATCH, wait_s=_WAIT_S):
                    position = place
                    if found is not None:
                        show(found)

    raise typer.Exit(run_interruptible(print_events))


def line(event: Event) -> str:
    """The event as one line for a person."""
    at = datetime.fromtimestamp(event.at_ns / 1e9, tz=UTC).strftime("%H:%M:%S")
    before = f", was {event.before}" if event.before else ""
    frames = f"frames {event.first_seq} to {event.last_seq}"
    return f"{at}  {event.camera}  {event.label} {event.kind}{before}  {event.confidence:.0%}  ({frames})"
