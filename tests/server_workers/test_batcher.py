import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_workers.batcher import Batcher


@dataclass(frozen=True)
class Item:
    name: int
    num_tokens: int = 10
    deadline_s: float = math.inf


def batcher(tokens: int = 100, sets: int = 8, wait_s: float = 0.1) -> Batcher[Item]:
    return Batcher(
        max_batch_tokens=tokens,
        max_batch_sets=sets,
        max_wait_s=wait_s,
        max_waiting_tokens=4 * tokens,
        max_set_tokens=min(tokens, 197),
    )


def test_a_budget_that_the_largest_set_can_never_fit_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"max_batch_tokens: 196, must be >= 197"):
        Batcher(
            max_batch_tokens=196, max_batch_sets=4, max_wait_s=0, max_waiting_tokens=400, max_set_tokens=197
        )
    with pytest.raises(ValueError, match="token set of 101 tokens"):
        batcher(100).push(Item(1, 101), 0.0)


def test_nothing_waiting_is_never_due() -> None:
    waiting = batcher()
    assert waiting.due_at(0.0) == math.inf
    assert waiting.take(5.0).sets == []


@pytest.mark.parametrize(
    ("items", "service_s", "due_s"),
    [
        ([Item(0)], 0.0, 1.1),
        ([Item(0, deadline_s=2.0)], 0.5, 1.0),
        ([Item(0), Item(1, deadline_s=1.05)], 0.0, 1.05),
        ([Item(i) for i in range(8)], 0.0, -math.inf),
        ([Item(0, 60), Item(1, 40)], 0.0, -math.inf),
    ],
)
def test_a_batch_is_due_when_full_or_waited_long_enough_or_urgent(
    items: list[Item], service_s: float, due_s: float
) -> None:
    waiting = batcher(wait_s=0.1)
    for item in items:
        waiting.push(item, 1.0)
    assert waiting.due_at(service_s) == pytest.approx(due_s)


def test_the_most_urgent_go_first_and_the_wait_of_the_rest_goes_on() -> None:
    waiting = batcher(sets=2)
    waiting.push(Item(0, deadline_s=9.0), 0.0)
    waiting.push(Item(1, deadline_s=3.0), 0.5)
    waiting.push(Item(2, deadline_s=6.0), 0.7)
    assert [item.name for item in waiting.take(1.0).sets] == [1, 2]
    assert waiting.oldest_arrival_s == 0.0
    assert [item.name for item in waiting.take(1.0).sets] == [0]
    assert waiting.oldest_arrival_s == math.inf


def test_sets_that_cannot_be_in_time_any_more_are_handed_back_instead_of_computed() -> None:
    waiting = batcher()
    waiting.push(Item(0, deadline_s=1.0), 0.0)
    waiting.push(Item(1, deadline_s=1.4), 0.0)
    waiting.push(Item(2, deadline_s=2.0), 0.0)
    batch = waiting.take(1.2, service_s=0.3)
    assert [item.name for item in batch.expired] == [0, 1]
    assert [item.name for item in batch.sets] == [2]


def test_a_set_that_does_not_fit_lets_smaller_ones_pass_and_leads_the_next_batch() -> None:
    waiting = batcher(100)
    for name, tokens in enumerate([60, 70, 40, 10]):
        waiting.push(Item(name, tokens), 0.0)
    assert [item.name for item in waiting.take(0.0).sets] == [0, 2]
    assert [item.name for item in waiting.take(0.0).sets] == [1, 3]


def test_a_set_without_deadline_is_not_starved_by_urgent_ones() -> None:
    waiting = batcher(sets=1)
    waiting.push(Item(-1), 0.0)
    served = []
    for second in range(60):
        waiting.push(Item(second, deadline_s=second + 2.0), float(second))
        served.append(waiting.take(float(second)).sets[0].name)
        if served[-1] == -1:
            break
    assert served[-1] == -1
    assert len(served) <= 32


def test_drain_empties_everything() -> None:
    waiting = batcher()
    waiting.push(Item(0, deadline_s=2.0), 0.0)
    waiting.push(Item(1, deadline_s=1.0), 0.0)
    assert [item.name for item in waiting.drain()] == [1, 0]
    assert (len(waiting), waiting.num_tokens) == (0, 0)


@given(
    st.lists(st.tuples(st.integers(2, 197), st.floats(0, 10)), max_size=50),
    st.integers(197, 600),
    st.integers(1, 8),
    st.floats(0, 12),
)
def test_no_batch_breaks_a_limit_and_every_set_comes_out_once(
    sets: list[tuple[int, float]], budget: int, max_sets: int, now_s: float
) -> None:
    waiting = batcher(budget, max_sets)
    for name, (tokens, deadline_s) in enumerate(sets):
        waiting.push(Item(name, tokens, deadline_s), 0.0)
    out: list[int] = []
    while len(waiting):
        batch = waiting.take(now_s, 0.1)
        assert batch.sets or batch.expired
        assert batch.num_tokens <= budget
        assert len(batch.sets) <= max_sets
        assert all(item.deadline_s >= now_s + 0.1 for item in batch.sets)
        out += [item.name for item in batch.sets + batch.expired]
    assert sorted(out) == list(range(len(sets)))
    assert waiting.num_tokens == 0
