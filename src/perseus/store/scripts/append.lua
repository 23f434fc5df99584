-- Append one entry to a bounded stream and renew the stream's TTL (commands and their replies).
-- KEYS  1 stream
-- ARGV  1 MAXLEN ~  2 TTL, s  3.. fields and values
-- Reply id
local add = {'XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*'}
for i = 3, #ARGV do add[#add + 1] = ARGV[i] end
local id = redis.call(unpack(add))
redis.call('EXPIRE', KEYS[1], ARGV[2])
return id
