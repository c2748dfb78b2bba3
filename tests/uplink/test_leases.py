from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uplink.leases import (
    GRACE_S,
    LEASE_S,
    MIN_DEMAND,
    Claim,
    Grant,
    Row,
    ShareHolder,
    decode_row,
    encode_row,
    fair_shares,
    renew,
)


@pytest.mark.parametrize(
    ("demands", "expected"),
    [
        ({"a": 2.0, "b": 2.0}, {"a": 0.5, "b": 0.5}),
        ({"a": 0.1, "b": 2.0}, {"a": 0.1, "b": 0.9}),
        ({"a": 0.1, "b": 0.5, "c": 9.0}, {"a": 0.1, "b": 0.45, "c": 0.45}),
        ({"a": 0.1, "b": 0.3}, {"a": 0.4, "b": 0.6}),
        ({"a": 0.0}, {"a": 1.0}),
    ],
)
def test_shares_are_max_min_fair(demands: dict[str, float], expected: dict[str, float]) -> None:
    assert fair_shares(demands) == pytest.approx(expected)


@given(st.lists(st.floats(0.0, 5.0), min_size=1, max_size=20))
def test_shares_use_everything_and_nobody_gets_less_than_an_even_share_of_his_demand(
    demands: list[float],
) -> None:
    shares = fair_shares({str(idx): demand for idx, demand in enumerate(demands)})
    assert sum(shares.values()) == pytest.approx(1.0)
    for idx, demand in enumerate(demands):
        assert shares[str(idx)] >= min(demand, 1 / len(demands)) - 1e-9


EVENTS = st.lists(
    st.tuples(
        st.floats(0.0, 2.0),  # seconds since the event before
        st.integers(0, 3),  # which worker
        st.floats(0.0, 3.0),  # its demand
        st.floats(0.0, 4.0),  # how long its request and the answer take
        st.booleans(),  # Redis answers
        st.integers(0, 20),  # 0: Redis restarts and has forgotten everything
        st.sampled_from([0.0, 0.3, 0.6, 1.0]),  # the least share that holds a record
    ),
    max_size=80,
)


@given(EVENTS)
def test_the_shares_in_use_never_sum_to_more_than_one(
    events: list[tuple[float, int, float, float, bool, int, float]],
) -> None:
    """Whatever is delayed, lost or forgotten: at each moment all workers together hold one budget at most."""
    holders = [ShareHolder() for _ in range(4)]
    table: dict[str, Row] = {}
    now_s, redis_since_s = 100.0, 0.0
    for elapsed_s, worker, demand, delay_s, answers, luck, need in events:
        now_s += elapsed_s
        asked_s = now_s
        claim = Claim(str(worker), demand, holders[worker].share(asked_s), need)
        now_s += delay_s
        if luck == 0:
            table, redis_since_s = {}, now_s
        if answers:
            table, grant = renew(table, claim, now_s=now_s, redis_uptime_s=now_s - redis_since_s)
            holders[worker].granted(grant, asked_s)
        else:
            holders[worker].failed()
        for later_s in (0.0, 0.5, LEASE_S, LEASE_S + GRACE_S):
            assert sum(holder.share(now_s + later_s) for holder in holders) <= 1.0 + 1e-6


def test_two_workers_come_to_fair_shares_within_two_renewals() -> None:
    table: dict[str, Row] = {}
    shares = {"a": 0.0, "b": 0.0}
    for round_idx in range(3):
        for worker, held in shares.items():
            claim = Claim(worker, 2.0, held)
            table, grant = renew(table, claim, now_s=100 + round_idx, redis_uptime_s=1e6)
            shares[worker] = grant.share
    assert shares == pytest.approx({"a": 0.5, "b": 0.5}, rel=0.05)


def test_a_share_is_given_away_one_second_after_its_lease() -> None:
    table, _ = renew({}, Claim("a", 2.0, 0.0), now_s=100.0, redis_uptime_s=1e6)
    _, early = renew(table, Claim("b", 2.0, 0.0), now_s=103.9, redis_uptime_s=1e6)
    _, late = renew(table, Claim("b", 2.0, 0.0), now_s=104.1, redis_uptime_s=1e6)
    assert (early.share, late.share) == (0.0, 1.0)


