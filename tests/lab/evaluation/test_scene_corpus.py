import numpy as np
import pytest

from lab.evaluation.errors import EvaluationError
from lab.evaluation.reporter import SilentReporter
from lab.evaluation.scene_corpus import scene_corpus
from lab.scenes.classes import CLASSES


def test_scenes_are_scored_reproducible_and_fresh_for_each_seed() -> None:
    silent = SilentReporter()
    one, again = (scene_corpus(6, 0, CLASSES, silent) for _ in range(2))
    assert one.names == again.names
    assert [one.fingerprint(idx) for idx in range(6)] == [again.fingerprint(idx) for idx in range(6)]
    assert (one.labels >= 0).all()
    assert one.crop(0).shape == (224, 224, 3)
    other = scene_corpus(6, 1, CLASSES, silent)
    calibration = scene_corpus(6, 0, CLASSES, silent, calibration=True)
    assert not set(one.names) & (set(other.names) | set(calibration.names))
    assert not np.array_equal(one.crop(0), calibration.crop(0))


def test_models_of_other_classes_and_bad_seeds_are_refused() -> None:
    with pytest.raises(EvaluationError, match="--edge-model shipped"):
        scene_corpus(3, 0, ("cat", "dog"), SilentReporter())
    with pytest.raises(EvaluationError, match="seed below"):
        scene_corpus(3, 10**6, CLASSES, SilentReporter())
