"""Every benchmark, or the named ones: `python -m lab.benchmarks [NAME ...]`, `make bench`, `make bench-NAME`.

Each runs in processes of its own. One table at the end, and `runs/bench/results.json`:
{"hardware", "figures": [{"name", "value", "unit", "goal", "reached", "note"}]}. A value of null was not
measured; its note says why. A run of some benchmarks replaces their figures and keeps the others'.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.benchmarks.benches import BENCHES, Bench, NotHere, interpreter
from lab.benchmarks.machine import busy_cores
from lab.benchmarks.report import hardware_line, print_table

FOLDER = Path("runs/bench")
RESULTS = FOLDER / "results.json"
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class BenchRun:
    """One benchmark's rows; `failed` when it did not end well."""

    rows: list[Row]
    failed: bool = False


def run_one(bench: Bench) -> BenchRun:
    """Return what the benchmark measured, or one row that says why it did not."""
    try:
        python = interpreter(bench)
    except NotHere as reason:
        return BenchRun([row_without_value(bench.name, f"not measured: {reason}")])
    rows, busy = [], busy_cores()
    for index, command in enumerate(bench.commands):
        json_path, log_path = FOLDER / f"{bench.name}-{index}.json", FOLDER / f"{bench.name}-{index}.log"
        json_path.unlink(missing_ok=True)
        with log_path.open("w") as log:
            try:
                status: int | str = subprocess.run(
                    [python, *command, "--json", str(json_path)],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    timeout=bench.limit_s,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                status = f"time limit of {bench.limit_s:.0f} s"
        if status != 0 or not json_path.exists():
            rows.append(row_without_value(bench.name, f"failed ({status}), see {log_path}"))
            return BenchRun(rows, failed=True)
        rows += [
            row | {"name": f"{bench.name}: {row['name'].removeprefix(f'{bench.name}: ')}{bench.marks[index]}"}
            for row in json.loads(json_path.read_text())["figures"]
        ]
    if busy > 0.3:
        rows[0]["note"] += f"; {busy:.1f} cores were busy with other work when this began"
    return BenchRun(rows)


def row_without_value(name: str, reason: str) -> Row:
    """Return the row of what was not measured."""
    return {"name": name, "value": None, "unit": "", "goal": None, "reached": None, "note": reason}


def merged(rows: list[Row], ran: list[Bench]) -> list[Row]:
    """Return the new rows, and those of benchmarks that did not run now, in the order of the suite."""
    names = {bench.name for bench in ran}
    old = json.loads(RESULTS.read_text())["figures"] if RESULTS.exists() else []
    kept = [row for row in old if row["name"].partition(":")[0] not in names]
    order = list(BENCHES)

    def place(row: Row) -> int:
        name = row["name"].partition(":")[0]
        return order.index(name) if name in order else len(order)

    return sorted([*kept, *rows], key=place)


def main() -> int:
    """Run, print, write; 1 when a benchmark failed. A goal that was not reached is no failure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHES))
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHES]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    chosen = [BENCHES[name] for name in arguments.names] or [each for each in BENCHES.values() if each.in_all]
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows, failed, began_s = [], False, time.monotonic()
    for bench in chosen:
        print(f"==> {bench.name}: {bench.about}", flush=True)
        outcome = run_one(bench)
        rows += outcome.rows
        failed |= outcome.failed
    hardware = hardware_line()
    figures = merged(rows, chosen)
    RESULTS.write_text(json.dumps({"hardware": hardware, "figures": figures}, indent=1) + "\n")
    print_table(hardware, rows)
    left_out = [name for name, each in BENCHES.items() if not each.in_all]
    print(f"\n{time.monotonic() - began_s:.0f} s; figures in {RESULTS}", flush=True)
    if not arguments.names:
        print(f"not part of all, as they take longer: {', '.join(f'make bench-{name}' for name in left_out)}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
