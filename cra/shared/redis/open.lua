-- Declare that nothing was admitted within any window: KEYS[1] is the epoch. Answers 1, or 0 where an epoch of this server's run is there.

local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local state = redis.call('HMGET', KEYS[1], 'run', 'since', 'open')
if ARGV[1] ~= '1' and state[1] == run then
    return 0
end
local time = redis.call('TIME')
local since = math.max(time[1] * 1000000 + time[2], tonumber(state[2] or '0') + 1)
redis.call('HSET', KEYS[1], 'run', run, 'since', since, 'now', since, 'open', '1')
return 1
