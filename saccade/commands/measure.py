"""``saccade evaluate|calibrate|simulate``: accuracy per byte, the frontier, and the controller on a trace."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

EdgeModel = Annotated[str, typer.Option("--edge-model", help="timm name, folder, file, or shipped.")]
ServerModel = Annotated[str, typer.Option("--server-model", help="timm name, folder, file, or shipped.")]
DEFAULT_EDGE = "deit_tiny_patch16_224"
DEFAULT_SERVER = "deit_base_patch16_224"


def register(app: typer.Typer) -> None:
    """Add the measurements to ``app``."""
    app.command()(evaluate)


def evaluate(
    data: Annotated[Path | None, typer.Option(help="Folder of images, one subfolder per class.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="CSV with columns file and label or class_index, beside --data.")
    ] = None,
    scenes: Annotated[
        int | None, typer.Option(help="So many fresh rendered scenes (with --stream: cameras).", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the rendered scenes.")] = 0,
    edge_model: EdgeModel = DEFAULT_EDGE,
    server_model: ServerModel = DEFAULT_SERVER,
    other_server: Annotated[str | None, typer.Option(help="A second server's model, as in Fig. 9.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many images (seconds, for streams).")] = None,
    full: Annotated[bool, typer.Option("--full", help="Every point of every sweep, however long.")] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Cameras and clips instead of single images.")
    ] = False,
    clips: Annotated[Path | None, typer.Option(help="Folder of videos for --stream.")] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("runs/evaluate"),
) -> None:
    """Measure the method and its baselines: accuracy against bytes, patches and server work."""
    from evaluation.request import EvaluateRequest
    from evaluation.run import evaluate as run_evaluation

    request = EvaluateRequest(
        out=out,
        edge=edge_model,
        server=server_model,
        other_server=other_server,
        data=data,
        labels=labels,
        scenes=scenes,
        seed=seed,
        stream=stream,
        clips=clips,
        limit=limit,
        full=full,
        dtype=dtype,
        command=shlex.join(["saccade", *sys.argv[1:]]),
    )
    typer.echo(str(run_evaluation(request)))
