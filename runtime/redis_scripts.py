"""The Lua that Redis runs: each script is one atomic step.

Numbers that may pass 2^53 (sequence numbers) are compared as decimal texts, as Lua has only doubles; times
are compared in milliseconds, where a double is exact enough.
"""

from __future__ import annotations

from typing import Final

PUT_LABELS: Final = """
-- KEYS: sorted set of cameras, wake channel, then for each label: itself, its camera's stream, its camera's state
-- ARGV: as one msgpack text, which clients pack faster than many arguments: label ttl s, stream max length,
--       stream ttl s, camera ttl s, most cameras, grace ms, and for each label its fields: name, value, ...
local given = cmsgpack.unpack(ARGV[1])
local ttl_s, max_len, stream_ttl_s, camera_ttl_s, max_cameras, grace_ms = unpack(given, 1, 6)

local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + tonumber(clock[2]) / 1000
local function is_past(ns)
  local deadline_ms = tonumber(ns) / 1e6
  return deadline_ms > 0 and now_ms > deadline_ms + grace_ms
end

local function verdict(key, new)
  local old = redis.call('HMGET', key, 'state', 'source', 'labelled_ns', 'deadline_ns')
  if old[1] then
    if old[1] == new.state and old[2] == new.source and old[3] == new.labelled_ns then
      return 'UNCHANGED'
    end
    if old[1] ~= 'provisional' then
      return 'ALREADY_FINAL'
    end
    -- After its deadline readers take a provisional label as the last word.
    local is_last_word = is_past(old[4])
    if new.state == 'provisional' then
      return is_last_word and 'ALREADY_FINAL' or 'STALE'
    end
    -- An edge that sees the frame again and is sure now, by itself or by the camera's belief, must not shut out the
    -- server that was asked. A belief that ends a wait keeps the deadline of the label that waited.
    local is_sure_at_once = new.source ~= 'server' and new.deadline_ns == '0'
    if new.state ~= 'final' or new.source == 'edge' or is_sure_at_once then
      return 'STALE'
    end
    if is_last_word then
      return 'LATE'
    end
  end
  if new.source == 'server' and is_past(new.deadline_ns) then
    return 'LATE'
  end
  return 'WRITTEN'
end

local function write(label, stream, state, fields, new)
  -- The first write of a script must be one that Redis refuses when its memory is full: after any other it
  -- refuses nothing more. What the label held before goes after it.
  redis.call('HSET', label, unpack(fields))
  if redis.call('HLEN', label) > #fields / 2 then
    for _, name in ipairs(redis.call('HKEYS', label)) do
      if new[name] == nil then
        redis.call('HDEL', label, name)
      end
    end
  end
  redis.call('EXPIRE', label, ttl_s)
  redis.call('XADD', stream, 'MAXLEN', '~', max_len, '*', unpack(fields))
  redis.call('EXPIRE', stream, stream_ttl_s)
  local seq, newest = new.seq, redis.call('HGET', state, 'seq')
  if not newest or #seq > #newest or (#seq == #newest and seq >= newest) then
    redis.call('HSET', state, unpack(fields))
  end
  redis.call('EXPIRE', state, camera_ttl_s)
end

local verdicts, moved = {}, {}
for number = 1, #given - 6 do
  local fields, new = given[6 + number], {}
  for i = 1, #fields, 2 do
    new[fields[i]] = fields[i + 1]
  end
  local label = KEYS[3 * number]
  verdicts[number] = verdict(label, new)
  if verdicts[number] == 'WRITTEN' then
    write(label, KEYS[3 * number + 1], KEYS[3 * number + 2], fields, new)
    if not moved[new.camera] then
      moved[new.camera] = true
      moved[#moved + 1] = new.camera
    end
  end
end
for _, camera in ipairs(moved) do
  redis.call('ZADD', KEYS[1], clock[1], camera)
  redis.call('PUBLISH', KEYS[2], camera)
end
if #moved > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', tonumber(clock[1]) - camera_ttl_s)
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -max_cameras - 1)
  redis.call('EXPIRE', KEYS[1], camera_ttl_s)
end
return verdicts
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
-- KEYS: hash period -> bytes. ARGV: period s, bytes, ttl s.
-- One clock decides the period, this one. Of more than eight the oldest is forgotten, never the present or a later one:
-- a clock that jumps ahead and back finds what it had counted.
local now = redis.call('TIME')
local period = math.floor(tonumber(now[1]) / tonumber(ARGV[1]))
local total = redis.call('HINCRBY', KEYS[1], period, ARGV[2])
local oldest = period
local periods = redis.call('HKEYS', KEYS[1])
for _, each in ipairs(periods) do
  oldest = math.min(oldest, tonumber(each))
end
if #periods > 8 and oldest < period then
  redis.call('HDEL', KEYS[1], oldest)
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
return {total, now[1], now[2]}
"""
