-- Count charges against sliding windows: all of them, or none. One call is one round trip and one atomic step.
--
-- KEYS[1]          the epoch: a hash of the server's run id, when the epoch began (us), the latest time seen (us), and whether it is open
-- KEYS[2i], [2i+1] of charge i: its entries, a sorted set of "<cost>:<id>" by time of admission (us), and the total of their costs
-- ARGV[1]          the latest epoch that the caller knows; [2] an id for the entries
-- ARGV[5i-2..5i+2] of charge i: cost, amount (both whole units), window (us, 0: none), 1 where it is enforced, the most entries
--
-- Answers {status, index of the charge that refused, us until it may fit (-1: never), epoch, used and us until the oldest leaves (-1: never)
-- of each charge, 1 for each charge that was counted}; status is 1 counted, 0 refused, 2 refused because the epoch is younger than a window.

local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local known = tonumber(ARGV[1])
local state = redis.call('HMGET', KEYS[1], 'run', 'since', 'now', 'open')
local since, latest, open = tonumber(state[2]), tonumber(state[3]), state[4] == '1'
if latest and latest > now then
    now = latest -- the server's clock went backwards
end
if state[1] ~= run or not since or since < known then
    -- The server has started anew, was emptied, or is older than the caller knows: what it had admitted is forgotten.
    since = math.max(now, known + 1)
    now = since
    open = false
    redis.call('HSET', KEYS[1], 'run', run, 'since', since, 'open', '0')
end
redis.call('HSET', KEYS[1], 'now', now)

local function cost_of(entry)
    return tonumber(string.match(entry, '^%d+'))
end

-- The total of a key, which says what its entries say, and how long it is until the oldest leaves. Whoever comes after `life`
-- finds nothing that counts.
local function count(entries, total, window, life)
    local text = redis.call('GET', total)
    local used = tonumber(text or '0')
    if window == 0 then
        redis.call('PERSIST', total) -- a limit that has lost its window
        return used, -1
    end
    if not text then -- it was deleted, or there is nothing
        for _, entry in ipairs(redis.call('ZRANGE', entries, 0, -1)) do
            used = used + cost_of(entry)
        end
        if used > 0 then
            redis.call('SET', total, used, 'PX', life)
        end
    end
    local gone, freed = redis.call('ZRANGEBYSCORE', entries, '-inf', now - window), 0
    for _, entry in ipairs(gone) do
        freed = freed + cost_of(entry)
    end
    if #gone > 0 then
        redis.call('ZREMRANGEBYSCORE', entries, '-inf', now - window)
        used = used - freed
        redis.call('DECRBY', total, string.format('%.0f', freed)) -- SET would have it live for ever
    end
    local oldest = redis.call('ZRANGE', entries, 0, 0, 'WITHSCORES')
    if oldest[2] then
        return used, oldest[2] + window - now
    end
    if used > 0 then -- counted without a window, or its entries were deleted: it counts as of now
        redis.call('ZADD', entries, now, string.format('%.0f:%s-kept', used, ARGV[2]))
        redis.call('PEXPIRE', entries, life)
        redis.call('PEXPIRE', total, life)
        return used, window
    end
    return used, -1
end

local charges = (#KEYS - 1) / 2
local standings, counted = {}, {}
local status, refused, retry = 1, 0, -1

for i = 1, charges do
    local entries, total = KEYS[2 * i], KEYS[2 * i + 1]
    local cost, amount, window = tonumber(ARGV[5 * i - 2]), tonumber(ARGV[5 * i - 1]), tonumber(ARGV[5 * i])
    local enforced, most = ARGV[5 * i + 1] == '1', tonumber(ARGV[5 * i + 2])
    local used, leaves = count(entries, total, window, math.ceil(window / 1000) + 60000)
    local closed = not open and (window == 0 or since + window > now)
    -- A difference: a sum could be larger than what numbers are exact up to.
    local fits = cost <= amount - used and (window == 0 or redis.call('ZCARD', entries) < most)
    counted[i] = (fits and not closed) and 1 or 0
    if enforced and counted[i] == 0 and status == 1 then
        refused = i
        if closed then
            status = 2
            retry = window > 0 and since + window - now or -1
        else
            status = 0
            retry = cost <= amount and leaves or -1
        end
    end
    standings[2 * i - 1], standings[2 * i] = used, leaves
end

if status == 1 then
    for i = 1, charges do
        local cost, window = tonumber(ARGV[5 * i - 2]), tonumber(ARGV[5 * i])
        if counted[i] == 1 and cost > 0 then
            standings[2 * i - 1] = standings[2 * i - 1] + cost
            redis.call('SET', KEYS[2 * i + 1], standings[2 * i - 1])
            if window > 0 then
                redis.call('ZADD', KEYS[2 * i], now, string.format('%.0f:%s', cost, ARGV[2]))
                if standings[2 * i] < 0 then
                    standings[2 * i] = window
                end
                local life = math.ceil(window / 1000) + 60000
                redis.call('PEXPIRE', KEYS[2 * i], life)
                redis.call('PEXPIRE', KEYS[2 * i + 1], life)
            end
        end
    end
end

local answer = {status, refused, retry, since}
for _, each in ipairs(standings) do
    answer[#answer + 1] = each
end
for _, each in ipairs(counted) do
    answer[#answer + 1] = each
end
return answer
