#!lua flags=no-writes,allow-oom
-- One look at how far the list has been worked off.
--
-- KEYS  popped released pending suspect leases
-- ARGV  leases to name at most
-- Gives {popped, released, LLEN pending, LLEN suspect, ZCARD leases, {batch key, ...}}

return {
    tonumber(redis.call('GET', KEYS[1]) or 0),
    tonumber(redis.call('GET', KEYS[2]) or 0),
    redis.call('LLEN', KEYS[3]),
    redis.call('LLEN', KEYS[4]),
    redis.call('ZCARD', KEYS[5]),
    redis.call('ZRANGE', KEYS[5], 0, ARGV[1] - 1),
}
