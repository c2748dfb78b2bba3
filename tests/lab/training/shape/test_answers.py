from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from lab.progress import SilentProgress
from lab.scenes.classes import CLASSES
from lab.scenes.seeds import TEST_SEEDS, TRAIN_SEEDS
from lab.training.shape import answers as pair_answers
from lab.training.shape.answers import (
    BINS,
    PairAnswers,
    SceneAnswers,
    colour_accuracy,
    histogram,
    known_colours,
)
from lab.training.shape.choices import WHOLE, gated, share
from vit.architecture import Architecture
from vit.model import Model, random_model

SHAPE = Architecture(embed_dim=24, depth=1, num_heads=2, mlp_ratio=2.0, num_classes=len(CLASSES))
CHOICES = (WHOLE, share(0.25), share(0.25, by_attention=False), gated(0.9, 12))
SEEDS = range(TEST_SEEDS.start, TEST_SEEDS.start + 40)


def model(seed: int) -> Model:
    made = random_model(SHAPE, seed=seed)
    return Model(made.vit, "tiny", made.mean, made.std, CLASSES)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pair_answers, "CHUNK", 8)
    monkeypatch.setattr(pair_answers, "BATCH", 5)


def test_scenes_are_measured_once_and_remembered(tmp_path: Path) -> None:
    first, ignored = PairAnswers(model(0), model(1), tmp_path, CHOICES, 1).see(SEEDS, 10, SilentProgress())
    files = sorted(tmp_path.glob("*.npz"))
    again, _ = PairAnswers(model(0), model(1), tmp_path, CHOICES, 1).see(SEEDS, 10, SilentProgress())
    assert all((getattr(first, f.name) == getattr(again, f.name)).all() for f in fields(SceneAnswers))
    assert sorted(tmp_path.glob("*.npz")) == files
    assert len(first.truth) == 10
    assert (first.truth >= 0).all()
    assert first.patches[:, 0].tolist() == [196] * 10
    assert first.patches[:, 1].tolist() == first.patches[:, 2].tolist() == [49] * 10
    assert (first.patches[:, 3] >= 12).all()
    assert ignored >= 0


def test_another_model_is_measured_anew(tmp_path: Path) -> None:
    PairAnswers(model(0), model(1), tmp_path, CHOICES, 1).see(SEEDS, 4, SilentProgress())
    before = len(list(tmp_path.glob("*.npz")))
    PairAnswers(model(0), model(2), tmp_path, CHOICES, 1).see(SEEDS, 4, SilentProgress())
    assert len(list(tmp_path.glob("*.npz"))) == 2 * before


def test_too_few_scenes_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="clear ones"):
        PairAnswers(model(0), model(1), tmp_path, CHOICES, 1).see(SEEDS[:8], 30, SilentProgress())


def test_a_histogram_counts_colours() -> None:
    crop = np.zeros((224, 224, 3), np.uint8)
    crop[:112] = (255, 0, 0)
    counted = histogram(crop)
    assert counted.shape == (BINS,)
    assert counted[0] ** 2 == pytest.approx(0.5)
    assert counted[7 * 64] ** 2 == pytest.approx(0.5)


@pytest.mark.slow
def test_logistic_regression_learns_colours_where_they_tell() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 300)
    colours = random.random((300, BINS)).astype(np.float32)
    colours[np.arange(300), truth] += 2
    assert colour_accuracy(colours[:200], truth[:200], colours[200:], truth[200:]).mean() > 0.65
    shuffled = random.permutation(truth)
    assert colour_accuracy(colours[:200], shuffled[:200], colours[200:], shuffled[200:]).mean() < 0.5


def test_known_colours_come_from_clear_scenes() -> None:
    colours, truths = known_colours(TRAIN_SEEDS[:30], 5, SilentProgress())
    assert colours.shape == (5, BINS)
    assert (truths >= 0).all()
