"""``saccade research``: the field's two relatives of Saccade, rebuilt and measured on the same pictures."""

from __future__ import annotations

import shlex
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import SettingsError


class Subject(StrEnum):
    """What to measure."""

    AECNN = "aecnn"
    EARLY_EXIT = "early-exit"
    TABLE = "table"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(research)


def research(
    subject: Annotated[
        Subject, typer.Argument(help="aecnn: with BottleNet++; early-exit: over noisy channels; table: all.")
    ],
    data: Annotated[
        Path | None, typer.Option(help="Folder with train/ and test/ of CLASS/TRACK_FRAME.jpg.")
    ] = None,
    network: Annotated[
        str, typer.Option(help="A timm ResNet, or resnet10xW: ten layers, W channels in the first stage.")
    ] = "resnet50",
    weights: Annotated[
        Path | None, typer.Option(help="Weights to begin with (.safetensors, timm's names).")
    ] = None,
    small_stem: Annotated[
        bool, typer.Option("--small-stem", help="Maps twice as large: a 3×3 stem without pooling.")
    ] = False,
    split: Annotated[str, typer.Option(help="Cut after stem, layer1, layer2, layer3 or layer4.")] = "layer2",
    side: Annotated[int, typer.Option(help="Pixels of the scaled pictures.", min=32)] = 64,
    points: Annotated[
        str,
        typer.Option(help="AECNN's points, as MAPSxBITS, by comma; BottleNet++ gets the same plain bytes."),
    ] = "2x4,1x4,2x2,4x4,8x4",
    code_maps: Annotated[int, typer.Option(help="Maps of the analogue code.", min=1)] = 8,
    length: Annotated[float, typer.Option(help="Multiplies the epochs of all training.", min=0.01)] = 1.0,
    limit: Annotated[
        int | None, typer.Option(help="At most so many pictures of train and test.", min=24)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 1,
    bfloat16: Annotated[
        bool, typer.Option("--bf16", help="Train in bfloat16: twice as fast on processors that have it.")
    ] = False,
    edge_model: Annotated[
        str | None,
        typer.Option(
            "--edge-model",
            help="Saccade's pair; it gets new heads where it lacks the classes. Without: the shipped, tuned.",
        ),
    ] = None,
    server_model: Annotated[
        str | None, typer.Option("--server-model", help="The same pair's server.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of torch.", min=1)] = 1,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="A tiny net on drawn pictures, in a minute or two; for trying out."),
    ] = False,
    out: Annotated[
        Path, typer.Option(help="Folder of checkpoints and report; the same command goes on from there.")
    ] = Path("runs/research"),
) -> None:
    """Train and measure AECNN, BottleNet++ and early exit (reconstructions where theirs is unknown)."""
    if (data is None) != quick:
        raise SettingsError("research needs either --data or --quick")
    if (edge_model is None) != (server_model is None):
        raise SettingsError("--edge-model and --server-model are a pair: give both or none")
    at = maps_and_bits(points)
    from lab.progress import TerminalProgress
    from lab.research import bench
    from lab.research.rivals_report import write_report
    from lab.research.rivals_run import measure

    if quick:
        request = bench.quick(out, split=split, seed=seed, limit=limit)
    else:
        pair = None if edge_model is None or server_model is None else (edge_model, server_model)
        request = bench.RivalsRequest(
            data,
            out,
            network,
            weights,
            small_stem,
            split,
            side,
            length,
            limit,
            seed,
            bfloat16,
            pair,
        )
    begun_s = time.monotonic()
    with TerminalProgress() as progress:
        measured = measure(subject.value, request, at, code_maps, progress, threads=threads)
    command = shlex.join(["saccade", *sys.argv[1:]])
    typer.echo(str(write_report(out, command, measured, time.monotonic() - begun_s)))


def maps_and_bits(points: str) -> tuple[tuple[int, int], ...]:
    """Return (maps, bits) of "2x4,4x4".

    Raises:
        SettingsError: a point that is not two numbers, maps from 1 and bits from 1 to 8.
    """
    pairs = []
    for text in points.split(","):
        maps, cross, bits = text.strip().partition("x")
        if not (cross and maps.isdecimal() and bits.isdecimal() and int(maps) >= 1 and 1 <= int(bits) <= 8):
            raise SettingsError(f"--points {text!r}: want MAPSxBITS with bits from 1 to 8, such as 4x4")
        pairs.append((int(maps), int(bits)))
    return tuple(pairs)
