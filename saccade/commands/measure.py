"""``saccade evaluate|calibrate|simulate``: accuracy per byte, the frontier, and the controller on a trace."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the measurements to ``app``."""
