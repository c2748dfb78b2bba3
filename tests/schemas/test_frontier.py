"""The frontier file: exact round trip, and errors that name the field and its value."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.belief_rule import BeliefRule
from schemas.errors import DecodeError
from schemas.frontier import (
    Frontier,
    FrontierPoint,
    HminBin,
    dump_frontier,
    frontier_from_json,
    load_frontier,
)
from schemas.operating_point import OperatingPoint

GOLDEN = Path(__file__).parent / "golden"


def point(tau: float, bytes_per_frame: float) -> FrontierPoint:
    return FrontierPoint(
        point=OperatingPoint(tau, 0.97, min_patches=8),
        offload_ratio=0.25,
        bytes_per_offload=4 * bytes_per_frame,
        bytes_per_offload_p95=8 * bytes_per_frame,
        bytes_per_frame=bytes_per_frame,
        accuracy=0.875,
        accuracy_lo=0.86,
        accuracy_hi=0.89,
        server_macs=1.5e9,
        images=1_000,
    )


FRONTIER = Frontier(
    edge_model="edge",
    edge_hash="aa",
    server_model="server",
    server_hash="bb",
    classes_hash="cc",
    data="1,000 scenes, seeds 7 to 1006",
    accuracy_kind="label",
    images=1_000,
    h_min_quantiles=tuple(idx / 50 for idx in range(101)),
    accuracy_by_h_min=(HminBin(0.0, 1.0, 900, 0.9, 0.95), HminBin(1.0, 6.5, 100, 0.5, 0.9)),
    points=(point(0.4, 900.0), point(math.inf, 0.0)),
)


def test_a_file_round_trips_exactly(tmp_path: Path) -> None:
    path = tmp_path / "frontier.json"
    dump_frontier(FRONTIER, path)
    assert load_frontier(path) == FRONTIER
    assert [each.name for each in tmp_path.iterdir()] == ["frontier.json"]


def test_a_file_of_version_1_stays_readable() -> None:
    assert load_frontier(GOLDEN / "frontier_v1.json") == FRONTIER


def test_version_2_has_a_belief_and_stays_as_it_is(tmp_path: Path) -> None:
    frontier = replace(FRONTIER, belief=BeliefRule(0.3, 1.0, 8.0, 1.4, 2.0, 0.5, 0.85, (0.75, 0.25)))
    golden = GOLDEN / "frontier_v2.json"
    assert load_frontier(golden) == frontier
    dump_frontier(frontier, tmp_path / "f.json")
    assert (tmp_path / "f.json").read_bytes() == golden.read_bytes()


def document() -> Any:
    return json.loads((GOLDEN / "frontier_v1.json").read_text())


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (["version"], 3, "version"),
        (["belief"], {"prior": [], "floor": 2}, r"belief.floor: 2"),
        (["accuracy_kind"], "vibes", "accuracy_kind.*vibes"),
        (["images"], 0, "images: 0"),
        (["h_min_quantiles", 3], 9.0, r"h_min_quantiles\[4\]"),
        (["h_min_quantiles"], [], "h_min_quantiles"),
        (["points"], [], "points: empty"),
        (["points", 1, "offload_ratio"], 1.5, r"points\[1\].offload_ratio: 1.5"),
        (["points", 0, "point", "delta"], -1, r"points\[0\].point.delta"),
        (["points", 0, "point", "tau"], "never", r"points\[0\].point.tau"),
        (["points", 0, "accuracy"], 0.1, r"points\[0\].accuracy"),
        (["accuracy_by_h_min", 0, "hi"], -1, "hi"),
    ],
)
def test_a_bad_value_is_named(path: list[str | int], value: object, named: str) -> None:
    whole = document()
    place = whole
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(DecodeError, match=named):
        frontier_from_json(whole)


def test_a_missing_or_broken_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match=r"gone.json: No such file"):
        load_frontier(tmp_path / "gone.json")
    (tmp_path / "half.json").write_text('{"version": 1,')
    with pytest.raises(DecodeError, match="no JSON"):
        load_frontier(tmp_path / "half.json")
