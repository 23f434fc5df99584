-- Record the end of a tenure once, whoever notices it and however many do.
-- Scans back from the newest entry, in pages, to an id before which no end of this tenure can lie.
-- KEYS  1 log stream
-- ARGV  1 instanceId  2 epoch  3 oldest id that matters  4 MINID or ''  5.. fields and values of instance_lost
-- Reply {'RECORDED', id} | {'ALREADY', id of the terminal entry}
local TERMINAL = {instance_lost = true, lease_lost = true, lease_lapsed = true, handoff_completed = true}
local PAGE, MOST = 100, 5000  -- a longer scan would hold up the server; past it, better twice than never
local upper, seen, restarted = '+', 0, -1  -- restarted: the highest number of a `starting`; a late copy has its old one
while seen < MOST do
  local page = redis.call('XREVRANGE', KEYS[1], upper, ARGV[3], 'COUNT', PAGE)
  for _, entry in ipairs(page) do
    local fields = {}
    for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
    if fields.instanceId == ARGV[1] and fields.epoch == ARGV[2] then
      if TERMINAL[fields.event] then return {'ALREADY', entry[1]} end
      if fields.event == 'state_transition' then
        if fields.toState == 'stopped' and (tonumber(fields.seq) or 0) > restarted then return {'ALREADY', entry[1]} end
        if fields.toState == 'starting' then restarted = math.max(restarted, tonumber(fields.seq) or math.huge) end
      end
    end
  end
  seen = seen + #page
  if #page < PAGE then break end
  upper = '(' .. page[#page][1]
end
local add = {'XADD', KEYS[1]}
if ARGV[4] ~= '' then add[3] = 'MINID'; add[4] = '~'; add[5] = ARGV[4] end
add[#add + 1] = '*'
for i = 5, #ARGV do add[#add + 1] = ARGV[i] end
return {'RECORDED', redis.call(unpack(add))}
