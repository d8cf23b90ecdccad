-- Leave a decision about an approval: KEYS[1] is the approval, [2] those that are pending; ARGV its id, the decision, the channel.
-- Answers the decision that counts, or nothing where there is no such approval. Whoever is first decides.

if redis.call('EXISTS', KEYS[1]) == 0 then
    return false
end
if redis.call('HSETNX', KEYS[1], 'decision', ARGV[2]) == 1 then
    redis.call('ZREM', KEYS[2], ARGV[1])
    redis.call('PUBLISH', ARGV[3], ARGV[1])
end
return redis.call('HGET', KEYS[1], 'decision')
