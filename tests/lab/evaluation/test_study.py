from collections.abc import Callable

import numpy as np
import pytest

from lab.evaluation.macs import forward_macs
from lab.evaluation.study import Study
from lab.evaluation.treatments import Whole


def test_payload_scores_the_servers_answers_and_counts_its_work(make_study: Callable[..., Study]) -> None:
    study = make_study({Whole(): 0.9}, size=50)
    payload = study.payload(Whole())
    np.testing.assert_array_equal(payload.correct, study.answers[Whole()].top1 == study.truth)
    assert set(payload.server_macs.tolist()) == {float(forward_macs(196, 192, 12))}


def test_doubt_is_min_entropy_of_the_servers_confidence(make_study: Callable[..., Study]) -> None:
    study = make_study({Whole(): 0.9}, size=5)
    study.answers[Whole()].confidence[0] = 0.25
    assert study.server_doubt(Whole())[0] == pytest.approx(2.0)


def test_equal_weights_are_noticed(make_study: Callable[..., Study]) -> None:
    assert make_study({Whole(): 0.9}, same=True).same_weights
    assert not make_study({Whole(): 0.9}).same_weights
