"""What the store in memory does with time and when it is told to be away; the rest is in `test_store_contract`."""

from __future__ import annotations

import pytest

from runtime.connections import RedisSettings
from runtime.memory_store import MemoryStore
from schemas.errors import TransientError
from schemas.label import AnswerSource, Label, LabelState
from schemas.redis_keys import CAMERA_LEASE_TTL_S, CAMERA_TTL_S, SERVER_REPORT_TTL_S
from schemas.server_report import ServerReport
from schemas.win_rule import PutResult

S = 1_000_000_000


class Clock:
    now_ns = 10**18

    def __call__(self) -> int:
        return self.now_ns


def label(seq: int = 1, **changes: object) -> Label:
    fields = {"state": LabelState.FINAL, "source": AnswerSource.SERVER, "labelled_ns": 5, **changes}
    return Label(
        site="",
        camera="c",
        seq=seq,
        label=0,
        name="x",
        confidence=1.0,
        captured_ns=0,
        **fields,  # type: ignore[arg-type]
    )


async def test_labels_cameras_leases_and_reports_end_at_their_time() -> None:
    clock = Clock()
    store = MemoryStore(RedisSettings(label_ttl_s=2000), clock)
    report = ServerReport("server", "", 0, 1.0, 0, 0, 0, 0.0, 0.0)
    await store.put([label()])
    await store.hold_camera("c", "a")
    await store.publish_reports([report])
    clock.now_ns += SERVER_REPORT_TTL_S * S
    assert (await store.read_reports(""), await store.hold_camera("c", "b")) == ([], False)
    clock.now_ns += CAMERA_LEASE_TTL_S * S
    assert await store.hold_camera("c", "b")
    assert await store.get("c", 1) == label()
    clock.now_ns += 2000 * S
    assert (await store.get("c", 1), await store.cameras()) == (None, ["c"])
    assert await store.put([label()]) == [PutResult.WRITTEN]
    clock.now_ns += CAMERA_TTL_S * S
    assert (await store.cameras(), await store.newest_seq("c")) == ([], None)


@pytest.mark.parametrize(("late_ns", "result"), [(0, PutResult.WRITTEN), (1, PutResult.LATE)])
async def test_the_stores_clock_decides_deadline_and_grace_to_the_nanosecond(
    late_ns: int, result: PutResult
) -> None:
    clock = Clock()
    store = MemoryStore(RedisSettings(deadline_grace_ms=500), clock)
    deadline_ns = clock.now_ns + S
    await store.put([label(state=LabelState.PROVISIONAL, source=AnswerSource.EDGE, deadline_ns=deadline_ns)])
    clock.now_ns = deadline_ns + S // 2 + late_ns
    assert await store.put([label(deadline_ns=deadline_ns, labelled_ns=6)]) == [result]
    assert await store.put([label(2, deadline_ns=deadline_ns)]) == [result]


async def test_away_it_answers_nobody_and_keeps_what_it_has() -> None:
    store = MemoryStore()
    await store.put([label()])
    store.away = True
    for attempt in (store.time_ns(), store.put([label(2)]), store.cameras(), store.read_uplinks("")):
        with pytest.raises(TransientError):
            await attempt
    store.away = False
    assert await store.cameras() == ["c"]
