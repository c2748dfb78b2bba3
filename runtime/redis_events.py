"""A site's events in Redis: each written once, in order, with a mark for each outlet of how far it has sent."""

from __future__ import annotations

from typing import Final

from runtime.log import get_logger
from runtime.redis_connection import RedisConnection
from runtime.redis_scripts import HOLD
from schemas import redis_keys
from schemas.errors import DecodeError
from schemas.event import Event, decode_event, encode_event

_log = get_logger(__name__)

_ADD: Final = """
-- KEYS: the event's id, the stream. ARGV: life of the id s, stream max length, stream life s, the event
-- The first write is one that Redis refuses when memory is full.
if not redis.call('SET', KEYS[1], '1', 'NX', 'EX', ARGV[1]) then
  return 0
end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'event', ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 1
"""


class EventStore(RedisConnection):
    """The events of one Redis. Every method raises `TransientError` when it does not answer."""

    async def add(self, event: Event) -> bool:
        """The event is in the site's stream; False where it was there before."""
        keys = [redis_keys.event_id(event.site, event.id), redis_keys.events(event.site)]
        arguments: list[str | int] = [
            redis_keys.EVENT_ID_TTL_S,
            redis_keys.EVENTS_MAX_LEN,
            redis_keys.EVENTS_TTL_S,
            encode_event(event),
        ]
        (added,) = await self._run(_ADD, [(keys, arguments)])
        return bool(added)

    async def hold_engine(self, site: str, owner: str) -> bool:
        """`owner` finds the site's events for `EVENT_ENGINE_TTL_S`; False while another does."""
        arguments: list[str | int] = [owner, redis_keys.EVENT_ENGINE_TTL_S * 1000]
        (held,) = await self._run(HOLD, [([redis_keys.event_engine(site)], arguments)])
        return bool(held)

    async def after(
        self, site: str, position: str, *, count: int, wait_s: float
    ) -> list[tuple[str, Event | None]]:
        """Up to `count` events after a position, oldest first, each with its own position.

        Waits for the first, up to `wait_s` or half of the connection's time-out. An event that cannot be read is None.
        """
        entries = await self._stream_after(redis_keys.events(site), position, count=count, wait_s=wait_s)
        return [(place, _decoded(fields)) for place, fields in entries]

    async def recent(self, site: str, count: int) -> list[Event]:
        """The last `count` events, newest first."""
        with self._translated("XREVRANGE"):
            entries = await self._client.xrevrange(redis_keys.events(site), count=count)
        return [event for _, fields in entries if (event := _decoded(fields)) is not None]

    async def position(self, site: str, outlet: str) -> str | None:
        """How far an outlet has sent; None before its first event."""
        with self._translated("GET"):
            found: str | None = await self._client.get(redis_keys.event_outlet(site, outlet))
        return found

    async def newest_position(self, site: str) -> str:
        """Where the stream ends now."""
        return await self._stream_end(redis_keys.events(site))

    async def sent(self, site: str, outlet: str, position: str) -> None:
        """The outlet has sent everything up to `position`."""
        with self._translated("SET"):
            await self._client.set(
                redis_keys.event_outlet(site, outlet), position, ex=redis_keys.EVENTS_TTL_S
            )


def _decoded(fields: dict[str, str]) -> Event | None:
    try:
        return decode_event(fields.get("event", ""))
    except DecodeError as error:
        _log.warning("an event in Redis cannot be read", error=str(error))
        return None
