#!lua flags=allow-oom
-- Tries every command of the other scripts, on keys of its own, which are gone at the end; and asks
-- for the right to write the append-only file anew, which forgetting a member needs.
--
-- KEYS  a list, a sorted set, a hash, a number: none of them there before
-- Gives {"COMMAND: error", ...} of those that were refused

local list, sorted, hash, number = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local refused = {}

local function try(command, ...)
    local answer = redis.pcall(command, ...)

    if type(answer) == 'table' and answer.err then
        refused[#refused + 1] = command .. ': ' .. answer.err
    end
end

try('RPUSH', list, 'x')
try('LPUSH', list, 'x')
try('LLEN', list)
try('LINDEX', list, 0)
try('LRANGE', list, 0, -1)
try('LMOVE', list, list, 'LEFT', 'RIGHT')
try('LTRIM', list, 0, -1)
try('SORT', list, 'BY', 'nosort', 'STORE', list)
try('MEMORY', 'USAGE', list)
try('EXISTS', list)
try('ZADD', sorted, 1, 'x')
try('ZSCORE', sorted, 'x')
try('ZCARD', sorted)
try('ZRANGE', sorted, 0, 0)
try('ZREM', sorted, 'x')
try('HINCRBY', hash, 'x', 1)
try('HGET', hash, 'x')
try('HDEL', hash, 'x')
try('INCR', number)
try('INCRBY', number, 1)
try('DECRBY', number, 1)
try('GET', number)
try('TIME')
try('UNLINK', list, sorted, hash, number)
if not redis.acl_check_cmd('BGREWRITEAOF') then
    refused[#refused + 1] = 'BGREWRITEAOF: without it no member can be forgotten'
end

return refused
