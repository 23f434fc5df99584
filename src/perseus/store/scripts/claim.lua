-- Claim an exchange: one tenure begins, or the caller learns why not. Idempotent for one claimId.
-- KEYS  1 status   2 epoch   3 last
-- ARGV  1 claimId  2 claimId of our own that may be replaced, or ''  3 TTL, s  4 epoch floor  5 exchangeName
--       6 least server uptime, s (0: none)  7 payload JSON without its opening brace; the epoch is put in front
-- Reply {outcome, server time in us, server uptime in s or -1, run id, ...}
--   CLAIMED    epoch, last or ''      the key now holds our payload
--   HELD       status, PTTL in ms     somebody else's (PTTL -1: it never expires)
--   SETTLING   wait in s              the server has not been up long enough to rule out a lost lease
--   OVER                              a late copy of this claim: its tenure has come and gone
--   MISNAMED   key, value             the id belongs to an exchange of another name
--   UNREADABLE key, reason            nothing was written
local function server()
  local info = redis.pcall('INFO', 'server')
  if type(info) ~= 'string' then return -1, '' end  -- no right to ask: the caller waits as if it had just started
  return tonumber(string.match(info, 'uptime_in_seconds:(%d+)') or -1), string.match(info, 'run_id:(%w+)') or ''
end

local function read(key)
  local raw = redis.pcall('GET', key)
  if type(raw) == 'table' then return nil, nil, raw.err end
  if not raw then return nil, nil, nil end
  local ok, value = pcall(cjson.decode, raw)
  if not ok or type(value) ~= 'table' or not string.match(raw, '^%s*{') then return raw, nil, 'not a JSON object' end
  return raw, value, nil
end

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local uptime, run_id = server()
local function reply(outcome, ...)
  return {outcome, string.format('%.0f', now), string.format('%.0f', uptime), run_id, ...}
end

local raw, status, fault = read(KEYS[1])
if fault then return reply('UNREADABLE', KEYS[1], fault) end
local raw_last, last, last_fault = read(KEYS[3])
if last_fault then return reply('UNREADABLE', KEYS[3], last_fault) end
if status and status.exchangeName ~= ARGV[5] then return reply('MISNAMED', KEYS[1], raw) end
if last and last.exchangeName ~= ARGV[5] then return reply('MISNAMED', KEYS[3], raw_last) end

if status and status.claimId == ARGV[1] then  -- our own reply was lost: extend, change nothing else
  redis.call('EXPIRE', KEYS[1], ARGV[3])
  return reply('CLAIMED', string.format('%.0f', status.epoch), raw_last or '')
end
if last and last.claimId == ARGV[1] then return reply('OVER') end  -- only renewals write last
if status and status.claimId ~= ARGV[2] then
  return reply('HELD', raw, string.format('%.0f', redis.call('PTTL', KEYS[1])))
end
if not status and tonumber(ARGV[6]) > 0 and uptime < tonumber(ARGV[6]) then
  return reply('SETTLING', string.format('%.0f', tonumber(ARGV[6]) - math.max(uptime, 0)))
end

local stored = redis.pcall('GET', KEYS[2])
if type(stored) == 'table' then return reply('UNREADABLE', KEYS[2], stored.err) end
if stored and not (string.match(stored, '^%d+$') and tonumber(stored) < 9007199254740000) then
  return reply('UNREADABLE', KEYS[2], 'not an integer below 2^53')
end
local epoch = math.max((tonumber(stored) or 0) + 1, now, tonumber(ARGV[4]) + 1)
if epoch >= 9007199254740000 then return reply('UNREADABLE', KEYS[2], 'the next epoch would pass 2^53') end
local text = string.format('%.0f', epoch)
redis.call('SET', KEYS[2], text)
redis.call('SET', KEYS[1], '{"epoch":' .. text .. ',' .. ARGV[7], 'EX', ARGV[3])
return reply('CLAIMED', text, raw_last or '')
