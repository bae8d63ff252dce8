#!lua flags=allow-oom
-- Leases the next batch: control, else one suspect, else pending.
--
-- KEYS  control suspect pending  their batch keys, in this order  leases crashes popped
-- ARGV  lease in ms, elements at most, bytes at most, crashes that mark an element
-- Gives {list (1..3, 0: nothing there), marked (0, 1), {element, ...}}
--
-- When one of the batch keys exists the reply of an earlier call was lost: that batch is given
-- again, under a new lease.

local leases, crashes, popped = KEYS[7], KEYS[8], KEYS[9]

-- One by one: what is logged (and synced) of an LMOVE is two names, not the element.
local function take(list, batch, most, limit)
    local taken, bytes = {}, 0

    while #taken < most do
        local element = redis.call('LMOVE', list, batch, 'LEFT', 'RIGHT')
        if not element then
            break
        end
        if #taken > 0 and bytes + #element > limit then
            redis.call('LMOVE', batch, list, 'RIGHT', 'LEFT')
            break
        end
        bytes = bytes + #element
        taken[#taken + 1] = element
    end

    return taken
end

local function fetch()
    for i = 1, 3 do
        if redis.call('EXISTS', KEYS[3 + i]) == 1 then
            return i, redis.call('LRANGE', KEYS[3 + i], 0, -1)
        end
    end

    for i = 1, 3 do
        local most = i == 2 and 1 or tonumber(ARGV[2])
        local taken = take(KEYS[i], KEYS[3 + i], most, tonumber(ARGV[3]))
        if #taken > 0 then
            if i == 3 then
                redis.call('INCRBY', popped, #taken)
            end
            return i, taken
        end
    end

    return 0, {}
end

local list, elements = fetch()
if list == 0 then
    return {0, 0, elements}
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', leases, now + tonumber(ARGV[1]), KEYS[3 + list])

local marked = 0
if list == 2 then
    local times = redis.call('HGET', crashes, redis.sha1hex(elements[1]))
    if times and tonumber(times) >= tonumber(ARGV[4]) then
        marked = 1
    end
end

return {list, marked, elements}
