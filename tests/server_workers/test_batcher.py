import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_workers.batcher import Batcher, Discipline, TokenSet, most_urgent_first


@dataclass(frozen=True)
class Item:
    name: int
    num_tokens: int = 10
    deadline_s: float = math.inf
    site: str = ""


def batcher(tokens: int = 100, wait_s: float = 0.1, batch_s: float = math.inf) -> Batcher[Item]:
    return Batcher(
        max_batch_tokens=tokens,
        max_batch_s=batch_s,
        max_wait_s=wait_s,
        max_waiting_sets=50,
        max_waiting_tokens=4 * tokens,
        max_set_tokens=min(tokens, 197),
    )


def test_a_budget_that_the_largest_set_can_never_fit_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"max_batch_tokens: 196, must be >= 197"):
        Batcher(
            max_batch_tokens=196,
            max_batch_s=1.0,
            max_wait_s=0.0,
            max_waiting_sets=4,
            max_waiting_tokens=400,
            max_set_tokens=197,
        )
    with pytest.raises(ValueError, match="token set of 101 tokens"):
        batcher(100).push(Item(1, 101), 0.0)


def test_nothing_waiting_is_never_due() -> None:
    waiting = batcher()
    assert waiting.due_at() == math.inf
    assert waiting.take(5.0).sets == []


def sets_come(waiting: Batcher[Item], gap_s: float, until_s: float) -> None:
    """So many that their mean gap is known, all of them taken at once."""
    for number in range(60, 0, -1):
        waiting.push(Item(-number), until_s - number * gap_s)
        waiting.take(until_s)


@pytest.mark.parametrize(("gap_s", "due_s"), [(0.01, 3.1), (0.09, 3.1), (0.11, -math.inf), (5.0, -math.inf)])
def test_a_set_waits_for_company_only_where_some_is_to_be_expected(gap_s: float, due_s: float) -> None:
    waiting = batcher(wait_s=0.1)
    sets_come(waiting, gap_s, until_s=3.0)
    waiting.push(Item(0), 3.0)
    assert waiting.due_at() == pytest.approx(due_s)


def test_the_first_set_of_all_does_not_wait_and_a_pause_is_soon_forgotten() -> None:
    waiting = batcher(wait_s=0.1)
    waiting.push(Item(0), 7.0)
    assert waiting.due_at() == -math.inf
    sets_come(waiting, gap_s=0.01, until_s=3600.0)
    waiting.push(Item(0), 3600.0)
    assert waiting.due_at() == pytest.approx(3600.1)


@pytest.mark.parametrize(
    ("items", "due_s"),
    [
        ([Item(0)], 1.1),
        ([Item(0, deadline_s=2.0)], 1.1),
        ([Item(0), Item(1, deadline_s=1.25)], 1.05),
        ([Item(0, 60), Item(1, 40)], -math.inf),
    ],
)
def test_a_batch_is_due_when_full_or_waited_long_enough_or_urgent(items: list[Item], due_s: float) -> None:
    waiting = batcher(wait_s=0.1)
    sets_come(waiting, gap_s=0.01, until_s=1.0)
    waiting.learn(100, 1.0)
    for item in items:
        waiting.push(item, 1.0)
    assert waiting.due_at() == pytest.approx(due_s)


def test_a_slow_device_gets_batches_that_it_computes_in_the_allowed_time() -> None:
    waiting = batcher(tokens=1000, batch_s=0.5)
    for name in range(20):
        waiting.push(Item(name, deadline_s=1.9), 0.0)
    waiting.learn(100, 1.0)
    assert waiting.due_at() == -math.inf
    assert waiting.take(0.0).num_tokens == 50
    for _ in range(40):
        waiting.learn(100, 10.0)
    assert waiting.tokens_per_s == pytest.approx(10.0, rel=0.01)
    assert waiting.take(0.0).num_tokens == 10


