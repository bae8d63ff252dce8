#!lua flags=allow-oom
-- Starts the lease of a batch anew.
--
-- KEYS  batch leases
-- ARGV  lease in ms
-- Gives 1, or 0 when the lease has been taken away: the batch is no longer ours.

if not redis.call('ZSCORE', KEYS[2], KEYS[1]) then
    return 0
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[2], 'XX', now + tonumber(ARGV[1]), KEYS[1])

return 1
