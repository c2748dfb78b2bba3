"""The Lua that Redis runs: each script is one atomic step.

Numbers that may pass 2^53 (sequence numbers) are compared as decimal texts, as Lua has only doubles; times
are compared in milliseconds, where a double is exact enough.
"""

from __future__ import annotations

from typing import Final

PUT_LABEL: Final = """
-- KEYS: label, stream of the camera, state of the camera, set of cameras, wake channel
-- ARGV: label ttl s, stream max length, stream ttl s, camera ttl s, grace ms, camera, seq, state, source,
--       labelled_ns, deadline_ns, then all fields as name, value, name, value, ...
local ttl_s, grace_ms = tonumber(ARGV[1]), tonumber(ARGV[5])
local camera, seq, state, source = ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local labelled_ns, deadline_ns = ARGV[10], ARGV[11]

local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + tonumber(clock[2]) / 1000
local function is_past(ns)
  local deadline_ms = tonumber(ns) / 1e6
  return deadline_ms > 0 and now_ms > deadline_ms + grace_ms
end

local old = redis.call('HMGET', KEYS[1], 'state', 'source', 'labelled_ns', 'deadline_ns')
if old[1] then
  if old[1] == state and old[2] == source and old[3] == labelled_ns then
    return 'UNCHANGED'
  end
  if old[1] ~= 'provisional' then
    return 'ALREADY_FINAL'
  end
  -- After its deadline readers take a provisional label as the last word.
  local is_last_word = is_past(old[4])
  if state == 'provisional' then
    return is_last_word and 'ALREADY_FINAL' or 'STALE'
  end
  -- An edge that sees the frame again under another threshold must not shut out the server that was asked.
  if state ~= 'final' or source == 'edge' then
    return 'STALE'
  end
  if is_last_word then
    return 'LATE'
  end
end
if source == 'server' and is_past(deadline_ns) then
  return 'LATE'
end

local fields = {}
for i = 12, #ARGV do
  fields[#fields + 1] = ARGV[i]
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('EXPIRE', KEYS[1], ttl_s)
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', unpack(fields))
redis.call('EXPIRE', KEYS[2], ARGV[3])
local newest = redis.call('HGET', KEYS[3], 'seq')
if not newest or #seq > #newest or (#seq == #newest and seq >= newest) then
  redis.call('HSET', KEYS[3], unpack(fields))
end
redis.call('EXPIRE', KEYS[3], ARGV[4])
redis.call('SADD', KEYS[4], camera)
redis.call('PUBLISH', KEYS[5], camera)
return 'WRITTEN'
"""

HOLD: Final = """
-- KEYS: lease. ARGV: owner, ttl ms. Takes or renews; 0 while somebody else holds it.
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

RELEASE: Final = """
-- KEYS: lease. ARGV: owner. Gives back only what is the owner's.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
"""

PUBLISH_MEMBER: Final = """
-- KEYS: index, the member's own key. ARGV: member, text, ttl s.
local now = tonumber(redis.call('TIME')[1])
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[3]) - 1)
redis.call('EXPIRE', KEYS[1], tonumber(ARGV[3]) + 1)
return now
"""

ADD_SPENT: Final = """
-- KEYS: hash period -> bytes. ARGV: period, bytes, ttl s. Periods before the last one are forgotten.
local total = redis.call('HINCRBY', KEYS[1], ARGV[1], ARGV[2])
for _, period in ipairs(redis.call('HKEYS', KEYS[1])) do
  if tonumber(period) < tonumber(ARGV[1]) - 1 then
    redis.call('HDEL', KEYS[1], period)
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
return total
"""
