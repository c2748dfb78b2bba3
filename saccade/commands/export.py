"""``saccade export``: the edge's model as a folder that runs without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(export)


def export(
    model: Annotated[
        str, typer.Option(help="A timm name, a folder or file of safetensors, or shipped.")
    ] = "shipped",
    out: Annotated[Path, typer.Option(help="Folder for edge --model.")] = Path("runs/exported"),
    data: Annotated[
        Path | None,
        typer.Option(
            help="Images of your cameras, in any folders below; 300 suffice. The result is held against torch "
            "on them; noise where not given.",
            show_default=False,
        ),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="OpenVINO's network in int8, calibrated on the images.")
    ] = False,
) -> None:
    """Write the edge's model for OpenVINO and ONNX Runtime; use it with edge --model OUT, without torch."""
    from lab.evaluation.exporting import export_edge
    from vit.process import prepare

    prepare()

    exported = export_edge(model, out, data, int8=int8)
    for name in exported.files:
        typer.echo(f"{out / name}: {(out / name).stat().st_size / 1e6:.1f} MB")
    for name, each in exported.agreement.items():
        kind = "int8" if name in exported.int8 else "float"
        typer.echo(
            f"{name} ({kind}): torch's own answer on {each.same_answers} of {each.images} images of {each.data}; "
            f"logits differ by {each.logit_distance:.3f} at most, attention by {each.attention_moved:.1%}"
        )
