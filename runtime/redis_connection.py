"""One Redis server: its client, its clock, its scripts, and library errors in the project's own tree.

Only the modules `runtime.redis_*` import redis. Every call ends: each connect and answer has a time limit,
one reconnect is tried at once, and then `TransientError` tells the caller to try again with back-off.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha1
from types import TracebackType
from typing import Any, Final, Self

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as ConnectionLost

from runtime.connections import RedisSettings
from runtime.redact import redact
from schemas.errors import SaccadeError, SettingsError, TransientError

FROM_START: Final = "0-0"
"""The place before the first entry of every stream."""
_NS_PER_S = 1_000_000_000
_NS_PER_US = 1_000
_WANTED_CONFIG = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
_REFUSALS = (AuthenticationError, AuthorizationError, NoPermissionError)
_PASSING_CODES = frozenset({
    "ASK", "BUSY", "CLUSTERDOWN", "DENIED", "LOADING", "MASTERDOWN", "MISCONF", "MOVED", "NOAUTH", "NOPERM",
    "NOREPLICAS", "NOSCRIPT", "OOM", "READONLY", "TRYAGAIN", "UNBLOCKED", "UNKILLABLE", "WRONGPASS",
})  # fmt: skip
"""What an administrator, a failover or an emptier disk puts right."""
_PASSING = re.compile(
    # At the beginning as servers say it, or behind a dash, a colon or a quote where a script or a pipeline
    # repeats it.
    rf"(?:^|[-:'\"]\s*)(?:{'|'.join(sorted(_PASSING_CODES))})\b"
    # Inside a script Redis 6 and 7 tell a right that is missing without a code.
    r"|user executing the script can't|ACL failure in script"
)

ScriptCall = tuple[Sequence[str], Sequence[str | int | bytes]]
"""Keys and arguments of one call of a script."""


def _passes(error: ResponseError) -> bool:
    """True when what Redis answers may be over at the next try; else the call itself is wrong.

    Redis and its library put one answer into another: `EVALSHA` quotes what a command in the script was told,
    a pipeline names the command before it.
    """
    code = getattr(error, "status_code", None)
    return code in _PASSING_CODES or _PASSING.search(str(error)) is not None


class RedisConnection:
    """A client of one Redis; connects at the first call and again after each loss."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._client: Any = _client(settings)
        self._where = redact(settings.url)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._where}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # One that is silent is left as it is: nobody needs its farewell.
        with suppress(RedisError, OSError, TimeoutError):
            await self._client.aclose()

    async def time_ns(self) -> int:
        """The server's clock, ns UTC: the one that decides deadlines.

        Raises:
            TransientError: Redis does not answer.
        """
        with self._translated("TIME"):
            seconds, microseconds = await self._client.time()
        return int(seconds) * _NS_PER_S + int(microseconds) * _NS_PER_US

    async def check_durability(self) -> list[str]:
        """One line for each server setting under which labels may be lost; empty when all is well.

        Raises:
            TransientError: Redis does not answer.
        """
        with self._translated("CONFIG GET"):
            try:
                found = {key: (await self._client.config_get(key)).get(key) for key in _WANTED_CONFIG}
            except ResponseError as error:  # managed services forbid the command
                return [f"Redis at {self._where} does not tell its settings: {error}"]
        problems = []
        for key, wanted in _WANTED_CONFIG.items():
            if found[key] != wanted:
                problems.append(f"Redis at {self._where}: {key} is {found[key]!r}, should be {wanted!r}")
        return problems

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except _REFUSALS as error:
            raise TransientError(f"Redis at {self._where} refuses {doing}: {error}") from None
        except ResponseError as error:
            what = f"Redis at {self._where}: {doing}: {error}"
            raise (TransientError if _passes(error) else SaccadeError)(what) from None
        except (RedisError, OSError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise TransientError(
                f"Redis at {self._where} does not answer {doing} ({why.rstrip('.')}): start it (saccade "
                "stack starts one), or name another with --redis URL or redis.url"
            ) from None

    async def _stream_end(self, key: str) -> str:
        """Where a stream ends now."""
        with self._translated("XREVRANGE"):
            entries = await self._client.xrevrange(key, count=1)
        return str(entries[0][0]) if entries else FROM_START

    async def _stream_after(
        self, key: str, place: str, *, count: int, wait_s: float
    ) -> list[tuple[str, dict[str, str]]]:
        """Up to `count` entries of a stream after a place; waits for the first, half of the time-out at most."""
        block_ms = round(1000 * min(wait_s, self._settings.timeout_s / 2))
        with self._translated("XREAD"):
            found = await self._client.xread({key: place}, count=count, block=max(1, block_ms))
        entries: list[tuple[str, dict[str, str]]] = found[0][1] if found else []
        return entries

    async def _run(self, script: str, calls: Sequence[ScriptCall]) -> list[Any]:
        """One answer for each call, in one round trip; the script is loaded where it is missing."""
        with self._translated("a script"):
            answers = await self._evaluate(script, calls)
            missing = [idx for idx, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            if missing:
                await self._client.script_load(script)
                for idx, again in zip(
                    missing, await self._evaluate(script, [calls[idx] for idx in missing]), strict=True
                ):
                    answers[idx] = again
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return answers

    async def _evaluate(self, script: str, calls: Sequence[ScriptCall]) -> list[Any]:
        digest = sha1(script.encode(), usedforsecurity=False).hexdigest()
        async with self._client.pipeline(transaction=False) as pipe:
            for keys, arguments in calls:
                pipe.evalsha(digest, len(keys), *keys, *arguments)
            return list(await pipe.execute(raise_on_error=False))


def _client(settings: RedisSettings) -> Any:
    options: dict[str, Any] = {}
    if settings.url.startswith("rediss:"):
        options = {
            "ssl_ca_certs": _text(settings.ssl_ca_certs),
            "ssl_certfile": _text(settings.ssl_certfile),
            "ssl_keyfile": _text(settings.ssl_keyfile),
            "ssl_check_hostname": settings.ssl_check_hostname,
        }
    if settings.username is not None:
        options["username"] = settings.username
    if settings.password is not None:
        options["password"] = settings.password.get_secret_value()
    try:
        client = redis.asyncio.Redis.from_url(
            settings.url,
            decode_responses=True,
            encoding_errors="replace",  # what is no text is refused by whoever reads it
            protocol=2,
            socket_timeout=settings.timeout_s,
            socket_connect_timeout=settings.timeout_s,
            # A pooled connection that its server closed meanwhile costs one try; waiting is for the caller.
            retry=Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.1), retries=1),
            **options,
        )
    except (ValueError, RedisError) as error:
        raise SettingsError(f"redis.url {redact(settings.url)}: {error}") from None
    pool = client.connection_pool
    pool.connection_class = type("Connection", (_Connection, pool.connection_class), {})
    return client


