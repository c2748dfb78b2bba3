import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vit.cpu_attention import LENGTH_STEP, CpuSetAttention

HEADS, WIDTH = 2, 16
lengths_of_sets = st.lists(st.integers(1, 197), min_size=1, max_size=6)


def plain(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """(m, D) queries over (n, D) keys and values, head by head; queries come scaled."""
    mixed = []
    for part in torch.arange(WIDTH).split(WIDTH // HEADS):
        weights = torch.softmax(queries[:, part] @ keys[:, part].T, -1)
        mixed.append(weights @ values[:, part])
    return torch.cat(mixed, 1)


@settings(max_examples=60, deadline=None)
@given(lengths_of_sets, st.integers(0, 9))
def test_each_token_attends_to_its_own_set_whatever_the_lengths(lengths, num_filling) -> None:
    qkv = torch.randn(sum(lengths) + num_filling, 3 * WIDTH, generator=torch.Generator().manual_seed(1))
    mixed = CpuSetAttention(lengths, HEADS).attend(qkv)
    rows = torch.split(qkv, [*lengths, num_filling])[:-1]
    expected = torch.cat([plain(*part.chunk(3, dim=1)) for part in rows])
    assert torch.allclose(mixed[: sum(lengths)], expected, atol=1e-5)
    assert not mixed[sum(lengths) :].any()


@settings(max_examples=60, deadline=None)
@given(lengths_of_sets)
def test_class_tokens_attend_to_their_own_set_and_give_no_weight_to_padding(lengths) -> None:
    rng = torch.Generator().manual_seed(2)
    query = torch.randn(len(lengths), WIDTH, generator=rng)
    keys_values = torch.randn(sum(lengths), 2 * WIDTH, generator=rng)
    attention = CpuSetAttention(lengths, HEADS)
    mixed = attention.attend_class(query, keys_values)
    parts = torch.split(keys_values, lengths)
    expected = [plain(asked[None], *part.chunk(2, dim=1)) for asked, part in zip(query, parts, strict=True)]
    assert torch.allclose(mixed, torch.cat(expected), atol=1e-5)
    weights = [row for run in attention.class_weights for row in run]
    for length, row in zip(lengths, weights, strict=True):
        assert row.sum(-1).tolist() == pytest.approx([1.0] * HEADS, abs=1e-5)
        assert not row[:, length:].any()
        assert row.shape[-1] == 197 or row.shape[-1] % LENGTH_STEP == 0


def test_what_stood_in_memory_before_does_not_leak_into_padding() -> None:
    qkv = torch.randn(3, 3 * WIDTH)
    attention = CpuSetAttention([3], HEADS)
    expected = attention.attend(qkv)
    for _ in range(8):
        poison = torch.full((3, 1, HEADS, LENGTH_STEP, WIDTH // HEADS), torch.nan)
        del poison
        assert torch.equal(attention.attend(qkv), expected)


@pytest.mark.parametrize("length", [197, 64, 16])
def test_whole_crops_and_even_lengths_need_no_padding(length: int) -> None:
    attention = CpuSetAttention([length] * 3, HEADS)
    attention.attend_class(torch.randn(3, WIDTH), torch.randn(3 * length, 2 * WIDTH))
    assert {run.shape[-1] for run in attention.class_weights} == {length}
