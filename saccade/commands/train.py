"""``saccade train``: the shipped pair from nothing, or a pair for a user's own classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(train)


def train(
    data: Annotated[
        Path | None, typer.Option(help="Own images, one folder per class; without it, rendered scenes.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for edge.safetensors and server.safetensors.")] = Path(
        "runs/train/models"
    ),
    work: Annotated[
        Path, typer.Option(help="Folder for the pool and checkpoints; the same command goes on from there.")
    ] = Path("runs/train/work"),
    heads_only: Annotated[
        bool | None,
        typer.Option(
            "--heads-only/--whole",
            help="With --data: new heads on models that stay as they are, in a minute or two; or whole models, "
            "which takes longer. Without either, whole models from 1,000 images on.",
        ),
    ] = None,
    epochs: Annotated[
        float,
        typer.Option(
            help="With --data: how often whole models see each image; three times as often where their features "
            "do not fit the images."
        ),
    ] = 30.0,
    scale: Annotated[
        float, typer.Option(help="Without --data: multiplies the length of the training.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="With --data: of everything random.")] = 1,
    edge_model: Annotated[str, typer.Option(help="With --data: the model to start from.")] = "shipped:edge",
    server_model: Annotated[
        str, typer.Option(help="With --data: the model to start from.")
    ] = "shipped:server",
) -> None:
    """Train a pair of models, resumable, with progress; use it with --model OUT.

    With --data the pair learns from what it is: a report says how often it was right before and is after, on images
    that were held out, by class, and which images mislead it.
    """
    from vit.process import prepare

    prepare()  # before torch is imported
    from edge_workers.settings import EdgeSettings
    from lab.progress import TerminalProgress
    from lab.training.fine_tune import fine_tune
    from lab.training.report import Asking, write_outcome
    from lab.training.run import train_pair, usual_setup
    from server_workers.settings import ServerSettings

    with TerminalProgress() as progress:
        if data is None:
            train_pair(out, work, usual_setup(scale), progress)
        else:
            outcome = fine_tune(
                data,
                out,
                work,
                asking=Asking(EdgeSettings().point, ServerSettings().edge_weight),
                edge=edge_model,
                server=server_model,
                heads_only=heads_only,
                epochs=epochs,
                seed=seed,
                progress=progress,
            )
    if data is not None:
        typer.echo(write_outcome(out, outcome))
    typer.echo(str(out))
