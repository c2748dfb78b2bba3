import math

import numpy as np
import pytest

from gating.entropy import SCORES
from gating.gate import Gate

# Two equal classes: one bit of min-entropy. Four: two bits. One class alone: none.
OUTPUTS = np.array([[0.0, 0.0, -60.0, -60.0], [0.0, 0.0, 0.0, 0.0], [0.0, 40.0, 0.0, 0.0]], dtype=np.float32)


@pytest.mark.parametrize(
    ("tau", "asks"),
    [
        (0.0, [True, True, True]),
        (0.5, [True, True, False]),
        (1.0, [True, True, False]),
        (1.5, [False, True, False]),
        (2.0, [False, True, False]),
        (2.1, [False, False, False]),
        (math.inf, [False, False, False]),
    ],
)
def test_the_server_is_asked_from_tau_bits_of_min_entropy_on(tau: float, asks: list[bool]) -> None:
    assert [result.asks for result in Gate().decide(OUTPUTS, tau)] == asks


def test_answer_and_score_belong_to_the_row() -> None:
    results = Gate().decide(OUTPUTS, 1.0)
    assert results[2].answer.label == 1
    assert [result.score for result in results] == pytest.approx([1.0, 2.0, 0.0], abs=1e-6)
    assert [result.answer.confidence for result in results] == pytest.approx([0.5, 0.25, 1.0], abs=1e-6)
    assert {result.tau for result in results} == {1.0}


@pytest.mark.parametrize("score", sorted(SCORES))
def test_every_score_grows_with_doubt(score: str) -> None:
    unsure, less, sure = (result.score for result in Gate(score=score).decide(OUTPUTS[[1, 0, 2]], 0.0))
    assert unsure >= less > sure >= 0


def test_a_score_that_the_task_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^score 'luck' is not one of margin, min_entropy, shannon_ent"):
        Gate(score="luck")


def test_outputs_that_are_no_numbers_are_an_error_and_never_a_label() -> None:
    with pytest.raises(ValueError, match="finite"):
        Gate().decide(np.array([[0.0, -math.inf]], dtype=np.float32), 1.0)