def test_a_batch_is_no_longer_than_allowed_however_far_the_deadlines_are() -> None:
    waiting = batcher(tokens=1000, batch_s=0.5)
    for name in range(50):
        waiting.push(Item(name, deadline_s=12.0), 0.0)
    waiting.learn(100, 1.0)
    assert waiting.take(0.0).num_tokens == 50


@pytest.mark.parametrize(("num_tokens", "num_sets"), [(2, 38), (30, 10)])
def test_a_site_alone_is_full_at_three_quarters_by_count_or_by_tokens_and_then_due(
    num_tokens: int, num_sets: int
) -> None:
    many = batcher(tokens=100 if num_tokens == 30 else 1000)
    sets_come(many, gap_s=0.01, until_s=0.0)
    for name in range(num_sets):
        assert many.fill("a") < 1
        many.push(Item(name, num_tokens, site="a"), 0.0)
    assert many.fill("a") >= 1
    assert many.fill("b") == 0
    assert many.due_at() == -math.inf


@pytest.mark.parametrize(("tokens_per_s", "num_sets"), [(100, 10), (40, 8), (1, 8)])
def test_no_more_of_a_site_is_decoded_than_keeps_the_device_busy_for_a_second(
    tokens_per_s: int, num_sets: int
) -> None:
    waiting = batcher(tokens=1000)
    waiting.learn(tokens_per_s, 1.0)
    for name in range(num_sets):
        assert waiting.fill("") < 1
        waiting.push(Item(name), 0.0)
    assert waiting.fill("") >= 1


def test_however_many_sites_come_there_is_room_for_another() -> None:
    waiting = batcher(tokens=1000)
    for site in "abcdef":
        assert waiting.fill(site) < 1
        while waiting.fill(site) < 1:
            waiting.push(Item(0, 2, site=site), 0.0)
    assert len(waiting) <= 50 + 3 * 3


def test_a_site_that_catches_up_lets_another_one_go_first() -> None:
    waiting = batcher(tokens=30)
    for name in range(20):
        waiting.push(Item(name, deadline_s=1.0, site="behind"), 0.0)
    waiting.take(0.0)
    waiting.push(Item(100, deadline_s=9.0, site="calm"), 0.1)
    assert [item.name for item in waiting.take(0.1).sets] == [3, 100, 4]


def test_sites_that_both_have_much_to_do_share_the_device_by_tokens() -> None:
    waiting = batcher(tokens=100)
    for name in range(60):
        waiting.push(Item(name, 30 if name % 2 else 10, site="large" if name % 2 else "small"), 0.0)
    served = {"large": 0, "small": 0}
    for _ in range(5):
        for item in waiting.take(0.0).sets:
            served[item.site] += item.num_tokens
    assert abs(served["large"] - served["small"]) <= 30


def test_a_site_that_was_away_does_not_make_up_for_it() -> None:
    waiting = batcher(tokens=20)
    for name in range(30):
        waiting.push(Item(name, site="steady"), 0.0)
    for _ in range(5):
        waiting.take(0.0)
    for name in range(10):
        waiting.push(Item(100 + name, site="back"), 1.0)
    sites = [item.site for _ in range(5) for item in waiting.take(1.0).sets]
    assert sites.count("back") == 5


def test_the_most_urgent_go_first_and_the_wait_of_the_rest_goes_on() -> None:
    waiting = batcher(tokens=20)
    waiting.push(Item(0, deadline_s=9.0), 0.0)
    waiting.push(Item(1, deadline_s=3.0), 0.5)
    waiting.push(Item(2, deadline_s=6.0), 0.7)
    assert [item.name for item in waiting.take(1.0).sets] == [1, 2]
    assert waiting.oldest_arrival_s("") == 0.0
    assert [item.name for item in waiting.take(1.0).sets] == [0]
    assert waiting.oldest_arrival_s("") == math.inf


