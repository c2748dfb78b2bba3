"""``saccade models``: what the workers run; another pair for them without a restart, or the one before it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from runtime.redis_store import RedisStore
from saccade.event_loop import run
from saccade.models_view import deployment_line, model_rows, standing_line
from saccade.options import ConfigOption, JsonOption, RedisOption, SetOption, settings_from
from schemas.deployment import Deployment, Pair, Role, Standing, WorkerModels, is_decided, standing
from schemas.errors import SaccadeError

WAIT_S = 300.0
"""A worker that has not taken a pair by then is left to go on by itself."""
_ASK_S = 0.5

app = typer.Typer(help="Show which models the workers run, or give them others while they work.")


@app.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    config: ConfigOption = None,
    assign: SetOption = None,
    redis: RedisOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show which models each worker runs, and how it stands to what is deployed."""
    if context.invoked_subcommand is not None:
        return
    settings = settings_from(config, assign, redis=redis)

    async def get() -> tuple[Deployment | None, list[WorkerModels]]:
        async with RedisStore(settings.redis) as store:
            return await store.deployment(), await store.read_models()

    deployment, workers = run(get())
    if not as_json:
        typer.echo(deployment_line(deployment))
    for row in model_rows(workers, as_json=as_json):
        typer.echo(row)


@app.command()
def deploy(
    folder: Annotated[Path, typer.Argument(help="Folder of a pair, at this path on every worker's machine.")],
    config: ConfigOption = None,
    assign: SetOption = None,
    redis: RedisOption = None,
) -> None:
    """Give the workers another pair: servers take it first, then edges; each keeps its own where it cannot."""
    settings = settings_from(config, assign, redis=redis)
    pair = pair_of(folder)

    async def change() -> None:
        async with RedisStore(settings.redis) as store:
            present = await store.deployment()
            if present is None:
                present = Deployment(0, started_with(await store.read_models()), Pair(""))
            await _deploy(store, present.followed_by(pair))

    run(change())


@app.command()
def back(config: ConfigOption = None, assign: SetOption = None, redis: RedisOption = None) -> None:
    """Give the workers the pair that they ran before; once more, the newer one again."""
    settings = settings_from(config, assign, redis=redis)

    async def change() -> None:
        async with RedisStore(settings.redis) as store:
            present = await store.deployment()
            if present is None:
                raise SaccadeError("no pair was deployed: there is none to go back to")
            await _deploy(store, present.taken_back())

    run(change())


def pair_of(folder: Path) -> Pair:
    """The pair in a folder, every byte read and checked.

    Raises:
        SaccadeError: it holds no pair, its models have different classes, or its frontier or the network that was
            exported into it is another pair's.
    """
    from edge_workers.models import FRONTIER
    from schemas.frontier import load_frontier
    from uplink.curve import check_models
    from vit.classes import same_classes
    from vit.exported import exported_in, is_exported
    from vit.weights import is_pair, load_model

    folder = folder.expanduser().resolve()
    if not is_pair(folder):
        alone = ""
        if is_exported(str(folder)):
            alone = "; it holds an exported edge alone, which saccade export writes into the pair's own folder, too"
        raise SaccadeError(f"{folder}: no pair, which is edge.safetensors and server.safetensors{alone}")
    edge, server = load_model(str(folder), role="edge"), load_model(str(folder), role="server")
    same_classes(edge.classes, server.classes)
    if is_exported(str(folder)) and exported_in(str(folder)).identity.weights_hash != edge.weights_hash:
        raise SaccadeError(
            f"{folder}: its exported network is another edge's: export the pair's edge into it anew"
        )
    path = folder / FRONTIER
    if path.exists():
        frontier = load_frontier(path)
        check_models(frontier, edge_hash=edge.weights_hash, classes_hash=edge.classes_hash)
    return Pair(str(folder), edge.weights_hash, server.weights_hash, edge.classes_hash)


def started_with(workers: list[WorkerModels]) -> Pair:
    """What the workers run before anything is deployed; a hash that they do not agree on is not known."""

    def only(values: set[str]) -> str:
        return values.pop() if len(values) == 1 else ""

    return Pair(
        "",
        only({each.weights for each in workers if each.role is Role.EDGE}),
        only({each.weights for each in workers if each.role is Role.SERVER}),
        only({each.classes for each in workers}),
    )


async def _deploy(store: RedisStore, deployment: Deployment) -> None:
    """The deployment is written, and every worker has taken it, or is known not to.

    Raises:
        SaccadeError: a worker did not take it.
    """
    await store.deploy(deployment)
    typer.echo(deployment_line(deployment))
    told: dict[str, str] = {}
    try:
        async with asyncio.timeout(WAIT_S):
            workers = await _followed(store, deployment, told)
    except TimeoutError:
        raise SaccadeError(
            f"not every worker has taken it in {WAIT_S:.0f} s; saccade models shows them, saccade models back "
            "gives them the pair before"
        ) from None
    if any(standing(worker, deployment) is not Standing.RUNS for worker in workers):
        raise SaccadeError("not every worker runs it; saccade models back gives all of them the pair before")
    if not workers:
        typer.echo("no worker is there; those that start will take it")


async def _followed(store: RedisStore, deployment: Deployment, told: dict[str, str]) -> list[WorkerModels]:
    """The workers once nothing more will change; each line that changes on the way is printed."""
    while True:
        workers = await store.read_models()
        for worker in workers:
            line = standing_line(worker, deployment)
            if told.get(worker.worker) != line:
                told[worker.worker] = line
                typer.echo(line)
        if is_decided(workers, deployment):
            return workers
        await asyncio.sleep(_ASK_S)
