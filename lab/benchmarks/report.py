"""The figures of a benchmark, as one JSON object and as a table: one line a figure, what was not reached marked."""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_VERDICTS = {True: "reached", False: "NOT reached", None: ""}


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value; `goal`, if any, is the least (`at_least`) or the most that was aimed at."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    at_least: bool = True
    note: str = ""

    @property
    def reached(self) -> bool | None:
        if self.goal is None:
            return None
        # bool: a NumPy value compares to NumPy's own, which JSON does not know.
        return bool(self.value >= self.goal if self.at_least else self.value <= self.goal)


def options(about: str | None) -> argparse.ArgumentParser:
    """A benchmark's options: its docstring as the help, and `--json` for where the figures go."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    return parser


def hardware_line() -> str:
    """The processor, what matters of its instruction set, its cores, and torch."""
    import torch

    from vit.process import available_threads

    information = Path("/proc/cpuinfo")
    text = information.read_text() if information.exists() else ""
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in lines.items()}
    flags = set(fields.get("flags", "").split())
    known = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    processor = fields.get("model name", platform.processor() or platform.machine())
    instructions = ", ".join(known) or "no AVX"
    line = f"{processor} ({instructions}), {available_threads()} cores, torch {torch.__version__}"
    return f"{line}, {torch.cuda.get_device_name()}" if torch.cuda.is_available() else line


def publish(figures: list[Figure], json_path: Path | None) -> None:
    """Print the table; write {"hardware", "figures"} where a path is given."""
    hardware = hardware_line()
    rows = [
        {key: value for key, value in asdict(figure).items() if key != "at_least"}
        | {"reached": figure.reached}
        for figure in figures
    ]
    print_table(hardware, rows)
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps({"hardware": hardware, "figures": rows}, indent=1) + "\n")


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
