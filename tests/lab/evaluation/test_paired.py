from collections.abc import Callable

import numpy as np
import pytest

from lab.evaluation.models import forward_macs
from lab.evaluation.paired import PairedPredictions
from lab.evaluation.schemes import Whole


def test_payload_scores_the_servers_answers_and_counts_its_work(
    pair_up: Callable[..., PairedPredictions],
) -> None:
    pairs = pair_up({Whole(): 0.9}, size=50)
    payload = pairs.payload(Whole())
    np.testing.assert_array_equal(payload.correct, pairs.answers[Whole()].top1 == pairs.truth)
    assert set(payload.server_macs.tolist()) == {float(forward_macs(196, 192, 12))}


def test_doubt_is_min_entropy_of_the_servers_confidence(pair_up: Callable[..., PairedPredictions]) -> None:
    pairs = pair_up({Whole(): 0.9}, size=5)
    pairs.answers[Whole()].confidence[0] = 0.25
    assert pairs.server_doubt(Whole())[0] == pytest.approx(2.0)


def test_equal_weights_are_noticed(pair_up: Callable[..., PairedPredictions]) -> None:
    assert pair_up({Whole(): 0.9}, same=True).same_weights
    assert not pair_up({Whole(): 0.9}).same_weights
