-- Give the lease back: write the final snapshot to last and delete the key, if it is still ours.
-- KEYS  1 status   2 last
-- ARGV  1 claimId  2 final payload JSON, or '' to leave last as it is  3 TTL of last, s  4 wake channel  5 wake message
-- Reply {outcome, ...}:  RELEASED | MISSING | LOST status | UNREADABLE key, reason
local raw = redis.pcall('GET', KEYS[1])
if type(raw) == 'table' then return {'UNREADABLE', KEYS[1], raw.err} end
if not raw then return {'MISSING'} end
local ok, status = pcall(cjson.decode, raw)
if not (ok and type(status) == 'table' and string.match(raw, '^%s*{')) then
  return {'UNREADABLE', KEYS[1], 'not a JSON object'}
end
if status.claimId ~= ARGV[1] then return {'LOST', raw} end
if ARGV[2] ~= '' then redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3]) end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[4], ARGV[5])
return {'RELEASED'}
