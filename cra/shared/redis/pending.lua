-- What waits for a decision, the one that expires first at the head: KEYS[1] are the ids, ARGV[1] what the key of each begins with.

local time = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time[1] * 1000 + math.floor(time[2] / 1000))
local found = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, 9999)) do
    local approval = redis.call('HGET', ARGV[1] .. id, 'approval')
    if approval then
        found[#found + 1] = approval
    end
end
return found
