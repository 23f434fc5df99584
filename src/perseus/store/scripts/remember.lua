-- Keep what the notifier must not forget, only while it holds its lease, and never an older state over a newer one.
-- KEYS  1 lease   2 memory, a hash
-- ARGV  1 claimId  2 rev, rising with every attempt of this claim  3 TTL, s  4.. field, value, ...
-- Reply {'KEPT'} | {'SUPERSEDED'} (a later one of ours is kept) | {'REFUSED'} (the lease is not ours)
local raw = redis.pcall('GET', KEYS[1])
if type(raw) == 'table' then return {'REFUSED'} end
local ok, held = pcall(cjson.decode, raw or '')
if not ok or type(held) ~= 'table' or held.claimId ~= ARGV[1] then return {'REFUSED'} end
local before = redis.call('HMGET', KEYS[2], 'claimId', 'rev')
if before[1] == ARGV[1] and tonumber(before[2]) >= tonumber(ARGV[2]) then return {'SUPERSEDED'} end
redis.call('HSET', KEYS[2], 'claimId', ARGV[1], 'rev', ARGV[2], unpack(ARGV, 4))
redis.call('EXPIRE', KEYS[2], ARGV[3])
return {'KEPT'}
