-- Put up an approval: KEYS as in decide.lua; ARGV its id, the approval, its lifetime (ms). One that is there already stays as it is.
-- What dead processes have put up and nobody waits for any more goes.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if redis.call('HSETNX', KEYS[1], 'approval', ARGV[2]) == 1 then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
end
return 1
