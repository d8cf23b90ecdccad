-- Give back what was counted: KEYS are as in reserve.lua without the epoch, ARGV the cost of each charge and then the id of the entries.
-- What has left its window meanwhile is not taken off a second time.

for i = 1, #KEYS / 2 do
    local cost = tonumber(ARGV[2 * i - 1])
    local windowed = ARGV[2 * i] == '1'
    if not windowed or redis.call('ZREM', KEYS[2 * i - 1], string.format('%.0f:%s', cost, ARGV[#ARGV])) == 1 then
        redis.call('DECRBY', KEYS[2 * i], string.format('%.0f', cost))
    end
end
return 1
