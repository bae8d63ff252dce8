#!lua flags=allow-oom
-- Leases the next batch: control, else one suspect, else pending.
--
-- KEYS  control suspect pending  their batch keys, in this order  leases crashes popped
-- ARGV  lease in ms, elements at most, bytes at most, crashes that mark an element
-- Gives {list (1..3, 0: nothing there), marked (0, 1), {element, ...}, elements left in the list};
-- the elements of a batch of pending are left out: an LRANGE behind the script costs a fifth of what
-- passing them through Lua does.
--
-- When one of the batch keys exists the reply of an earlier call was lost: that batch is given
-- again, under a new lease.

local leases, crashes, popped = KEYS[7], KEYS[8], KEYS[9]
local FEW = 64 -- elements that are so large that passing each through Lua does not count

-- One by one, by what each element has.
local function take_singly(list, batch, most, limit)
    local count, bytes = 0, 0

    while count < most do
        local element = redis.call('LMOVE', list, batch, 'LEFT', 'RIGHT')
        if not element then
            break
        end
        bytes = bytes + #element
        if count > 0 and bytes > limit then
            redis.call('LMOVE', batch, list, 'RIGHT', 'LEFT')
            break
        end
        count = count + 1
    end

    return count
end

-- A SORT that does not sort is the one command that copies a piece of a list into another. What is
-- logged (and synced) of it is two names, not the elements.
local function take(list, batch, most, limit)
    local length = redis.call('LLEN', list)
    if length == 0 then
        return 0
    end

    -- Memory is more than the elements' own bytes (less, where the server compresses lists), and is
    -- told without reading them. That of the whole list is reckoned from its first nodes.
    local guess = redis.call('MEMORY', 'USAGE', list, 'SAMPLES', 64)
    local count = math.min(length, most, math.floor(length * limit / guess))
    if count < FEW and count < math.min(length, most) then
        return take_singly(list, batch, most, limit)
    end

    -- A script is not rolled back: what the server may refuse comes before the first write. There is
    -- no batch yet, so that this does nothing.
    redis.call('LTRIM', batch, 0, -1)
    redis.call('SORT', list, 'BY', 'nosort', 'LIMIT', 0, count, 'STORE', batch)
    if count > 1 and redis.call('MEMORY', 'USAGE', batch, 'SAMPLES', 0) > limit then
        redis.call('UNLINK', batch)
        return take_singly(list, batch, most, limit)
    end
    redis.call('LTRIM', list, count, -1)

    return count
end

local function fetch()
    for i = 1, 3 do
        if redis.call('LLEN', KEYS[3 + i]) > 0 then
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
    return {0, 0, {}, 0}
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', leases, now + tonumber(ARGV[1]), KEYS[3 + list])

local left = redis.call('LLEN', KEYS[list])
if list == 3 then
    return {3, 0, {}, left}
end

local elements = redis.call('LRANGE', KEYS[3 + list], 0, -1)
local marked = 0
if list == 2 then
    local times = redis.call('HGET', crashes, redis.sha1hex(elements[1]))
    if times and tonumber(times) >= tonumber(ARGV[4]) then
        marked = 1
    end
end

return {list, marked, elements, left}
