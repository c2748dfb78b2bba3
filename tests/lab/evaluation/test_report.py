import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.evaluation.methods import all_points
from lab.evaluation.paired import PairedPredictions, Timings
from lab.evaluation.report.page import RunNotes, per_class_rows, write_report
from lab.evaluation.report.render import change, giga, in_points, interval, kilobytes, percent, setting_text
from lab.evaluation.report.results import results_document, write_csv, write_json, write_points_csv
from lab.evaluation.schemes import Ranked, Whole
from lab.evaluation.selection import Rule
from lab.research import published
from lab.research.paper_figures import curve, headline_point

PAIR = {
    Whole(): 0.9,
    Ranked(Rule("attention_sum", 0.97)): 0.85,
    Whole("webp", 75): 0.88,
    Ranked(Rule("attention_sum", 0.6), "webp", 75): 0.8,
}


def test_numbers_as_a_report_prints_them() -> None:
    assert percent(0.80832) == "80.83"
    assert percent(float("nan")) == "–"
    assert in_points(-0.0123) == "-1.23"
    assert interval(0.1, 0.25) == "10.00…25.00"
    assert kilobytes(8170) == "8.17"
    assert giga(17.57e9) == "17.6"
    assert change(-0.5) == "-50.0 %"


def test_published_curves_have_one_point_for_each_delta_and_rising_costs() -> None:
    assert set(published.FIG8) == {1.0, 0.8, 0.6, 0.4, 0.3, 0.2, 0.1}
    for each in published.FIG8.values():
        assert len(each) == len(published.FIG8_DELTAS)
        assert [point.cost for point in each] == sorted(point.cost for point in each)
    assert published.FIG8[0.8][7] == (0.3236, 80.83)
    assert published.FIG8[1.0][7] == (0.2707, 80.23)


def test_a_curve_holds_each_measured_point_beside_the_published_one_at_its_cost(
    pair_up: Callable[..., PairedPredictions],
) -> None:
    measured = [point for point in all_points(pair_up(PAIR)) if point.setting.delta == 0.97]
    rows = curve(published.FIG8_PARETO, measured)
    costs = [point.figures.patch_cost for point, _ in rows]
    assert costs == sorted(point.figures.patch_cost for point in measured)
    for cost, (_, theirs) in zip(costs, rows, strict=True):
        assert math.isnan(theirs) is not (0.165 <= cost <= 0.72)
    assert curve(published.FIG8_PARETO, []) == []


def test_infinite_thresholds_become_null_in_json(
    tmp_path: Path, pair_up: Callable[..., PairedPredictions]
) -> None:
    document = results_document("d", 3, ("e", 0.5), ("s", 0.6), all_points(pair_up(PAIR)))
    write_json(tmp_path / "r.json", document)
    read = json.loads((tmp_path / "r.json").read_text())
    assert list(read) == ["data", "images", "edge", "server", "points"]
    assert read["server"] == {"model": "s", "top1": 0.6}
    assert not any(isinstance(v, float) and math.isinf(v) for point in read["points"] for v in point.values())


def test_tables_are_readable_csv(tmp_path: Path, pair_up: Callable[..., PairedPredictions]) -> None:
    found = all_points(pair_up(PAIR))
    write_points_csv(tmp_path / "p.csv", found)
    with (tmp_path / "p.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(found)
    assert float(rows[0]["accuracy"]) == found[0].figures.accuracy
    write_csv(tmp_path / "x.csv", ["a", "b"], [[None, float("nan")], [1, 2]])
    assert (tmp_path / "x.csv").read_text().split() == ["a,b", ",", "1,2"]


def test_the_headline_is_the_papers_operating_point(pair_up: Callable[..., PairedPredictions]) -> None:
    point = headline_point(pair_up(PAIR))
    assert point is not None
    assert (point.setting.tau, point.setting.delta, point.setting.codec) == (0.8, 0.97, "raw")
    assert setting_text(point.setting) == "attention_sum 0.97, raw"


def test_per_class_rows_cover_every_image(pair_up: Callable[..., PairedPredictions]) -> None:
    pairs = pair_up(PAIR)
    rows = per_class_rows(pairs)
    assert sum(int(str(row[1])) for row in rows) == pairs.num_images


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.slow
def test_the_page_says_who_wins_or_that_weights_are_equal(
    same: bool, pair_up: Callable[..., PairedPredictions], tmp_path: Path
) -> None:
    notes = RunNotes(command="saccade evaluate", timings=Timings(5.0, 50.0), unreadable=["x.png"])
    text = write_report(tmp_path, pair_up(PAIR, size=300, same=same), notes).read_text()
    assert ("same weights" in text) is same
    assert ("Patches or a whole image by codec?" in text) is not same
    assert "1212.5" in text
    assert "x.png" in text