class _Connection:
    """A connection that a cancelled task leaves, whatever the moment, and that is dropped where it is of no use.

    redis-py (8.1) sends inside `asyncio.wait_for`, which up to Python 3.11 returns as if nothing had happened
    when the cancellation comes just after the command was written. A task that misses its one cancellation
    keeps its group from ending for ever, as a group in its end cancels nobody a second time.
    """

    async def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        num_asked = task.cancelling()
        connection: Any = super()
        try:
            await connection.send_packed_command(*args, **kwargs)
        except RuntimeError as error:
            # How uvloop says that the connection was reset meanwhile; to the library it would be a bug of ours.
            await connection.disconnect(nowait=True)
            raise ConnectionLost(f"connection lost: {error}") from error
        finally:
            if task.cancelling() > num_asked:
                # Else the connection's next user would read the answer to this command.
                await connection.disconnect(nowait=True)
                raise asyncio.CancelledError

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        connection: Any = super()
        try:
            return await connection.read_response(*args, **kwargs)
        except ResponseError as error:
            if isinstance(error, ReadOnlyError) or "-READONLY" in str(error):
                # A primary that became a replica: its name may lead to another one now, which only a new
                # connection asks. (Inside a script, Redis 6 says it in the text.)
                await connection.disconnect()
            raise


def _text(path: object) -> str | None:
    return None if path is None else str(path)
