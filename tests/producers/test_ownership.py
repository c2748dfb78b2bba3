from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest
import structlog

from producers.ownership import CameraOwnership
from producers.sequence import SequenceFile
from producers.trouble import Trouble
from runtime.clock import Clock, ManualClock, SystemClock
from schemas.errors import LeaseError, SettingsError, TransientError
from schemas.limits import MAX_SEQ
from schemas.redis_keys import CAMERA_LEASE_TTL_S

CAMERA = "site/cam"


class Kafka:
    """Knows a newest number; counts how often it was asked."""

    def __init__(self, newest: int | None = None) -> None:
        self.newest = newest
        self.asked = 0

    async def __call__(self, camera: str) -> int | None:
        assert camera == CAMERA
        self.asked += 1
        return self.newest


def ownership(
    folder: Path,
    store: Any,
    kafka: Kafka,
    *,
    wait_s: float = 0.05,
    clock: Clock | None = None,
    tell: Any = lambda trouble, why: None,
) -> CameraOwnership:
    return CameraOwnership(
        CAMERA,
        state_dir=folder,
        block=10,
        store=store,
        newest_in_kafka=kafka,
        clock=clock or SystemClock(),
        renew_interval_s=0.01,
        take_over_wait_s=wait_s,
        tell=tell,
    )


@pytest.mark.parametrize(
    ("in_file", "in_redis", "in_kafka", "first"),
    [
        (None, None, None, 0),
        (None, 41, None, 52),
        (None, None, 41, 52),
        (None, 41, 99, 110),
        (None, 99, 41, 110),
        (500, 41, None, 500),
        (500, 499, None, 500),
        (500, 500, 507, 518),
        (500, 500, None, 511),
        (500, 41, 1699, 1710),
        (500, None, 499, 500),
        (None, 2**62, None, 2**62 + 11),
        (2**62 + 500, 41, None, 2**62 + 500),
    ],
)
async def test_the_first_number_lies_above_all_that_are_known(
    tmp_path: Path, store: Any, in_file: int | None, in_redis: int | None, in_kafka: int | None, first: int
) -> None:
    if in_file is not None:
        file = SequenceFile(tmp_path, CAMERA)
        file.reserve(in_file)
        file.close()
    if in_redis is not None:
        store.newest[CAMERA] = in_redis
    async with ownership(tmp_path, store, Kafka(in_kafka)) as camera:
        assert [await camera.next() for _ in range(12)] == list(range(first, first + 12))


@pytest.mark.parametrize(
    ("in_redis", "in_kafka", "first"),
    [(MAX_SEQ, None, 500), (None, MAX_SEQ, 500), (MAX_SEQ, 1699, 1710), (2**62 + 1, MAX_SEQ, 500)],
)
async def test_a_number_that_no_camera_reaches_is_ignored_with_one_warning(
    tmp_path: Path, store: Any, in_redis: int | None, in_kafka: int | None, first: int
) -> None:
    file = SequenceFile(tmp_path, CAMERA)
    file.reserve(500)
    file.close()
    if in_redis is not None:
        store.newest[CAMERA] = in_redis
    with structlog.testing.capture_logs() as logs:
        async with ownership(tmp_path, store, Kafka(in_kafka)) as camera:
            assert [await camera.next() for _ in range(12)] == list(range(first, first + 12))
    assert [(log["camera"], log["seq"]) for log in logs] == [(CAMERA, MAX_SEQ)]


async def test_no_number_comes_twice_when_two_machines_take_turns_while_the_edge_is_down(
    tmp_path: Path, store: Any
) -> None:
    """A dies, B takes over, A returns with its old state file; no label ever reaches Redis."""
    kafka, used = Kafka(), []
    for machine, count in [("a", 15), ("b", 1200), ("a", 5), ("b", 5)]:
        async with ownership(tmp_path / machine, store, kafka) as camera:
            used += [await camera.next() for _ in range(count)]
        kafka.newest = max(used)
    assert len(set(used)) == len(used)
    assert used == sorted(used)


async def test_a_disk_that_is_full_for_a_while_costs_a_camera_nothing_but_time(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Trouble] = []
    monkeypatch.setattr("producers.ownership.DISK_RETRY_S", 0.001)
    full = 3

    def fsync(fd: int) -> None:
        nonlocal full
        if full:
            full -= 1
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("producers.sequence.os.fsync", fsync)
    async with ownership(tmp_path, store, Kafka(), tell=lambda trouble, why: told.append(trouble)) as camera:
        assert [await camera.next() for _ in range(11)] == list(range(11))
        full = 2
        assert [await camera.next() for _ in range(11)] == list(range(11, 22))
    assert told == [Trouble.DISK_FULL, Trouble.DISK_FULL]


