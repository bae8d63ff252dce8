#!lua flags=allow-oom
-- Ends a batch whose work is committed.
--
-- KEYS  batch leases crashes
-- Gives 1 when the lease was still ours, else 0: then the elements have gone to suspect, and are
-- applied again without effect.

if redis.call('ZREM', KEYS[2], KEYS[1]) == 0 then
    return 0
end

-- Only an element that stood alone can have been counted.
if redis.call('LLEN', KEYS[1]) == 1 and redis.call('EXISTS', KEYS[3]) == 1 then
    redis.call('HDEL', KEYS[3], redis.sha1hex(redis.call('LINDEX', KEYS[1], 0)))
end
redis.call('UNLINK', KEYS[1])

return 1
