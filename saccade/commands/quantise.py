"""``saccade quantise``: the edge's model in int8, for ``edge.backend = "openvino_int8"``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(quantise)


def quantise(
    data: Annotated[Path, typer.Option(help="Images of your cameras, in any folders below; 300 suffice.")],
    model: Annotated[
        str, typer.Option(help="A timm name, a folder or file of safetensors, or shipped.")
    ] = "shipped",
    out: Annotated[Path, typer.Option(help="Folder of the int8 model.")] = Path("runs/quantised"),
) -> None:
    """Write the edge's model in int8; use it with edge --backend openvino_int8 --quantised OUT."""
    from lab.evaluation.quantisation import quantise_edge

    made = quantise_edge(data, model, out)
    typer.echo(f"{made.path}: calibrated on {made.calibrated} images")
    if made.checked:
        typer.echo(f"the answer is the model's own on {made.agreeing} of {made.checked} other images")