async def test_a_disk_that_refuses_for_good_is_a_setting_to_change(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("producers.sequence.os.fsync", refuse)
    async with ownership(tmp_path, store, Kafka()) as camera:
        with pytest.raises(SettingsError, match=r"producer\.state_dir"):
            await camera.next()


async def test_every_number_given_was_reserved_on_disk_before(tmp_path: Path, store: Any) -> None:
    async with ownership(tmp_path, store, Kafka()) as camera:
        for _ in range(25):
            number = await camera.next()
            reserved = camera._file.bound() if camera._file else None
            assert reserved is not None
            assert number < reserved


async def test_another_machines_live_lease_refuses_the_camera(tmp_path: Path, store: Any) -> None:
    async with ownership(tmp_path / "a", store, Kafka()):
        with pytest.raises(LeaseError, match="camera site/cam: another live producer"):
            await ownership(tmp_path / "b", store, Kafka()).__aenter__()
    async with ownership(tmp_path / "b", store, Kafka()):
        pass


async def test_the_lease_of_a_dead_producer_is_waited_out(tmp_path: Path, store: Any) -> None:
    store.owners[CAMERA] = "killed"
    taking = asyncio.create_task(ownership(tmp_path, store, Kafka(), wait_s=60).__aenter__())
    await asyncio.sleep(0)
    assert not taking.done()
    del store.owners[CAMERA]
    camera = await taking
    assert await camera.next() == 0
    await camera.__aexit__(None, None, None)
    assert store.owners == {}


async def test_without_redis_a_camera_waits_and_a_held_one_goes_on(tmp_path: Path, store: Any) -> None:
    store.away = True
    taking = asyncio.create_task(ownership(tmp_path, store, Kafka()).__aenter__())
    await asyncio.wait([taking], timeout=0.1)
    assert not taking.done()
    store.away = False
    camera = await taking
    assert await camera.next() == 0
    store.away = True
    keeping = asyncio.create_task(camera.keep())
    await asyncio.wait([keeping], timeout=0.1)
    assert not keeping.done()
    assert await camera.next() == 1
    keeping.cancel()
    await asyncio.wait([keeping])
    await camera.__aexit__(None, None, None)


async def test_a_lease_lost_to_another_ends_the_camera(tmp_path: Path, store: Any) -> None:
    async with ownership(tmp_path, store, Kafka()) as camera:
        store.owners[CAMERA] = "another"
        with pytest.raises(LeaseError, match="taken it over"):
            await camera.keep()
    assert store.owners == {CAMERA: "another"}


async def test_kafka_being_away_at_the_start_is_waited_out(tmp_path: Path, store: Any) -> None:
    class Away(Kafka):
        async def __call__(self, camera: str) -> int | None:
            if self.asked < 3:
                self.asked += 1
                raise TransientError("Kafka is away")
            return 7

    async with ownership(tmp_path, store, Away()) as camera:
        assert await camera.next() == 18


async def test_a_damaged_state_file_lets_go_of_file_and_lease(tmp_path: Path, store: Any) -> None:
    (tmp_path / "site%2Fcam.json").write_text("damaged")
    with pytest.raises(SettingsError, match="delete it"):
        await ownership(tmp_path, store, Kafka()).__aenter__()
    assert store.owners == {}
    SequenceFile(tmp_path, CAMERA).close()


async def test_a_process_that_stood_still_asks_before_it_uses_another_number(
    tmp_path: Path, store: Any
) -> None:
    clock = ManualClock()
    async with ownership(tmp_path, store, Kafka(), clock=clock) as camera:
        await camera.next()
        clock.advance(CAMERA_LEASE_TTL_S + 1)
        assert await camera.next() == 1
        clock.advance(CAMERA_LEASE_TTL_S + 1)
        store.owners[CAMERA] = "another"
        with pytest.raises(LeaseError, match="taken it over"):
            await camera.next()


async def test_a_restart_with_the_same_state_folder_does_not_wait_for_its_own_dead_lease(
    tmp_path: Path, store: Any
) -> None:
    killed = ownership(tmp_path, store, Kafka())
    await killed.__aenter__()
    assert killed._file is not None
    killed._file.close()  # what the system does for a killed process; its lease stays
    async with ownership(tmp_path, store, Kafka(), wait_s=0) as camera:
        assert await camera.next() >= 0
