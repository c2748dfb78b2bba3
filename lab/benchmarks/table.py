"""The suite's table: one line a figure, what was not reached marked."""

from __future__ import annotations

from typing import Any

_VERDICTS = {True: "reached", False: "NOT reached", None: ""}


def print_table(hardware: str, rows: list[dict[str, Any]]) -> None:
    """Print the hardware and all rows."""
    print(f"\n{hardware}\n")
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        verdict = _VERDICTS[row["reached"]]
        print(f"{row['name']:{width}}  {_value(row):24} {_goal(row):10} {verdict:12} {row['note']}")


def _value(row: dict[str, Any]) -> str:
    return "not measured" if row["value"] is None else f"{row['value']:9.4g} {row['unit']}"


def _goal(row: dict[str, Any]) -> str:
    if row["goal"] is None:
        return ""
    below = row["reached"] != (row["value"] >= row["goal"])
    return f"{'<=' if below else '>='} {row['goal']:g}"
