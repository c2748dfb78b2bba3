"""``saccade harvest list|export``: the frames that a page keeps for teaching, and what people said of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saccade.options import ConfigOption, HarvestOption, JsonOption, SetOption, program_settings
from schemas.errors import SettingsError

if TYPE_CHECKING:
    from page.kept_frames import KeptFrames

app = typer.Typer(
    help="List the frames kept for teaching, or write the labelled ones as a folder.", no_args_is_help=True
)
_COUNTS = ("kept", "unsure", "disagree", "marked", "open", "labelled", "left_out")


@app.command("list")
def list_(
    harvest: HarvestOption = None,
    config: ConfigOption = None,
    assign: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print how many frames of each camera are kept, why, and how many are labelled."""
    counts = opened(harvest, config, assign).counts()
    if as_json:
        for each in counts:
            typer.echo(json.dumps(each))
        return
    for each in counts:
        named = ", ".join(f"{each[name]} {name.replace('_', ' ')}" for name in _COUNTS if each[name])
        typer.echo(f"{each['camera']}  {named}  ({each['num_bytes'] / 1e6:.1f} MB)")


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Folder to write; a new one, or one of an earlier export.")],
    harvest: HarvestOption = None,
    config: ConfigOption = None,
    assign: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the labelled frames as FOLDER/CLASS/CAMERA_SEQ.EXT with index.json, for `saccade train --data`."""
    from page import harvest_export

    counts = harvest_export.export(opened(harvest, config, assign), folder)
    if as_json:
        typer.echo(json.dumps(counts))
        return
    for name, count in counts.items():
        typer.echo(f"{count:6}  {name}")
    typer.echo(f"{sum(counts.values())} labelled frames of {len(counts)} classes in {folder}")


def opened(harvest: Path | None, config: Path | None, assign: list[str] | None) -> KeptFrames:
    """Return the file that the flag or the settings name, which must be there."""
    from page.kept_frames import KeptFrames
    from page.settings import PageProgramSettings

    settings = program_settings(PageProgramSettings, config, assign, harvest__file=harvest).harvest
    if settings.file is None:
        raise SettingsError("harvest.file: not set; name the file of kept frames with --harvest FILE")
    if not settings.file.is_file():
        raise SettingsError(f"harvest.file {settings.file}: no such file; a page started with it makes it")
    return KeptFrames.open(settings.file, max_bytes=settings.max_bytes)