def test_sets_that_cannot_be_in_time_any_more_are_handed_back_instead_of_computed() -> None:
    waiting = batcher()
    waiting.learn(10, 0.3)
    waiting.push(Item(0, deadline_s=1.0), 0.0)
    waiting.push(Item(1, deadline_s=1.4), 0.0)
    waiting.push(Item(2, deadline_s=2.0), 0.0)
    batch = waiting.take(1.2)
    assert [item.name for item in batch.expired] == [0, 1]
    assert [item.name for item in batch.sets] == [2]


def test_a_set_that_does_not_fit_lets_smaller_ones_pass_and_leads_the_next_batch() -> None:
    waiting = batcher(100)
    for name, tokens in enumerate([60, 70, 40, 10]):
        waiting.push(Item(name, tokens), 0.0)
    assert [item.name for item in waiting.take(0.0).sets] == [0, 2]
    assert [item.name for item in waiting.take(0.0).sets] == [1, 3]


def test_a_set_without_deadline_is_not_starved_by_urgent_ones() -> None:
    waiting = batcher(tokens=10)
    waiting.push(Item(-1), 0.0)
    served = []
    for second in range(60):
        waiting.push(Item(second, deadline_s=second + 2.0), float(second))
        served.append(waiting.take(float(second)).sets[0].name)
        if served[-1] == -1:
            break
    assert served[-1] == -1
    assert len(served) <= 32


def test_discard_removes_what_is_unwanted_and_keeps_the_counts() -> None:
    waiting = batcher()
    waiting.push(Item(0, deadline_s=2.0, site="a"), 0.0)
    waiting.push(Item(1, deadline_s=1.0, site="b"), 1.0)
    assert [item.name for item in waiting.discard(lambda item: item.name == 0)] == [0]
    assert (len(waiting), waiting.num_tokens, waiting.oldest_arrival_s("b")) == (1, 10, 1.0)


@given(
    st.lists(st.tuples(st.integers(2, 197), st.floats(0, 10), st.sampled_from("abc")), max_size=50),
    st.integers(197, 600),
    st.floats(0, 12),
)
def test_no_batch_breaks_its_budget_and_every_set_comes_out_once(
    sets: list[tuple[int, float, str]], budget: int, now_s: float
) -> None:
    waiting = batcher(budget)
    waiting.learn(1000, 1.0)
    for name, (tokens, deadline_s, site) in enumerate(sets):
        waiting.push(Item(name, tokens, deadline_s, site), 0.0)
    out: list[int] = []
    while len(waiting):
        batch = waiting.take(now_s)
        assert batch.sets or batch.expired
        assert batch.num_tokens <= budget
        assert all(item.deadline_s >= now_s + item.num_tokens / 1000 for item in batch.sets)
        out += [item.name for item in batch.sets + batch.expired]
    assert sorted(out) == list(range(len(sets)))
    assert waiting.num_tokens == 0


def latest_deadline_first(item: TokenSet, arrived_s: float) -> float:
    return -item.deadline_s


def always_worth_it(item: TokenSet, now_s: float, alone_s: float) -> bool:
    return True


@pytest.mark.parametrize(
    ("discipline", "order"),
    [(most_urgent_first, [2, 1, 0]), (latest_deadline_first, [0, 1, 2])],
)
def test_another_discipline_and_another_deadline_rule_are_one_function_each(
    discipline: Discipline, order: list[int]
) -> None:
    waiting: Batcher[Item] = Batcher(
        max_batch_tokens=100,
        max_batch_s=math.inf,
        max_wait_s=0.0,
        max_waiting_sets=50,
        max_waiting_tokens=400,
        max_set_tokens=100,
        discipline=discipline,
        deadline_rule=always_worth_it,
    )
    for name, deadline_s in enumerate([9.0, 8.0, 7.0]):
        waiting.push(Item(name, deadline_s=deadline_s), float(name))
    batch = waiting.take(100.0)
    assert ([item.name for item in batch.sets], batch.expired) == (order, [])
