"""``saccade evaluate|calibrate|simulate``: accuracy per byte, the frontier, and the controller on a trace."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from saccade.options import JsonOption, finite
from schemas.errors import DecodeError, SettingsError

EdgeModel = Annotated[str, typer.Option("--edge-model", help="timm name, folder, file, or shipped.")]
ServerModel = Annotated[str, typer.Option("--server-model", help="timm name, folder, file, or shipped.")]
DEFAULT_EDGE = "deit_tiny_patch16_224"
DEFAULT_SERVER = "deit_base_patch16_224"


def register(app: typer.Typer) -> None:
    """Add the measurements to ``app``."""
    app.command()(evaluate)
    app.command()(calibrate)
    app.command()(simulate)


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
    tracks: Annotated[
        Path | None, typer.Option(help="Folder CLASS/TRACK_FRAME.jpg of labelled tracks for --stream.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Frames per second for --stream; 1, 5 and 25 without.")
    ] = None,
    rivals: Annotated[
        bool,
        typer.Option(help="With --stream: whole frames and video too, which is most of the time."),
    ] = True,
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    super_resolution: Annotated[
        Path | None, typer.Option(help="Real-ESRGAN 4x weights (.safetensors) for the ISR baseline.")
    ] = None,
    masked_autoencoder: Annotated[
        Path | None, typer.Option(help="MAE weights (.safetensors) for the MOT baselines.")
    ] = None,
    paper: Annotated[
        bool,
        typer.Option("--check-paper", help="Hold the ImageNet validation images in --data to the paper."),
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("runs/evaluate"),
) -> None:
    """Measure the method and its baselines: accuracy against bytes, patches and server work."""
    from vit.process import prepare

    prepare()
    if paper:
        if data is None:
            raise SettingsError("--check-paper needs --data: the 50,000 ImageNet validation images")
        from lab.research.check_paper import CheckPaperRequest, check_paper

        raise typer.Exit(check_paper(CheckPaperRequest(data, labels, edge_model, server_model)))
    from lab.evaluation.run import EvaluateRequest
    from lab.evaluation.run import evaluate as run_evaluation

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
        tracks=tracks,
        fps=fps,
        limit=limit,
        full=full,
        rivals=rivals,
        dtype=dtype,
        super_resolution=super_resolution,
        masked_autoencoder=masked_autoencoder,
        command=shlex.join(["saccade", *sys.argv[1:]]),
    )
    typer.echo(str(run_evaluation(request)))


def calibrate(
    data: Annotated[Path | None, typer.Option(help="Folder of images of your cameras.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="CSV with columns file and label or class_index, beside --data.")
    ] = None,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Take the server's answer on the raw image as the truth.")
    ] = False,
    scenes: Annotated[int | None, typer.Option(help="So many rendered calibration scenes.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Seed of the rendered scenes.")] = 0,
    edge_model: EdgeModel = DEFAULT_EDGE,
    server_model: ServerModel = DEFAULT_SERVER,
    limit: Annotated[int | None, typer.Option(help="At most so many images (seconds, for streams).")] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="A camera's belief too: on --scenes cameras, or on --clips.")
    ] = False,
    clips: Annotated[
        Path | None, typer.Option(help="Folder of videos of your cameras, for --stream.")
    ] = None,
    fps: Annotated[
        float, typer.Option(help="Frames per second of your cameras, for --stream.", callback=finite)
    ] = 5.0,
    recording: Annotated[
        Path | None, typer.Option(help="File for the frames of --stream, to simulate with.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    out: Annotated[Path, typer.Option(help="The frontier's file.")] = Path("frontier.json"),
) -> None:
    """Find what each operating point costs and is worth, for budget.frontier of these two models."""
    from lab.evaluation.calibrate import CalibrateRequest
    from lab.evaluation.calibrate import calibrate as run_calibration
    from vit.process import prepare

    prepare()
    request = CalibrateRequest(
        out=out,
        edge=edge_model,
        server=server_model,
        data=data,
        labels=labels,
        unlabelled=unlabelled,
        scenes=scenes,
        seed=seed,
        limit=limit,
        stream=stream,
        clips=clips,
        fps=fps,
        recording=recording,
        dtype=dtype,
    )
    typer.echo(str(run_calibration(request)))


def simulate(
    trace: Annotated[
        Path | None,
        typer.Option(help="CSV second,bytes_per_s of a told budget, counted at the bucket's exit."),
    ] = None,
    link: Annotated[Path | None, typer.Option(help="CSV of a link's capacity, unknown to the edge.")] = None,
    cameras: Annotated[int, typer.Option(help="Cameras in all, 1 to 1000.")] = 5,
    workers: Annotated[int, typer.Option(help="Edge workers that share the uplink, 1 to 50.")] = 1,
    fps: Annotated[
        float, typer.Option(help="Frames per second of each camera.", min=0.01, max=1_000, callback=finite)
    ] = 5.0,
    seconds: Annotated[
        float | None, typer.Option(help="How long; 30 s past the last step by default.", callback=finite)
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides every random choice.")] = 0,
    frontier: Annotated[Path | None, typer.Option(help="From saccade calibrate.")] = None,
    recording: Annotated[Path | None, typer.Option(help="Recorded frames instead of drawn ones.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for figures and pictures.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the controller against a simulated budget or link, far faster than real time."""
    from lab.simulation.run import simulate_command

    try:
        figures = simulate_command(
            trace,
            link,
            cameras,
            workers,
            seed,
            frontier,
            out,
            recording=recording,
            frames_per_s=fps,
            seconds=seconds,
        )
    except (ValueError, DecodeError) as error:
        raise SettingsError(str(error)) from error
    if as_json:
        typer.echo(json.dumps(figures))
        return
    for name, value in figures.items():
        if not isinstance(value, list | dict):
            typer.echo(f"{name} = {value}")
