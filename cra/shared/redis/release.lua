-- Give back what was counted: KEYS are as in reserve.lua, ARGV the epoch in which it was, the id of the entries, and of each charge
-- its cost and 1 where it has a window. What is not among what is counted now is not taken off a second time: it has left its
-- window, it was forgotten with an epoch that is over, or its limit was given a window meanwhile.

local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local state = redis.call('HMGET', KEYS[1], 'run', 'since')
if state[1] ~= run or state[2] ~= ARGV[1] then
    return 0
end
for i = 1, (#KEYS - 1) / 2 do
    local entries, total = KEYS[2 * i], KEYS[2 * i + 1]
    local cost = tonumber(ARGV[2 * i + 1])
    local is_counted
    if ARGV[2 * i + 2] == '1' then
        is_counted = redis.call('ZREM', entries, string.format('%.0f:%s', cost, ARGV[2])) == 1
    else
        is_counted = redis.call('ZCARD', entries) == 0 and tonumber(redis.call('GET', total) or '0') >= cost
    end
    if is_counted then
        redis.call('DECRBY', total, string.format('%.0f', cost))
    end
end
return 1
