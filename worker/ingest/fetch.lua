#!lua flags=allow-oom
-- Leases the next batch: control, else one suspect, else pending.
--
-- KEYS  control suspect pending  their batch keys, in this order  leases crashes popped
-- ARGV  lease in ms, elements at most, bytes at most, crashes that mark an element
-- Gives {list (1..3, 0: nothing there), marked (0, 1), {element, ...}}; the elements of a batch of
-- pending are left out: an LRANGE behind the script costs a fifth of what passing them through Lua
-- does.
--
-- When one of the batch keys exists the reply of an earlier call was lost: that batch is given
-- again, under a new lease.

local leases, crashes, popped = KEYS[7], KEYS[8], KEYS[9]

-- A SORT that does not sort is the one command that copies a piece of a list into another. What is
-- logged (and synced) of it is two names, not the elements.
local function take(list, batch, most, limit)
    local count = math.min(redis.call('LLEN', list), most)

    while count > 0 do
        redis.call('SORT', list, 'BY', 'nosort', 'LIMIT', 0, count, 'STORE', batch)
        -- Somewhat more than the elements' own bytes, and told without reading them.
        local bytes = redis.call('MEMORY', 'USAGE', batch, 'SAMPLES', 0)
        if count == 1 or bytes <= limit then
            redis.call('LTRIM', list, count, -1)
            break
        end
        count = math.max(1, math.floor(0.9 * count * limit / bytes))
    end

    return count
end

local function fetch()
    for i = 1, 3 do
        if redis.call('EXISTS', KEYS[3 + i]) == 1 then
            return i
        end
    end

    for i = 1, 3 do
        local most = i == 2 and 1 or tonumber(ARGV[2])
        local count = take(KEYS[i], KEYS[3 + i], most, tonumber(ARGV[3]))
        if count > 0 then
            if i == 3 then
                redis.call('INCRBY', popped, count)
            end
            return i
        end
    end

    return 0
end

local list = fetch()
if list == 0 then
    return {0, 0, {}}
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', leases, now + tonumber(ARGV[1]), KEYS[3 + list])

if list == 3 then
    return {3, 0, {}}
end

local elements = redis.call('LRANGE', KEYS[3 + list], 0, -1)
local marked = 0
if list == 2 then
    local times = redis.call('HGET', crashes, redis.sha1hex(elements[1]))
    if times and tonumber(times) >= tonumber(ARGV[4]) then
        marked = 1
    end
end

return {list, marked, elements}
