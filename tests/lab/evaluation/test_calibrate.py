import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gating.select import select
from lab.errors import EvaluationError
from lab.evaluation import calibrate
from lab.evaluation.calibrate import (
    CalibrateRequest,
    entropy_bins,
    frontier_schemes,
    make_frontier,
    measure_frontier,
)
from lab.evaluation.corpus import MemoryCorpus
from lab.evaluation.paired import PairedPredictions
from lab.evaluation.schemes import EDGE, Ranked, Scheme, Whole
from lab.evaluation.selection import Rule
from lab.evaluation.wire import value_bytes, wire_bytes
from lab.progress import SilentProgress
from schemas.frontier import dump_frontier, load_frontier

SCHEMES: dict[Scheme, float] = {
    Whole(): 0.95,
    Whole("avif", 45): 0.93,
    Whole("webp", 75): 0.9,
    Ranked(Rule("attention_sum", 0.5), "avif", 45): 0.85,
    Ranked(Rule("top_k", 0.1), "avif", 45): 0.7,
}


def test_the_frontier_round_trips_through_its_file(
    pair_up: Callable[..., PairedPredictions], tmp_path: Path
) -> None:
    frontier = make_frontier(pair_up(SCHEMES, size=800))
    dump_frontier(frontier, tmp_path / "f.json")
    assert load_frontier(tmp_path / "f.json") == frontier


def test_no_point_beats_another_and_the_first_sends_nothing(
    pair_up: Callable[..., PairedPredictions],
) -> None:
    points = make_frontier(pair_up(SCHEMES, size=800)).points
    assert math.isinf(points[0].point.tau)
    assert points[0].bytes_per_frame == points[0].server_macs == 0
    assert len(points) > 3
    for cheap, dear in itertools.pairwise(points):
        assert cheap.bytes_per_frame < dear.bytes_per_frame
        assert cheap.accuracy < dear.accuracy


def test_every_point_is_measured_on_the_test_half(pair_up: Callable[..., PairedPredictions]) -> None:
    """Recomputed here from the arrays of the test half alone."""
    pairs = pair_up(SCHEMES, size=800)
    rows = np.flatnonzero(~pairs.calibration)
    for each in make_frontier(pairs).points[1:]:
        point = each.point
        found: list[Scheme] = [
            scheme
            for scheme in SCHEMES
            if isinstance(scheme, Ranked)
            and (scheme.rule.name, scheme.rule.delta, scheme.codec)
            == (point.selection, point.delta, point.codec)
        ]
        (scheme,) = found or [Whole(point.codec, point.quality)]
        sent = pairs.h_min[rows] >= point.tau
        answers = pairs.answers[scheme]
        right = np.where(sent, answers.top1[rows] == pairs.truth[rows], pairs.edge_correct[rows])
        assert each.accuracy == pytest.approx(right.mean())
        assert each.offload_ratio == pytest.approx(sent.mean())
        values = value_bytes(answers.wire_bytes[rows][sent])
        assert each.bytes_per_offload == pytest.approx(values.mean())
        assert each.bytes_per_frame == pytest.approx(values.mean() * sent.mean())
        assert each.bytes_per_offload_p95 == pytest.approx(np.quantile(values, 0.95))
        assert each.images == rows.size


def test_the_edge_selects_by_a_point_what_was_measured(pair_up: Callable[..., PairedPredictions]) -> None:
    pairs = pair_up(SCHEMES, size=300)
    for each in make_frontier(pairs).points[1:]:
        if each.point.delta < 1:
            rule = Rule(each.point.selection, each.point.delta, each.point.min_patches)
            for row in pairs.attention[EDGE][:20]:
                assert select(row, each.point).size == int(rule.counts(row))


def test_raw_pixels_are_never_an_operating_point(pair_up: Callable[..., PairedPredictions]) -> None:
    assert "raw" not in {each.point.codec for each in make_frontier(pair_up(SCHEMES, size=400)).points}


def test_entropy_bins_hold_every_image_once(pair_up: Callable[..., PairedPredictions]) -> None:
    pairs = pair_up(SCHEMES, size=500)
    bins = entropy_bins(pairs)
    assert sum(each.count for each in bins) == 500
    assert bins[0].lo == 0
    assert bins[-1].hi == pytest.approx(math.log2(3))
    weighted = sum(each.count * each.edge_accuracy for each in bins) / 500
    assert weighted == pytest.approx(pairs.edge_correct.mean())
    assert all(low.hi == high.lo for low, high in itertools.pairwise(bins))


def test_value_bytes_undo_wire_bytes() -> None:
    sizes = np.arange(0, 20_000, 7)
    wire = np.array([wire_bytes(int(size)) for size in sizes], dtype=np.float64)
    np.testing.assert_array_equal(value_bytes(wire), sizes)


@pytest.mark.slow
def test_unlabelled_images_take_the_server_as_teacher(
    tmp_path: Path, fake_model: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "MIN_IMAGES", 16)
    rng = np.random.default_rng(0)
    crops = [np.full((224, 224, 3), rng.integers(0, 255, 3), dtype=np.uint8) for _ in range(16)]
    names = tuple(f"{number}.png" for number in range(16))
    corpus = MemoryCorpus("colours", names, np.full(16, -1), crops)
    request = CalibrateRequest(out=tmp_path / "f.json", data=tmp_path, unlabelled=True, cache=tmp_path / "c")
    edge, server = fake_model("edge", blur=3.0), fake_model("server", blur=1.0)
    pairs = measure_frontier(request, corpus, edge, server, SilentProgress())
    assert pairs.accuracy_kind == "server_agreement"
    assert pairs.server_correct.all()
    assert make_frontier(pairs).accuracy_kind == "server_agreement"
    small = MemoryCorpus("colours", names[:9], np.full(9, -1), crops[:9])
    with pytest.raises(EvaluationError, match="9 readable images"):
        measure_frontier(request, small, edge, server, SilentProgress())


def test_payloads_hold_whole_images_and_patches(pair_up: Callable[..., PairedPredictions]) -> None:
    pairs = pair_up({Whole(): 0.9})
    wanted = frontier_schemes(pairs.attention)
    assert any(isinstance(each, Whole) and each.codec == "avif" for each in wanted)
    assert any(isinstance(each, Ranked) and each.rule.name == "top_k" for each in wanted)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "--data"),
        ({"data": Path(), "scenes": 5}, "not both"),
        ({"scenes": 5, "unlabelled": True}, "--unlabelled"),
        ({"data": Path(), "labels": Path(), "unlabelled": True}, "--labels"),
        ({"scenes": 5, "clips": Path()}, "--clips belongs to --stream"),
        ({"scenes": 5, "recording": Path()}, "--recording belongs to --stream"),
        ({"stream": True, "data": Path()}, "no --data"),
        ({"stream": True, "fps": 0.0}, "fps: 0.0"),
    ],
)
def test_contradictions_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        CalibrateRequest(out=Path("f.json"), **fields)  # type: ignore[arg-type]
