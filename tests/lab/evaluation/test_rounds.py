import numpy as np

from lab.evaluation.rounds import two_rounds
from lab.evaluation.sweep import Payload


def test_round_two_replaces_the_answer_and_adds_its_cost_only_where_the_server_doubts() -> None:
    first = Payload(
        np.array([1.0, 0.0]), np.array([49.0, 49.0]), np.array([100.0, 100.0]), np.array([5.0, 5.0])
    )
    second = Payload(
        np.array([0.0, 1.0]), np.array([20.0, 20.0]), np.array([40.0, 50.0]), np.array([5.0, 5.0])
    )
    both = two_rounds(first, np.array([0.1, 0.8]), second, 0.8)
    assert both.correct.tolist() == [1, 1]
    assert both.patches.tolist() == [49, 69]
    assert both.wire_bytes.tolist() == [100, 150]
    assert both.server_macs.tolist() == [5, 10]
