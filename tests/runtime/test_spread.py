from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from runtime.spread import spread


@pytest.mark.parametrize(("num_items", "num_calls"), [(0, 1), (1, 1), (2, 2), (7, 3), (9, 3)])
async def test_neighbours_stay_together_in_order_in_one_call_a_thread(num_items: int, num_calls: int) -> None:
    with ThreadPoolExecutor(3) as threads:
        parts = await spread(threads, 3, list, range(num_items))
    assert len(parts) == num_calls
    assert [item for part in parts for item in part] == list(range(num_items))


async def test_an_error_of_the_work_reaches_the_caller() -> None:
    def fail(items: Sequence[int]) -> None:
        raise ValueError(f"cannot do {items[0]}")

    with ThreadPoolExecutor(1) as threads, pytest.raises(ValueError, match="cannot do 4"):
        await spread(threads, 1, fail, [4])
