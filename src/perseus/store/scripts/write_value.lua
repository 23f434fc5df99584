-- Set a value beside the status key, only while that key holds the writer's claim.
-- KEYS  1 status   2 key
-- ARGV  1 claimId  2 value  3 TTL, s
-- Reply {'OK'} | {'REFUSED', status or ''} (nothing was written)
local raw = redis.pcall('GET', KEYS[1])
if type(raw) == 'table' then return {'REFUSED', ''} end
local ok, status = pcall(cjson.decode, raw or '')
if not ok or type(status) ~= 'table' or status.claimId ~= ARGV[1] then return {'REFUSED', raw or ''} end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
return {'OK'}
