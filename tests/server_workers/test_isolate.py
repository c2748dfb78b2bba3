import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_workers.isolate import each_apart


class Computer:
    """Fails on every batch that holds a bad member."""

    def __init__(self, bad: set[int]) -> None:
        self.bad = bad
        self.num_calls = 0

    async def __call__(self, members: Sequence[int]) -> list[str]:
        self.num_calls += 1
        if self.bad & set(members):
            raise ValueError(f"cannot do {sorted(self.bad & set(members))}")
        return [f"did {member}" for member in members]


async def test_a_good_batch_is_computed_once() -> None:
    compute = Computer(set())
    assert await each_apart(compute, range(8)) == [f"did {member}" for member in range(8)]
    assert compute.num_calls == 1


async def test_one_bad_member_gets_its_error_and_its_neighbours_their_results() -> None:
    compute = Computer({5})
    results = await each_apart(compute, range(16))
    assert str(results[5]) == "cannot do [5]"
    assert [result for result in results if isinstance(result, str)] == [
        f"did {m}" for m in range(16) if m != 5
    ]
    assert compute.num_calls <= 9


@given(st.sets(st.integers(0, 12)), st.integers(1, 12))
async def test_every_member_has_one_outcome_in_its_place(bad: set[int], number: int) -> None:
    results = await each_apart(Computer(bad), range(number))
    assert [isinstance(result, Exception) for result in results] == [m in bad for m in range(number)]


async def test_a_cancelled_batch_is_not_taken_apart() -> None:
    async def cancelled(members: Sequence[int]) -> list[str]:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await each_apart(cancelled, range(4))
