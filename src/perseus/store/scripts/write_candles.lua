-- Write candles beside the status key, only while that key holds the writer's claim.
-- KEYS  1 status   2.. one sorted set a symbol and timeframe
-- ARGV  1 claimId  2 candles kept in a set  3.. for each set: count, then count times (open time in ms, member)
-- Reply {'OK'} | {'REFUSED', status or ''} (nothing was written)
local raw = redis.pcall('GET', KEYS[1])
if type(raw) == 'table' then return {'REFUSED', ''} end
local ok, status = pcall(cjson.decode, raw or '')
if not ok or type(status) ~= 'table' or status.claimId ~= ARGV[1] then return {'REFUSED', raw or ''} end
local at = 3
for k = 2, #KEYS do
  local count = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, count do
    redis.call('ZREMRANGEBYSCORE', KEYS[k], ARGV[at], ARGV[at])
    redis.call('ZADD', KEYS[k], ARGV[at], ARGV[at + 1])
    at = at + 2
  end
  redis.call('ZREMRANGEBYRANK', KEYS[k], 0, -1 - tonumber(ARGV[2]))
end
return {'OK'}
