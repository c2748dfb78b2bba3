"""Markdown tables and numbers as a report prints them. Pure."""

import math
from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is left-aligned, the others right."""
    rule = [":--"] + ["--:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def percent(share: float, digits: int = 2) -> str:
    """Return a share as percent without the sign; a dash for NaN."""
    return "–" if math.isnan(share) else f"{100 * share:.{digits}f}"


def points(share: float) -> str:
    """Return a difference of shares in signed percentage points."""
    return "–" if math.isnan(share) else f"{100 * share:+.2f}"


def interval(low: float, high: float) -> str:
    """Return an interval of shares in percent."""
    return f"{percent(low)}…{percent(high)}"


def signed_interval(low: float, high: float) -> str:
    """Return an interval of differences in percentage points."""
    return f"{points(low)}…{points(high)}"


def kilobytes(num_bytes: float) -> str:
    """Return bytes in kB (1,000 bytes) with two decimals."""
    return f"{num_bytes / 1000:.2f}"


def giga(count: float) -> str:
    """Return a count in 10^9 with three significant digits."""
    return f"{count / 1e9:.3g}"


def change(ratio: float) -> str:
    """Return a relative change in signed percent; a dash for NaN."""
    return "–" if math.isnan(ratio) else f"{100 * ratio:+.1f} %"


def number(value: float | None, digits: int = 4) -> str:
    """Return a number of at most `digits` significant digits; a dash for None."""
    return "–" if value is None else f"{value:.{digits}g}"
