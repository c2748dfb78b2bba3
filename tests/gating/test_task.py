import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gating.entropy import softmax
from gating.task import CLASSIFICATION, NUM_LEADING

outputs = st.integers(1, 6).flatmap(
    lambda classes: arrays(np.float32, (4, classes), elements=st.floats(-60, 60, width=32))
)


@given(outputs)
def test_the_leading_classes_are_the_most_probable_in_order_of_probability_then_index(
    rows: np.ndarray,
) -> None:
    probabilities = softmax(rows)
    for row, answer in zip(probabilities, CLASSIFICATION.decode(rows), strict=True):
        order = sorted(range(len(row)), key=lambda index: (-row[index], index))
        assert list(answer.classes) == order[:NUM_LEADING]
        assert list(answer.probabilities) == [row[index] for index in answer.classes]
        assert (answer.label, answer.confidence) == (int(row.argmax()), row.max())


def test_two_answers_agree_where_the_same_class_leads() -> None:
    one, same, other = CLASSIFICATION.decode(np.array([[2.0, 0.0], [0.1, 0.0], [0.0, 0.1]], np.float32))
    assert CLASSIFICATION.agree(one, same)
    assert not CLASSIFICATION.agree(one, other)
