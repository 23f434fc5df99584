-- Claim an exchange: one tenure begins, or the caller learns why not. Idempotent for one claimId.
-- KEYS  1 status   2 epoch   3 last   4 primary
-- ARGV  1 claimId  2 the status value that may be replaced, whole, or ''  3 TTL, s  4 epoch floor  5 exchangeName
--       6 for how long the server must have been the primary, s (0: never mind)
--       7 '1' if a restart of the server loses nothing, so that only a failover counts
--       8 what the epoch key held when the claimer looked, or '': since then nobody else has claimed
--       9 payload JSON without its opening brace; the epoch is put in front
-- Reply {outcome, server time in us, for how long it has been the primary in s or -1, replication id, ...}
--   CLAIMED    epoch, last or ''      the key now holds our payload
--   HELD       status, PTTL in ms     somebody else's (PTTL -1: it never expires)
--   SETTLING   wait in s              the server has not been the primary long enough to rule out a lost lease
--   OVER                              a late copy of this claim: its tenure has come and gone
--   CHANGED                           somebody has claimed since the claimer looked: look again
--   MISNAMED   key, value             the id belongs to an exchange of another name
--   UNREADABLE key, reason            nothing was written
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

-- A server that restarted, or took over from another, may have lost a lease that still runs. A restart shows in the
-- uptime; a failover only in a second replication id, so whoever sees a new one first notes when; a note from
-- the future (the clock was stepped back) is made anew. In a planned failover the old primary goes on granting leases
-- for some seconds, until it is told.
local handover_s = 0
local function settled()
  local server, replication = redis.pcall('INFO', 'server'), redis.pcall('INFO', 'replication')
  if type(server) ~= 'string' or type(replication) ~= 'string' then return -1, '' end  -- no right to ask
  local id = string.match(replication, 'master_replid:(%w+)') or ''
  if not string.match(replication, 'master_replid2:%w*[1-9a-f]') then
    if ARGV[7] == '1' then return math.huge, id end
    return tonumber(string.match(server, 'uptime_in_seconds:(%d+)') or -1), id
  end
  handover_s = 4
  local noted = redis.pcall('GET', KEYS[4]) or ''
  if type(noted) == 'table' then return -1, id end
  local noted_id, since = string.match(noted, '^(%w+) (%d+)$')
  if noted_id == id and tonumber(since) <= now then return math.floor((now - tonumber(since)) / 1000000), id end
  redis.call('SET', KEYS[4], id .. ' ' .. string.format('%.0f', now), 'EX', 7776000)
  return 0, id
end

local settled_s, server_id = settled()
local function reply(outcome, ...)
  local shown_s = math.min(settled_s, 9007199254740000)
  return {outcome, string.format('%.0f', now), string.format('%.0f', shown_s), server_id, ...}
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
if raw and raw ~= ARGV[2] then return reply('HELD', raw, string.format('%.0f', redis.call('PTTL', KEYS[1]))) end
local least_s = tonumber(ARGV[6]) + handover_s
if tonumber(ARGV[6]) > 0 and settled_s < least_s then
  return reply('SETTLING', string.format('%.0f', least_s - math.max(settled_s, 0)))
end

local stored = redis.pcall('GET', KEYS[2])
if type(stored) == 'table' then return reply('UNREADABLE', KEYS[2], stored.err) end
if stored and not (string.match(stored, '^%d+$') and tonumber(stored) < 9007199254740000) then
  return reply('UNREADABLE', KEYS[2], 'not an integer below 2^53')
end
if (stored or '') ~= ARGV[8] then return reply('CHANGED') end
local epoch = math.max((tonumber(stored) or 0) + 1, now, tonumber(ARGV[4]) + 1)
if epoch >= 9007199254740000 then return reply('UNREADABLE', KEYS[2], 'the next epoch would pass 2^53') end
local text = string.format('%.0f', epoch)
redis.call('SET', KEYS[2], text)
redis.call('SET', KEYS[1], '{"epoch":' .. text .. ',' .. ARGV[9], 'EX', ARGV[3])
return reply('CLAIMED', text, raw_last or '')
