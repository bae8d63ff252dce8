#!lua flags=allow-oom
-- Moves expired batches to suspect. An element that stood alone in one is counted: only of such is
-- it certain that it took its worker down, or held it up.
--
-- KEYS  leases suspect crashes  batch keys, as an earlier call named them
-- ARGV  batch keys to name at most
-- Gives {elements moved, {batch key that has expired, ...}}: call again with these as KEYS, for a
-- script may touch only keys that it was given.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local moved = 0

for i = 4, #KEYS do
    local expiry = redis.call('ZSCORE', KEYS[1], KEYS[i])

    if expiry and tonumber(expiry) <= now then
        local elements = redis.call('LRANGE', KEYS[i], 0, -1)

        if #elements == 1 then
            redis.call('HINCRBY', KEYS[3], redis.sha1hex(elements[1]), 1)
        end
        for _, element in ipairs(elements) do
            redis.call('RPUSH', KEYS[2], element)
        end
        redis.call('UNLINK', KEYS[i])
        redis.call('ZREM', KEYS[1], KEYS[i])
        moved = moved + #elements
    end
end

return {moved, redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1])}
