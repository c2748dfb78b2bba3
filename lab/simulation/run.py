"""`saccade simulate`: from files and flags to one JSON object, and a picture."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lab.simulation.fixed import best_fixed
from lab.simulation.plot import plot
from lab.simulation.recording import load_recording, synthetic
from lab.simulation.simulate import RECORDED_FRAMES, Scenario, simulate
from schemas.errors import DecodeError
from schemas.frontier import load_frontier
from schemas.rates import Auto, RateSchedule
from uplink.default_curve import default_frontier

TAIL_S: Final = 30.0
"""The last rate of a file holds this long; a file does not say when it ends."""
MAX_FRAMES_FOR_FIXED: Final = 400_000


def simulate_command(
    trace: Path | None,
    link: Path | None,
    cameras: int,
    workers: int,
    seed: int,
    frontier: Path | None,
    out: Path | None,
    *,
    recording: Path | None = None,
    frames_per_s: float = 5.0,
    seconds: float | None = None,
) -> dict[str, Any]:
    """The figures of a run as a JSON object; with `out`, figures and pictures are written there too.

    Args:
        trace: CSV `second,bytes_per_s` of a told budget, counted at the bucket's exit.
        link: CSV of the same form: the capacity of a link. Alone, nothing is told and the budget is `auto`.
        cameras: 1 to 1000 cameras, divided among the workers.
        workers: 1 to 50 edge workers that share the uplink.
        seed: decides every random choice.
        frontier: from `saccade calibrate`; the built-in curve without.
        out: a folder for `simulation.json` and `simulation.png`.
        recording: frames as `Recording.save` wrote them; drawn from the frontier without.
        frames_per_s: of each camera.
        seconds: how long; without, until 30 s after the last step.

    Raises:
        ValueError: an argument is out of range, or neither trace nor link is given.
        DecodeError: a file cannot be read; the message names it and the line.
    """
    for name, value, most in (("cameras", cameras, 1000), ("workers", workers, 50)):
        if not 1 <= value <= most:
            raise ValueError(f"{name}: {value}, must be in [1, {most}]")
    if trace is None and link is None:
        raise ValueError("simulate: neither a trace nor a link is given")
    told = None if trace is None else read_rates(trace)
    capacity = None if link is None else read_rates(link)
    known = default_frontier() if frontier is None else load_frontier(frontier)
    scenario = Scenario(
        budget=told or Auto(),
        duration_s=seconds or TAIL_S + max(rates.starts_s[-1] for rates in (told, capacity) if rates),
        capacity=capacity,
        cameras=cameras,
        workers=workers,
        frames_per_s=frames_per_s,
        seed=seed,
    )
    frames = (
        synthetic(known, frames=RECORDED_FRAMES, frames_per_s=frames_per_s, seed=seed)
        if recording is None
        else load_recording(recording)
    )
    result = simulate(scenario, frontier=known, recording=frames)
    if result.frames <= MAX_FRAMES_FOR_FIXED:
        best = best_fixed(scenario, known, frames)
        result = replace(result, accuracy_best_fixed=best.accuracy, best_fixed_point=best.point)
    figures = result.to_json()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "simulation.json").write_text(json.dumps(figures, indent=1, allow_nan=False) + "\n")
        plot(result, told or capacity, out / "simulation.png")
    return figures


def read_rates(path: Path) -> RateSchedule:
    """The schedule in a CSV with the columns `second,bytes_per_s`; a header line is optional.

    Raises:
        DecodeError: it cannot be read, or a line is no pair of ascending seconds and a rate >= 0.
    """
    starts: list[float] = []
    rates: list[float] = []
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    except OSError as error:
        raise DecodeError("unreadable", f"{path}: {error.strerror}") from None
    for number, row in enumerate(rows, start=1):
        if not row or (number == 1 and row[0].strip() == "second"):
            continue
        try:
            second, rate = (float(text) for text in row)
        except ValueError:
            raise DecodeError("wrong_type", f"{path}:{number}: {row} is not second,bytes_per_s") from None
        if not (0 <= rate < float("inf") and (second > starts[-1] if starts else second == 0)):
            raise DecodeError(
                "out_of_range", f"{path}:{number}: {row}, seconds must ascend from 0 and rates be >= 0"
            )
        starts.append(second)
        rates.append(rate)
    if not starts:
        raise DecodeError("missing_field", f"{path}: no line second,bytes_per_s")
    return RateSchedule(tuple(starts), tuple(rates))
