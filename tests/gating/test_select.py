import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gating.select import attention_sum, attention_sum_counts, rank, select, threshold, top_k
from schemas.operating_point import OperatingPoint


def attention_with(values: dict[int, float]) -> np.ndarray:
    """196 attentions with the given values, the rest shared evenly among the others."""
    rest = (1.0 - sum(values.values())) / (196 - len(values))
    attention = np.full(196, rest, np.float32)
    for position, value in values.items():
        attention[position] = value
    return attention


@st.composite
def attentions(draw):
    seed = draw(st.integers(0, 2**32 - 1))
    sharpness = draw(st.floats(0.0, 6.0))
    raw = np.exp(np.random.default_rng(seed).normal(size=196) * sharpness).astype(np.float32)
    return raw / raw.sum(dtype=np.float32)


def plain_attention_sum(attention, delta: float, min_patches: int, keep_crossing: bool):
    """The rule of the paper's code as a loop over float32 scalars."""
    order = sorted(range(196), key=lambda i: (-attention[i], i))
    kept, total = [], np.float32(0)
    for position in order:
        total = np.float32(total + attention[position])
        if total > np.float32(delta) and delta < 1:
            if keep_crossing:
                kept.append(position)
            break
        kept.append(position)
    return sorted(kept if len(kept) >= min_patches else order[:min_patches])


def test_the_patch_that_crosses_delta_stays_out() -> None:
    attention = attention_with({10: 0.5, 3: 0.25, 7: 0.125})
    assert attention_sum(attention, 0.75).tolist() == [3, 10]
    assert attention_sum(attention, 0.8).tolist() == [3, 10]
    assert attention_sum(attention, 0.8, keep_crossing=True).tolist() == [3, 7, 10]
    assert attention_sum(attention, 0.875).tolist() == [3, 7, 10]


def test_the_floor_holds_where_the_first_patch_already_crosses() -> None:
    attention = attention_with({10: 0.9, 3: 0.05})
    assert attention_sum(attention, 0.5).tolist() == [10]
    assert attention_sum(attention, 0.5, min_patches=2).tolist() == [3, 10]
    assert attention_sum(attention, 0.0).tolist() == [10]


def test_ties_go_to_the_lower_index() -> None:
    attention = np.full(196, 1 / 196, np.float32)
    assert rank(attention).tolist() == list(range(196))
    assert attention_sum(attention, 0.05).tolist() == list(range(9))
    assert top_k(attention, 4).tolist() == [0, 1, 2, 3]


@given(attentions(), st.sampled_from([1.0, 1.5]))
def test_delta_of_one_keeps_every_patch_whatever_the_float_sum(attention, delta: float) -> None:
    assert attention_sum(attention, delta).tolist() == list(range(196))


@settings(deadline=None)
@given(attentions(), st.floats(0, 1), st.integers(1, 196), st.booleans())
def test_attention_sum_is_the_plain_loop(
    attention, delta: float, min_patches: int, keep_crossing: bool
) -> None:
    kept = attention_sum(attention, delta, min_patches, keep_crossing=keep_crossing)
    assert kept.dtype == np.int64
    assert kept.tolist() == plain_attention_sum(attention, delta, min_patches, keep_crossing)


@given(st.lists(attentions(), min_size=1, max_size=4), st.floats(0, 1))
def test_counts_of_many_rows_are_the_counts_of_each(rows, delta: float) -> None:
    counts = attention_sum_counts(np.stack(rows), delta)
    assert counts.tolist() == [len(attention_sum(row, delta)) for row in rows]


@given(attentions(), st.floats(0, 1), st.floats(0, 1))
def test_more_delta_never_drops_a_patch(attention, one, other) -> None:
    small, large = sorted((one, other))
    assert set(attention_sum(attention, small).tolist()) <= set(attention_sum(attention, large).tolist())


def test_threshold_keeps_patches_at_or_above_it_with_a_floor() -> None:
    attention = attention_with({10: 0.5, 3: 0.25})
    assert threshold(attention, 0.25).tolist() == [3, 10]
    assert threshold(attention, 0.9).tolist() == [10]
    assert threshold(attention, 0.9, min_patches=2).tolist() == [3, 10]
    assert len(threshold(attention, 0.0)) == 196


def test_select_follows_the_operating_point() -> None:
    attention = attention_with({10: 0.5, 3: 0.25, 7: 0.125})
    assert select(attention, OperatingPoint(1.0, 0.75)).tolist() == [3, 10]
    assert select(attention, OperatingPoint(1.0, 0.2, selection="threshold")).tolist() == [3, 10]
    assert select(attention, OperatingPoint(1.0, 3 / 196, selection="top_k")).tolist() == [3, 7, 10]
    assert select(attention, OperatingPoint(1.0, 0.0, 2, selection="top_k")).tolist() == [3, 10]
    assert len(select(attention, OperatingPoint(1.0, 1.0, selection="top_k"))) == 196


@pytest.mark.parametrize("bad", [np.zeros(195, np.float32), np.full(196, np.nan, np.float32)])
def test_attention_of_another_size_or_not_finite_is_refused(bad) -> None:
    with pytest.raises(ValueError, match="attention must be"):
        attention_sum(bad, 0.5)


@pytest.mark.parametrize(("delta", "floor"), [(-0.1, 1), (float("nan"), 1), (0.5, 0), (0.5, 197)])
def test_arguments_out_of_range_are_refused(delta: float, floor: int) -> None:
    with pytest.raises(ValueError, match=r"delta|patch count"):
        attention_sum(np.full(196, 1 / 196, np.float32), delta, floor)
