import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gating.entropy import confidence, margin, min_entropy_bits, shannon_entropy_bits, softmax

logit_rows = arrays(np.float32, (3, 7), elements=st.floats(-80, 80, width=32))


def test_uniform_logits_have_log2_c_bits_of_both_entropies() -> None:
    logits = np.zeros((2, 16), np.float32)
    assert min_entropy_bits(logits) == pytest.approx([4.0, 4.0])
    assert shannon_entropy_bits(logits) == pytest.approx([4.0, 4.0])


def test_hand_computed_case_in_bits() -> None:
    p = np.array([[0.5, 0.25, 0.125, 0.125]])
    logits = np.log(p).astype(np.float32)
    assert min_entropy_bits(logits) == pytest.approx([1.0], abs=1e-6)
    assert shannon_entropy_bits(logits) == pytest.approx([1.75], abs=1e-6)
    assert confidence(logits) == pytest.approx([0.5], abs=1e-6)
    assert margin(logits) == pytest.approx([0.25], abs=1e-6)


def test_the_papers_threshold_of_0_8_bits_is_a_confidence_of_0_574() -> None:
    p = 2**-0.8
    logits = np.log(np.array([[p, 1 - p]])).astype(np.float32)
    assert p == pytest.approx(0.574, abs=1e-3)
    assert min_entropy_bits(logits) == pytest.approx([0.8], abs=1e-6)


def test_certainty_is_zero_bits_and_large_logits_do_not_overflow() -> None:
    logits = np.array([[30000.0, -30000.0]], np.float32)
    assert min_entropy_bits(logits)[0] == 0.0
    assert shannon_entropy_bits(logits)[0] == 0.0
    assert confidence(logits)[0] == 1.0


@given(logit_rows)
def test_entropies_agree_with_their_definitions_and_bounds(logits) -> None:
    p = softmax(logits)
    assert p.sum(-1) == pytest.approx(np.ones(3))
    h_min, h = min_entropy_bits(logits), shannon_entropy_bits(logits)
    assert h_min == pytest.approx(-np.log2(p.max(-1)), abs=1e-9)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, -p * np.log2(p), 0.0)
    assert h == pytest.approx(terms.sum(-1), abs=1e-9)
    assert (h_min >= 0).all()
    assert (h_min <= h + 1e-9).all()
    assert (h <= math.log2(7) + 1e-9).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused(bad) -> None:
    with pytest.raises(ValueError, match="finite"):
        min_entropy_bits(np.array([[0.0, bad]], np.float32))


def test_a_margin_of_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 classes"):
        margin(np.zeros((1, 1), np.float32))
