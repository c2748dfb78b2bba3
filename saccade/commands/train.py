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
        bool,
        typer.Option("--heads-only", help="With --data: new heads on models that stay as they are; minutes."),
    ] = False,
    epochs: Annotated[float, typer.Option(help="With --data: how often each image is seen.")] = 30.0,
    scale: Annotated[
        float, typer.Option(help="Without --data: multiplies the length of the training.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="With --data: of everything random.")] = 1,
    edge_model: Annotated[str, typer.Option(help="With --data: the model to start from.")] = "shipped:edge",
    server_model: Annotated[
        str, typer.Option(help="With --data: the model to start from.")
    ] = "shipped:server",
) -> None:
    """Train a pair of models, resumable, with progress; use them with --model OUT/edge.safetensors."""
    from vit.process import prepare

    prepare()  # before torch is imported
    from lab.progress import TerminalProgress
    from lab.training.fine_tune import fine_tune
    from lab.training.heads import fit_heads
    from lab.training.run import train_pair, usual_setup

    with TerminalProgress() as progress:
        if data is None:
            files = train_pair(out, work, usual_setup(scale), progress)
        elif heads_only:
            files = fit_heads(data, out, work, edge=edge_model, server=server_model, progress=progress)
        else:
            files = fine_tune(
                data,
                out,
                work,
                edge=edge_model,
                server=server_model,
                epochs=epochs,
                seed=seed,
                progress=progress,
            )
    for file in files:
        typer.echo(str(file))
