#!lua flags=allow-oom
-- Gives a batch back, unworked: its elements return to the head of the list that they came from,
-- in their order, and no crash is counted.
--
-- KEYS  batch leases list popped released
-- ARGV  1 when the list is pending, whose pops are counted, else 0
-- Gives 1, or 0 when the lease was no longer ours.

if redis.call('ZREM', KEYS[2], KEYS[1]) == 0 then
    return 0
end

local elements = redis.call('LRANGE', KEYS[1], 0, -1)
for i = #elements, 1, -1 do
    redis.call('LPUSH', KEYS[3], elements[i])
end
redis.call('UNLINK', KEYS[1])

if ARGV[1] == '1' then
    redis.call('DECRBY', KEYS[4], #elements)
end
redis.call('INCR', KEYS[5])

return 1
