-- Look at one exchange: status, last snapshot, and the server that holds them, all as of one moment.
-- KEYS  1 status   2 last
-- Reply {server time in us, server uptime in s or -1, run id or '', PTTL of status in ms,
--        status or '', why it cannot be read or '', last or '', why it cannot be read or ''}
local function read(key)
  local raw = redis.pcall('GET', key)
  if type(raw) == 'table' then return '', raw.err end
  return raw or '', ''
end

local clock = redis.call('TIME')
local info = redis.pcall('INFO', 'server')
if type(info) ~= 'string' then info = '' end  -- no right to ask: the watcher counts from its own first look
local status, status_fault = read(KEYS[1])
local last, last_fault = read(KEYS[2])
return {
  string.format('%.0f', tonumber(clock[1]) * 1000000 + tonumber(clock[2])),
  string.match(info, 'uptime_in_seconds:(%d+)') or '-1',
  string.match(info, 'run_id:(%w+)') or '',
  redis.call('PTTL', KEYS[1]),
  status, status_fault, last, last_fault,
}
