-- The notifier's lease: claim, renew or give back, and nothing of anybody else's.
-- KEYS  1 lease   2 memory, a hash, see remember.lua
-- ARGV  1 'claim', 'renew' or 'release'  2 claimId  3 TTL, s  4 payload JSON
--       5 for a claim: the value that may be replaced, whole, or ''
-- Reply {outcome, server time in us, ...}
--   LEADING     rev of ours      the key holds our payload, for a TTL from now; '' if nothing of ours is kept
--   FOLLOWING   value, PTTL ms   another's; it was left as it is, or its end was brought forward to a TTL from now
--   an error                     a claim beside a memory that is none: nothing was written
--   GONE                         it was ours no longer (renew, release): what is kept beside it may be another's by now
--   RELEASED
local clock = redis.call('TIME')
local now = string.format('%.0f', tonumber(clock[1]) * 1000000 + tonumber(clock[2]))
local raw = redis.pcall('GET', KEYS[1])
if type(raw) == 'table' then return {'FOLLOWING', now, raw.err, '-1'} end  -- not a string: whoever wrote it needs it
local ok, held = pcall(cjson.decode, raw or '')
local ours = ok and type(held) == 'table' and held.claimId == ARGV[2]
local kept = redis.pcall('HMGET', KEYS[2], 'claimId', 'rev')

if ARGV[1] == 'claim' then
  if raw and not ours and raw ~= ARGV[5] then
    local left = redis.call('PTTL', KEYS[1])
    local is_too_long = left < 0 or left > ARGV[3] * 1000  -- the clock was stepped back, or somebody made it last
    if is_too_long and ok and type(held) == 'table' then  -- a living holder renews it; a dead one's must end
      redis.call('EXPIRE', KEYS[1], ARGV[3])
    end
    return {'FOLLOWING', now, raw, string.format('%.0f', left)}
  end
  if kept.err then return kept end
elseif not ours then
  return {'GONE', now}
elseif ARGV[1] == 'release' then
  redis.call('DEL', KEYS[1])
  return {'RELEASED', now}
end
redis.call('SET', KEYS[1], ARGV[4], 'EX', ARGV[3])
return {'LEADING', now, kept[1] == ARGV[2] and kept[2] or ''}
