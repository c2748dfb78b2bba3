"""Writes the measured rows as the model card's table, between two marks in its Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lab.training.shape.table import Row

BEGIN: Final = "<!-- measured: begin -->"
END: Final = "<!-- measured: end -->"


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| measured | value | 95 % interval | asked | |", "|---|---|---|---|---|"]
    for row in rows:
        verdict = "" if row.met is None else "yes" if row.met else "**no**"
        interval = f"{number(row, row.low)} to {number(row, row.high)}"
        lines.append(f"| {row.what} | {number(row, row.value)} | {interval} | {row.asked} | {verdict} |")
    return "\n".join(lines)


def number(row: Row, value: float) -> str:
    """Return a value in the row's unit: patches as they are, AUROC as a share, all else in per cent."""
    if "patches kept" in row.what:
        return f"{value:.0f}"
    if "AUROC" in row.what:
        return f"{value:.3f}"
    if row.what.startswith("patch cost"):
        return f"{value:.3f}"
    return f"{100 * value:.1f} %"


def replace_table(card: Path, table: str) -> None:
    """Put the table between the card's marks.

    Raises:
        ValueError: the card lacks the marks.

    """
    text = card.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{card}: no place for the table; it needs the lines {BEGIN} and {END}")
    card.write_text(f"{head}{BEGIN}\n{table}\n{END}{tail}", encoding="utf-8")
