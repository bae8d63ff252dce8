#!lua flags=no-writes,allow-oom
-- Who holds what, and what may have taken a worker down.
--
-- KEYS  leases crashes suspect  batch keys, as an earlier call named them
-- ARGV  batch keys to name at most, suspects to look at at most
-- Gives {now in ms, {batch key, expiry, ...}, {elements, crashes of a batch of one, ...} of the batch
-- keys that were given, {suspects that crashed, highest count}}

local function crashes_of(element)
    return tonumber(redis.call('HGET', KEYS[2], redis.sha1hex(element)) or 0)
end

local time = redis.call('TIME')
local batches = {}
for i = 4, #KEYS do
    local length = redis.call('LLEN', KEYS[i])

    batches[#batches + 1] = length
    batches[#batches + 1] = length == 1 and crashes_of(redis.call('LINDEX', KEYS[i], 0)) or 0
end

local suspects, highest = 0, 0
for _, element in ipairs(redis.call('LRANGE', KEYS[3], 0, ARGV[2] - 1)) do
    local times = crashes_of(element)

    suspects = suspects + (times > 0 and 1 or 0)
    highest = math.max(highest, times)
end

return {
    time[1] * 1000 + math.floor(time[2] / 1000),
    redis.call('ZRANGE', KEYS[1], 0, ARGV[1] - 1, 'WITHSCORES'),
    batches,
    {suspects, highest},
}
