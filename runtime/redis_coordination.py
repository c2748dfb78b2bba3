"""What processes tell each other through Redis besides labels: leases, reports, states, answers, an uplink's shares."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from redis.exceptions import WatchError

from runtime.log import get_logger
from runtime.redis_connection import FROM_START, RedisConnection, ScriptCall
from runtime.redis_scripts import ADD_SPENT, HOLD, PUBLISH_MEMBER, RELEASE
from runtime.stores import Spent, TableChange
from schemas import redis_keys
from schemas.answer import ServerAnswer, decode_answer, encode_answer
from schemas.camera_state import CameraState, decode_camera_state, encode_camera_state
from schemas.deployment import (
    Deployment,
    WorkerModels,
    decode_deployment,
    decode_worker_models,
    encode_deployment,
    encode_worker_models,
)
from schemas.errors import DecodeError, TransientError
from schemas.server_report import ServerReport, decode_report, encode_report

_MAX_TRIES = 50
_ANSWERS_A_READ = 256
_SPENT_TTL_S = 70 * 24 * 3600  # two of the longest periods, a month
_log = get_logger(__name__)
T = TypeVar("T")


class Coordination(RedisConnection):
    """Leases, reports and shares in one Redis; each method raises `TransientError` when it is away."""

    async def hold_camera(self, camera: str, owner: str) -> bool:
        """`owner` may number the camera's frames for `CAMERA_LEASE_TTL_S`; False while another may."""
        arguments: list[str | int] = [owner, redis_keys.CAMERA_LEASE_TTL_S * 1000]
        (held,) = await self._run(HOLD, [([redis_keys.camera_lease(camera)], arguments)])
        return bool(held)

    async def release_camera(self, camera: str, owner: str) -> None:
        """The camera is free if `owner` held it."""
        await self._run(RELEASE, [([redis_keys.camera_lease(camera)], [owner])])

    async def publish_reports(self, reports: Sequence[ServerReport]) -> None:
        """Each site reads its report until `SERVER_REPORT_TTL_S` from now or the same server's next one.

        One round trip, however many sites they are for.
        """
        calls: list[ScriptCall] = [
            (
                [redis_keys.server_index(each.site), redis_keys.server_report(each.site, each.server)],
                [each.server, encode_report(each), redis_keys.SERVER_REPORT_TTL_S],
            )
            for each in reports
        ]
        if calls:
            await self._run(PUBLISH_MEMBER, calls)

    async def read_reports(self, site: str) -> list[ServerReport]:
        """The live servers' latest reports for a site, by name of the server."""
        texts = await self._read_members(
            redis_keys.server_index(site), lambda server: redis_keys.server_report(site, server)
        )
        reports = []
        for server, text in texts.items():
            try:
                reports.append(decode_report(text))
            except DecodeError as error:
                _log.warning("a server's report cannot be read", server=server, error=str(error))
        return reports

    async def publish_uplink(self, site: str, worker: str, text: str) -> None:
        """Readers see what this edge worker says of its uplink until `UPLINK_STATE_TTL_S` from now."""
        keys = [redis_keys.uplink_index(site), redis_keys.uplink_state(site, worker)]
        await self._run(PUBLISH_MEMBER, [(keys, [worker, text, redis_keys.UPLINK_STATE_TTL_S])])

    async def read_uplinks(self, site: str) -> dict[str, str]:
        """What each live edge worker of a site last said of its uplink."""
        return await self._read_members(
            redis_keys.uplink_index(site), lambda worker: redis_keys.uplink_state(site, worker)
        )

    async def publish_cameras(self, site: str, states: Sequence[CameraState]) -> None:
        """Readers see how these cameras of a site are until `CAMERA_STATE_TTL_S` from now or the next states.

        One round trip, however many cameras there are.
        """
        calls: list[ScriptCall] = [
            (
                [redis_keys.camera_index(site), redis_keys.camera_state(state.camera)],
                [state.camera, encode_camera_state(state), redis_keys.CAMERA_STATE_TTL_S],
            )
            for state in states
        ]
        if calls:
            await self._run(PUBLISH_MEMBER, calls)

    async def read_cameras(self, site: str) -> list[CameraState]:
        """How each camera of a site was when its producer last told, by camera."""
        texts = await self._read_members(redis_keys.camera_index(site), redis_keys.camera_state)
        states = []
        for camera, text in texts.items():
            try:
                states.append(decode_camera_state(text))
            except DecodeError as error:
                _log.warning("a camera's state cannot be read", camera=camera, error=str(error))
        return states

    async def forget_camera(self, site: str, camera: str) -> None:
        """Nobody is told of the camera any more."""
        with self._translated("a camera's state"):
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.zrem(redis_keys.camera_index(site), camera)
                pipe.delete(redis_keys.camera_state(camera))
                await pipe.execute()

    async def put_answers(self, site: str, answers: Sequence[ServerAnswer]) -> None:
        """The answers follow the earlier ones, for `ANSWERS_TTL_S`."""
        if not answers:
            return
        key = redis_keys.answers(site)
        with self._translated("XADD"):
            async with self._client.pipeline(transaction=False) as pipe:
                for answer in answers:
                    entry = {"answer": encode_answer(answer)}
                    pipe.xadd(key, entry, maxlen=redis_keys.ANSWERS_MAX_LEN, approximate=True)
                pipe.expire(key, redis_keys.ANSWERS_TTL_S)
                await pipe.execute()

    async def answers_end(self, site: str) -> str:
        """The place after the newest answer."""
        return await self._stream_end(redis_keys.answers(site))

    async def answers_after(self, site: str, place: str, wait_s: float) -> tuple[str, list[ServerAnswer]]:
        """The answers after a place, oldest first, and the place after them.

        Waits for the first, up to `wait_s` or half of the connection's time-out.
        """
        key = redis_keys.answers(site)
        entries = await self._stream_after(key, place, count=_ANSWERS_A_READ, wait_s=wait_s)
        # Places are times of Redis's clock. Where that was set back and the stream expired meanwhile, new entries
        # come before the place, and none would be read until the clock is there again.
        if not entries and _is_before(await self._stream_end(key), place):
            return FROM_START, []
        answers = []
        for _, fields in entries:
            try:
                answers.append(decode_answer(fields.get("answer", "")))
            except DecodeError as error:
                _log.warning("a server's answer cannot be read", error=str(error))
        return (entries[-1][0] if entries else place), answers

    async def deployment(self) -> Deployment | None:
        """What was deployed last; None where nothing was; `DecodeError` where it cannot be read."""
        with self._translated("the deployment"):
            text = await self._client.get(redis_keys.DEPLOYMENT)
        return None if text is None else decode_deployment(text)

    async def deploy(self, deployment: Deployment) -> None:
        """Every worker reads this deployment from now on."""
        with self._translated("the deployment"):
            await self._client.set(redis_keys.DEPLOYMENT, encode_deployment(deployment))

    async def publish_models(self, models: WorkerModels) -> None:
        """Readers see what this worker runs until `WORKER_MODELS_TTL_S` from now or its next word."""
        keys = [redis_keys.WORKERS_MODELS, redis_keys.worker_models(models.worker)]
        arguments: list[str | int] = [
            models.worker,
            encode_worker_models(models),
            redis_keys.WORKER_MODELS_TTL_S,
        ]
        await self._run(PUBLISH_MEMBER, [(keys, arguments)])

    async def read_models(self) -> list[WorkerModels]:
        """What each live worker runs, by its name."""
        texts = await self._read_members(redis_keys.WORKERS_MODELS, redis_keys.worker_models)
        found = []
        for worker, text in texts.items():
            try:
                found.append(decode_worker_models(text))
            except DecodeError as error:
                _log.warning("a worker's models cannot be read", worker=worker, error=str(error))
        return found

    async def change_uplink_table(self, site: str, change: TableChange[T]) -> T:
        """The site's table of workers is what `change` made of it, atomically; returns its result.

        `change` is called again when another worker came between.

        Raises:
            TransientError: Redis does not answer, or others always came first.
        """
        key = redis_keys.uplink_workers(site)
        with self._translated("the uplink's table"):
            for _ in range(_MAX_TRIES):
                async with self._client.pipeline(transaction=True) as pipe:
                    await pipe.watch(key)
                    seconds, microseconds = await pipe.time()
                    uptime_s = float((await pipe.info("server"))["uptime_in_seconds"])
                    rows = await pipe.hgetall(key)
                    changed, result = change(rows, int(seconds) + int(microseconds) / 1e6, uptime_s)
                    pipe.multi()
                    pipe.delete(key)
                    if changed:
                        pipe.hset(key, mapping=dict(changed))
                        pipe.expire(key, redis_keys.UPLINK_STATE_TTL_S)
                    try:
                        await pipe.execute()
                    except WatchError:
                        await asyncio.sleep(random.uniform(0.0, 0.005))
                        continue
                    return result
        raise TransientError(f"Redis at {self._where}: {_MAX_TRIES} workers came first at the uplink's table")

    async def add_spent(self, site: str, period_s: float, num_bytes: int) -> Spent:
        """What the site has spent of its volume budget in the present period, `num_bytes` more than before.

        Periods of `period_s` begin at multiples of it since 1970, by the store's clock.
        """
        key = redis_keys.uplink_spent(site)
        arguments: list[str | int] = [round(period_s), num_bytes, _SPENT_TTL_S]
        (answer,) = await self._run(ADD_SPENT, [([key], arguments)])
        total, seconds, microseconds = (int(part) for part in answer)
        return Spent(total, seconds + microseconds / 1e6)

    async def _read_members(self, index: str, key_of: Callable[[str], str]) -> dict[str, str]:
        with self._translated("reports"):
            members = sorted(await self._client.zrange(index, 0, -1))
            texts = await self._client.mget([key_of(member) for member in members]) if members else []
        return {member: text for member, text in zip(members, texts, strict=True) if text is not None}


def _is_before(place: str, other: str) -> bool:
    """Whether one place in a stream comes before another; they count as numbers, not as text."""
    return [int(part) for part in place.split("-")] < [int(part) for part in other.split("-")]
