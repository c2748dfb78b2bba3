import numpy as np
import pytest

from gating import select
from lab.evaluation.selection import RULES, Rule, delta_for_share, kept_positions, random_order


def attention_rows(count: int = 40) -> np.ndarray:
    raw = np.random.default_rng(0).random((count, 196)) ** 6
    return (raw / raw.sum(-1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("delta", [0.0, 0.2, 0.87, 0.97, 1.0])
def test_counts_and_positions_agree_with_the_rule_of_the_edge_worker(delta: float) -> None:
    attention = attention_rows()
    counts = Rule("attention_sum", delta).counts(attention)
    for row, count in zip(attention, counts, strict=True):
        np.testing.assert_array_equal(kept_positions(row, int(count)), select.attention_sum(row, delta))


def test_threshold_and_top_k_agree_with_the_rule_of_the_edge_worker() -> None:
    attention = attention_rows()
    for row, count in zip(attention, Rule("threshold", 0.01, 5).counts(attention), strict=True):
        np.testing.assert_array_equal(kept_positions(row, int(count)), select.threshold(row, 0.01, 5))
    assert set(Rule("top_k", 0.25).counts(attention).tolist()) == {49}


def test_the_crossing_patch_is_one_more() -> None:
    attention = attention_rows()
    dropped = Rule("attention_sum", 0.9).counts(attention)
    kept = Rule("keep_crossing", 0.9).counts(attention)
    assert (kept - dropped).tolist() == [1] * len(attention)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("share", [0.06, 0.25, 0.75])
def test_delta_for_share_keeps_that_share_on_average(rule: str, share: float) -> None:
    attention = attention_rows()
    delta = delta_for_share(attention, share, rule)
    assert Rule(rule, delta).counts(attention).mean() / 196 == pytest.approx(share, abs=0.006)


def test_random_order_depends_on_name_and_seed_only() -> None:
    order = random_order("a.png", 1)
    np.testing.assert_array_equal(order, random_order("a.png", 1))
    assert sorted(order.tolist()) == list(range(196))
    assert not np.array_equal(order, random_order("a.png", 2))
    assert not np.array_equal(order, random_order("b.png", 1))


def test_unknown_rule_and_share_are_refused() -> None:
    with pytest.raises(ValueError, match="nearest"):
        Rule("nearest", 0.5).counts(attention_rows())
    with pytest.raises(ValueError, match="share: 0"):
        delta_for_share(attention_rows(), 0.0)
