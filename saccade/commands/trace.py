"""``saccade trace``: what happened to one frame, stage by stage, and why it has its label."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated

import typer

from runtime.redis_store import RedisStore
from saccade.commands.labels import no_label
from saccade.event_loop import run
from saccade.options import ConfigOption, JsonOption, RedisOption, SetOption, settings_from
from schemas.bitmap import positions_of
from schemas.errors import SaccadeError
from schemas.label import Label
from schemas.trace import Leading, Trace


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(trace)


def trace(
    camera: Annotated[str, typer.Argument(help="Camera id.")],
    seq: Annotated[int, typer.Argument(help="Sequence number of the frame.", min=0)],
    config: ConfigOption = None,
    assign: SetOption = None,
    redis: RedisOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print every stage of one frame with its time, and why it has its label. Workers need redis.traces."""
    settings = settings_from(config, assign, redis=redis)

    async def get() -> tuple[Label | None, Trace]:
        async with RedisStore(settings.redis) as store:
            return await store.get(camera, seq), await store.trace(camera, seq)

    label, found = run(get())
    if label is None:
        raise no_label(camera, seq)
    if found == Trace():
        raise SaccadeError(
            f"camera {camera!r} has no trace for frame {seq}: older than ten minutes, or the workers run "
            "without redis.traces"
        )
    if as_json:
        typer.echo(json.dumps({"label": label.to_json(), "trace": found.to_json(label)}))
    else:
        typer.echo("\n".join(lines(label, found)))


def lines(label: Label, found: Trace) -> Iterator[str]:
    """Return the trace as lines for a person; times are milliseconds since the frame's capture."""
    answer = f"{label.name} {label.confidence:.0%}" if not label.cause else label.cause
    yield f"{label.camera} {label.seq}: {label.state} by {label.source}, {answer}"
    yield f"why      {found.why(label)}"
    if found.edge is not None:
        edge = found.edge
        yield f"edge     {_leading(edge.leading)}  ({edge.worker})"
        if edge.score is not None:
            tau = "never asks" if edge.tau is None else f"tau {edge.tau:.3f}"
            verdict = "asks the server" if edge.asks else "keeps its answer"
            yield f"gate     score {edge.score:.3f}, {tau}: {verdict}; Redis: {edge.written}"
    if found.offload is not None:
        sent = found.offload
        patches = f"{len(positions_of(sent.bitmap))} patches (delta {sent.delta:.3g})"
        yield f"record   {patches}, {sent.codec}-{sent.quality}, {sent.num_bytes} bytes: {sent.result}"
    if found.server is not None:
        server = found.server
        yield f"server   {_leading(server.leading)}  ({server.worker})"
        agrees = "agrees with the edge" if server.agrees else "corrects the edge"
        batch = f"batch of {server.batch_sets} with {server.batch_tokens} tokens"
        yield f"         {agrees}; {batch}; Redis: {server.written}"
    yield ""
    yield "stage         began ms    took ms"
    for stage in found.stages:
        began_ms = (stage.began_ns - label.captured_ns) / 1e6
        yield f"{stage.name:<12} {began_ms:9.1f}  {(stage.ended_ns - stage.began_ns) / 1e6:9.2f}"


def _leading(leading: Leading) -> str:
    return ", ".join(f"{name} {probability:.1%}" for name, probability in leading) or "no answer"
