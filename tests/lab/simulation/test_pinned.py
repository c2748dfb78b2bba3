"""What the simulation came to is written down: whoever changes the control's code without changing its rules sees
the same decisions in the same order.

Floats agree to a billionth, since the last bits of numpy's exp differ between processors; a decision that changed
moves them by far more. To write the figures anew after a rule was changed on purpose:
`python -m tests.lab.simulation.test_pinned`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from lab.simulation.outcome import Moment, SimulationResult
from lab.simulation.simulate import Scenario, simulate
from lab.simulation.site import Faults
from schemas.rates import Auto, RateSchedule, constant

KBIT: Final = 125.0
PINNED: Final = Path(__file__).with_name("pinned.json")
SCENARIOS: Final = {
    "told in steps": Scenario(
        RateSchedule((0.0, 12.0, 24.0, 32.0), (800 * KBIT, 200 * KBIT, 0.0, 500 * KBIT)),
        45.0,
        capacity=constant(2_000 * KBIT),
        cameras=8,
        frames_per_s=8.0,
        hard=((36.0, 40.0),),
        seed=3,
    ),
    "auto on a link": Scenario(
        Auto(),
        45.0,
        capacity=RateSchedule((0.0, 15.0, 27.0, 33.0), (900 * KBIT, 250 * KBIT, 0.0, 600 * KBIT)),
        cameras=10,
        frames_per_s=8.0,
        seed=4,
    ),
    "told above the link": Scenario(
        constant(600 * KBIT), 30.0, capacity=constant(300 * KBIT), cameras=8, delay_s=0.15, seed=5
    ),
    "three workers": Scenario(constant(400 * KBIT), 30.0, workers=3, cameras=12, frames_per_s=8.0, seed=6),
    "few servers": Scenario(
        constant(1_600 * KBIT),
        30.0,
        server_records_per_s=RateSchedule((0.0, 10.0), (40.0, 15.0)),
        cameras=12,
        frames_per_s=10.0,
        seed=7,
    ),
    "faults": Scenario(
        constant(400 * KBIT),
        35.0,
        workers=3,
        cameras=9,
        frames_per_s=8.0,
        faults=Faults(
            stopped={"edge-0": [(8.0, 15.0)]},
            cut_off={"edge-1": [(9.0, 14.0)]},
            redis_away=[(10.0, 10.5), (20.0, 26.0)],
        ),
        seed=8,
    ),
}


def figures(result: SimulationResult) -> dict[str, Any]:
    """Counts, bytes by second, and every worker at every second, as plain JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(result.to_json()))
    for changing in ("cpu_s", "times_faster"):
        del plain[changing]
    seconds = range(int(result.duration_s))
    plain["bytes_by_second"] = [result.bytes_between(second, second + 1) for second in seconds]
    plain["departures"] = len(result.departures)
    plain["final_times"] = sum(result.final_times)
    plain["queue_ages"] = sum(age for _, age in result.queue_ages)
    plain["moments"] = [_line(moment) for moment in result.moments]
    return plain


def _line(moment: Moment) -> list[Any]:
    point = moment.point
    return [
        moment.worker,
        moment.state,
        moment.cause,
        moment.waiting_records,
        moment.share,
        moment.usable_bytes_per_s,
        moment.wanted_bytes_per_s,
        moment.measured_bytes_per_s,
        point.tau if point.tau < float("inf") else "inf",
        f"{point.codec}-{point.quality} {point.delta:g}",
    ]


def _agree(found: Any, pinned: Any, where: str) -> None:
    if isinstance(pinned, dict):
        assert sorted(found) == sorted(pinned), where
        for name, value in pinned.items():
            _agree(found[name], value, f"{where} {name}")
    elif isinstance(pinned, list):
        assert len(found) == len(pinned), where
        for idx, value in enumerate(pinned):
            _agree(found[idx], value, f"{where} {idx}")
    elif isinstance(pinned, float):
        assert found == pytest.approx(pinned, rel=1e-9, abs=1e-9), where
    else:
        assert found == pinned, where


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_decision_is_the_one_that_was_written_down(name: str) -> None:
    _agree(figures(simulate(SCENARIOS[name])), json.loads(PINNED.read_text())[name], name)


if __name__ == "__main__":
    everything = {name: figures(simulate(scenario)) for name, scenario in SCENARIOS.items()}
    rows = json.dumps(everything, allow_nan=False).replace('["edge-', '\n["edge-').replace('}, "', '},\n"')
    PINNED.write_text(rows + "\n")
