import math

import numpy as np
import pytest

from gating.gate import gate

# Two classes with probabilities 1/2 and 1/2: one bit of min-entropy. Four equal classes: two bits.
EVEN_TWO = [0.0, 0.0, -math.inf, -math.inf]
LOGITS = np.array([[0.0, 0.0, -60.0, -60.0], [0.0, 0.0, 0.0, 0.0], [0.0, 40.0, 0.0, 0.0]], dtype=np.float32)


@pytest.mark.parametrize(
    ("tau", "unsure"),
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
def test_a_frame_is_unsure_from_tau_bits_of_min_entropy_on(tau: float, unsure: list[bool]) -> None:
    assert gate(LOGITS, tau).unsure.tolist() == unsure


def test_label_confidence_and_entropy_belong_to_the_largest_score() -> None:
    verdicts = gate(LOGITS, 1.0)
    assert verdicts.labels.tolist()[2] == 1
    assert verdicts.min_entropies == pytest.approx([1.0, 2.0, 0.0], abs=1e-6)
    assert verdicts.confidences == pytest.approx([0.5, 0.25, 1.0], abs=1e-6)


def test_scores_that_are_no_numbers_are_an_error_and_never_a_label() -> None:
    with pytest.raises(ValueError, match="finite"):
        gate(np.array([EVEN_TWO], dtype=np.float32), 1.0)
