-- Renew the lease and publish the status: one round trip, nothing written unless the key is still ours.
-- KEYS  1 status   2 last
-- ARGV  1 claimId  2 rev  3 TTL, s  4 payload JSON  5 TTL of last, s  6 wake channel  7 wake message
-- Reply {outcome, server time in us, ...}
--   RENEWED                          status and last hold this payload
--   SUPERSEDED                       a newer write of ours has landed already; this one changed nothing
--   LOST       status                another holder's
--   MISSING                          the key is gone; it is never re-created here
--   UNREADABLE key, reason
local clock = redis.call('TIME')
local now = string.format('%.0f', tonumber(clock[1]) * 1000000 + tonumber(clock[2]))
local raw = redis.pcall('GET', KEYS[1])
if type(raw) == 'table' then return {'UNREADABLE', now, KEYS[1], raw.err} end
if not raw then return {'MISSING', now} end
local ok, status = pcall(cjson.decode, raw)
if not (ok and type(status) == 'table' and string.match(raw, '^%s*{')) then
  return {'UNREADABLE', now, KEYS[1], 'not a JSON object'}
end
local epoch = cjson.decode(ARGV[4]).epoch  -- a late copy of our claim may hold it at another
if status.claimId ~= ARGV[1] or (type(epoch) == 'number' and status.epoch ~= epoch) then return {'LOST', now, raw} end
if (tonumber(status.rev) or 0) >= tonumber(ARGV[2]) then return {'SUPERSEDED', now} end
redis.call('SET', KEYS[1], ARGV[4], 'EX', ARGV[3])
redis.call('SET', KEYS[2], ARGV[4], 'EX', ARGV[5])
redis.call('PUBLISH', ARGV[6], ARGV[7])
return {'RENEWED', now}
