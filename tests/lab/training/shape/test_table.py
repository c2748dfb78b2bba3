from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lab.scenes.classes import CLASSES
from lab.training.shape.answers import SceneAnswers, column_of
from lab.training.shape.choices import ALL, CALIBRATED, DELTAS, FLOORS, WHOLE, share
from lab.training.shape.table import (
    BEGIN,
    END,
    MOST_COST,
    CardRow,
    GatePoint,
    accuracy_row,
    choose,
    gate_rows,
    markdown,
    replace_table,
    rows,
    server_right,
)

pytestmark = pytest.mark.slow  # hundreds of scenes are rendered

COUNT = 2000
POINT = GatePoint(0.5, DELTAS[0], FLOORS[0])


def seen(choices=ALL, *, edge_error=0.14, server_error=0.05, seed: int = 0) -> SceneAnswers:
    """A made-up pair: the edge is unsure exactly where it errs; the server needs the right patches."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, len(CLASSES), COUNT)
    wrong = random.random(COUNT) < edge_error
    logits = np.zeros((COUNT, len(CLASSES)), np.float32)
    said = np.where(wrong, (truth + 1) % len(CLASSES), truth)
    logits[np.arange(COUNT), said] = np.where(wrong, 2.0, 9.0)
    errs = random.random(COUNT) < server_error
    answers = np.empty((COUNT, len(choices)), np.int64)
    patches = np.empty_like(answers)
    for column, choice in enumerate(choices):
        lost = errs if choice.by_attention else errs | (random.random(COUNT) < 0.4)
        answers[:, column] = np.where(lost, (truth + 2) % len(CLASSES), truth)
        patches[:, column] = round((choice.share or 0.3) * 196)
    counts = np.full(COUNT, 40)
    side_px = np.where(truth > 0, random.uniform(24, 150, COUNT), 0).astype(np.float32)
    colours = np.zeros((COUNT, 512), np.float32)
    return SceneAnswers(truth, side_px, logits, counts, counts + 50, answers, patches, colours)


def named(found: list[CardRow]) -> dict[str, CardRow]:
    return {row.what: row for row in found}


def test_a_pair_of_the_right_shape_meets_everything_that_is_asked() -> None:
    found = rows(seen(), np.random.default_rng(1).random(COUNT) < 0.2, POINT)
    assert len(named(found)) == len(found)
    missed = [row.what for row in found if row.met is False]
    assert not missed


def test_every_value_lies_in_its_interval() -> None:
    for row in rows(seen(), np.zeros(COUNT, bool), POINT):
        assert row.low <= row.value <= row.high, row


@pytest.mark.parametrize(
    ("edge_error", "server_error", "missed"),
    [(0.15, 0.2, "server, whole crops"), (0.4, 0.05, "server − edge"), (0.06, 0.05, "server − edge")],
)
def test_a_pair_of_another_shape_is_told_so(edge_error, server_error, missed) -> None:
    found = rows(seen(edge_error=edge_error, server_error=server_error), np.zeros(COUNT, bool), POINT)
    assert named(found)[missed].met is False


def test_too_few_and_too_many_kept_patches_are_told() -> None:
    for counts, met in ((5, False), (8, True), (150, True), (151, False)):
        made = replace(seen(), counts_90=np.full(COUNT, counts))
        found = named(rows(made, np.zeros(COUNT, bool), POINT))
        assert found["patches kept at δ = 0.9, 50th percentile"].met is met


def test_scenes_too_easy_for_colours_are_told() -> None:
    assert named(rows(seen(), np.ones(COUNT, bool), POINT))["logistic regression on colours"].met is False


def test_the_gate_sends_unsure_frames_and_pays_for_their_patches_only() -> None:
    made = seen()
    found = named(gate_rows(made, POINT))
    ratio = found["frames offloaded there"].value
    assert ratio == pytest.approx((made.edge_logits.argmax(1) != made.truth).mean())
    assert found["patch cost there"].value == pytest.approx(ratio * round(0.3 * 196) / 196)
    assert found["pair − edge"].value > 0.1


def test_the_operating_point_stays_within_its_cost() -> None:
    made = seen(CALIBRATED)
    point = choose(made)
    entropy = -np.log2(np.exp(made.edge_logits.max(1)) / np.exp(made.edge_logits).sum(1))
    cost = (entropy >= point.tau).mean() * round(0.3 * 196) / 196
    assert 0 < cost <= MOST_COST
    assert (entropy >= point.tau).mean() <= (made.edge_logits.argmax(1) != made.truth).mean()


def test_a_column_is_where_its_treatment_stands() -> None:
    made = seen()
    assert column_of(ALL, WHOLE) == 0
    assert server_right(made, share(0.25)).mean() > server_right(made, share(0.25, by_attention=False)).mean()


def test_the_card_shows_each_row_in_its_unit(tmp_path: Path) -> None:
    found = [
        accuracy_row("edge", np.array([True, True, False, True])),
        CardRow("AUROC of min-entropy", 0.8125, 0.8, 0.83),
        CardRow("patches kept at δ = 0.9, 50th percentile", 12.0, 11.0, 13.0, "8 to 150", True),
        CardRow("pair − edge", 0.04, 0.03, 0.05, "at least 5 points", False),
    ]
    text = markdown(found)
    assert "| edge | 75.0 % |" in text
    assert "| 0.812 | 0.800 to 0.830 |" in text
    assert "| 12 | 11 to 13 | 8 to 150 | yes |" in text
    assert "| **no** |" in text
    card = tmp_path / "card.md"
    card.write_text(f"# Head\n{BEGIN}\nold\n{END}\ntail\n")
    replace_table(card, text)
    assert card.read_text() == f"# Head\n{BEGIN}\n{text}\n{END}\ntail\n"
    card.write_text("# No place")
    with pytest.raises(ValueError, match="no place"):
        replace_table(card, text)