def test_a_restarted_redis_only_confirms_what_is_still_held() -> None:
    _, new = renew({}, Claim("a", 2.0, 0.0), now_s=100.0, redis_uptime_s=1.0)
    _, known = renew({}, Claim("b", 2.0, 0.3), now_s=100.0, redis_uptime_s=1.0)
    assert (new.share, known.share) == (0.0, 0.3)


def test_without_redis_a_worker_keeps_an_even_share_until_its_lease_ends() -> None:
    holder = ShareHolder()
    holder.granted(Grant(0.9, 2), asked_s=10.0)
    assert holder.share(12.9) == 0.9
    holder.failed()
    assert holder.share(12.9) == 0.5
    assert holder.share(13.0) == 0.0


def test_a_row_survives_its_text_and_anything_else_is_no_row() -> None:
    row = Row(1.5, 0.25, 1e9, 0.3, 9e8)
    assert decode_row(encode_row(row)) == row
    assert decode_row('{"demand":1,"share":0,"until_s":1,"later":2}') == Row(1.0, 0.0, 1.0)
    for text in (
        "",
        "[]",
        "{}",
        '{"demand":1,"share":-1,"until_s":1}',
        '{"demand":1,"share":NaN,"until_s":1}',
    ):
        assert decode_row(text) is None


def test_a_redis_whose_clock_jumped_ahead_gives_nobody_what_others_hold() -> None:
    """Two workers hold half each by their own clocks; by Redis's, all leases are long over."""
    table: dict[str, Row] = {}
    for now_s in (0.0, 0.1, 0.5, 0.6):
        worker = "a" if now_s in (0.0, 0.5) else "b"
        table, _ = renew(table, Claim(worker, 2.0, 0.5), now_s=now_s, redis_uptime_s=1e6)
    for now_s, worker in ((11.0, "a"), (11.1, "b"), (11.5, "a")):
        table, grant = renew(table, Claim(worker, 9.0, 0.5), now_s=now_s, redis_uptime_s=1e6)
        assert (grant.share, grant.num_workers) == (pytest.approx(0.5), 2)
    table, _ = renew(table, Claim("b", 9.0, 0.0), now_s=30.0, redis_uptime_s=1e6)
    assert set(table) == {"b"}


def take_turns(
    needs: dict[str, float], seconds: float, demand: float = 1.0, put_back_s: float = 0.0
) -> dict[str, float]:
    """Seconds that each worker had a share that holds a record, if all ask each half a second.

    At half of the time Redis's clock is put back.
    """
    table: dict[str, Row] = {}
    served = dict.fromkeys(needs, 0.0)
    for step in range(int(seconds / 0.5)):
        for idx, (worker, need) in enumerate(needs.items()):
            now_s = 1e4 + step * 0.5 + idx * 0.001 - (put_back_s if step * 0.5 > seconds / 2 else 0.0)
            held = table[worker].share if worker in table else 0.0
            table, grant = renew(table, Claim(worker, demand, held, need), now_s=now_s, redis_uptime_s=1e6)
            served[worker] += 0.5 * (grant.share >= need - 1e-9)
        assert sum(row.share for row in table.values()) <= 1.0 + 1e-9
    return served


@pytest.mark.parametrize("put_back_s", [0.0, 3600.0])
def test_where_shares_would_hold_no_record_workers_take_turns_evenly(put_back_s: float) -> None:
    served = take_turns({str(idx): 0.4 for idx in range(10)}, 400.0, put_back_s=put_back_s)
    assert sum(served.values()) > 0.85 * 2 * 400.0  # two have room at a time
    assert min(served.values()) > 0.8 * max(served.values())


def test_shares_that_hold_records_are_had_all_the_time() -> None:
    assert min(take_turns({str(idx): 0.2 for idx in range(4)}, 20.0).values()) >= 19.0


def test_who_wants_nothing_gets_no_turn() -> None:
    table = {name: Row(MIN_DEMAND, 0.0, 1e9, 0.9) for name in "abc"}
    _, grant = renew(table, Claim("d", 1.0, 0.0, 0.9), now_s=1.0, redis_uptime_s=1e6)
    assert grant.share > 0.9
