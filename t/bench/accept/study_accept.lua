-- The accept path as one would write it in Lua inside nginx: the same checks, the same element,
-- the same answers as ngx_study_module, for the benchmark's comparison. HMAC through FFI from the
-- libcrypto that nginx has loaded anyway; Redis over lua-nginx-redis with its keep-alive pool.

local ffi = require "ffi"
local bit = require "bit"
local redis = require "nginx.redis"

ffi.cdef [[
typedef struct evp_md_st EVP_MD;
const EVP_MD *EVP_sha256(void);
unsigned char *HMAC(const EVP_MD *md, const void *key, int key_len, const unsigned char *data,
                    size_t len, unsigned char *out, unsigned int *out_len);
]]

local C = ffi.C
local sha256 = C.EVP_sha256()
local digest = ffi.new("unsigned char[32]")
local digest_len = ffi.new("unsigned int[1]")
local hex = {}
for i = 0, 255 do
    hex[i] = string.format("%02x", i)
end

local M = {}

local function read_secret(path)
    local file = assert(io.open(path, "rb"))
    local secret = file:read("*a"):gsub("%s+$", "")
    file:close()
    return secret
end

function M.configure(options)
    M.secret = read_secret(options.secret_file)
    M.socket = options.socket
    M.key = options.key
    M.tolerance = options.tolerance
end

local function signature(timestamp, body)
    local text = "v0:" .. timestamp .. ":" .. body
    local out = {}
    C.HMAC(sha256, M.secret, #M.secret, text, #text, digest, digest_len)
    for i = 0, 31 do
        out[i + 1] = hex[digest[i]]
    end
    return "v0=" .. table.concat(out)
end

local function equal(a, b)
    if #a ~= #b then
        return false
    end
    local difference = 0
    for i = 1, #a do
        difference = bit.bor(difference, bit.bxor(a:byte(i), b:byte(i)))
    end
    return difference == 0
end

local function json_string(value)
    return '"' .. value:gsub('[%c"\\\127-\255]', function(c)
        return string.format("\\u%04x", c:byte())
    end) .. '"'
end

local function body()
    ngx.req.read_body()
    local data = ngx.req.get_body_data()
    if data then
        return data
    end
    local path = ngx.req.get_body_file()
    if not path then
        return ""
    end
    local file = assert(io.open(path, "rb"))
    data = file:read("*a")
    file:close()
    return data
end

local function push(element)
    local client = redis:new()
    client:set_timeout(1500)
    if not client:connect(M.socket) then
        return false
    end
    local length = client:rpush(M.key, element)
    if type(length) ~= "number" then
        client:close()
        return false
    end
    client:set_keepalive(60000, 64)
    return true
end

function M.event()
    if ngx.req.get_method() ~= "POST" then
        ngx.header["Allow"] = "POST"
        return ngx.exit(405)
    end

    local raw = body()
    local headers = ngx.req.get_headers()
    local timestamp = headers["x-slack-request-timestamp"]
    local given = headers["x-slack-signature"]

    if type(timestamp) ~= "string" or type(given) ~= "string"
        or #timestamp > 11 or not timestamp:find("^%d+$")
        or math.abs(ngx.time() - tonumber(timestamp)) > M.tolerance
        or not equal(given, signature(timestamp, raw))
    then
        return ngx.exit(401)
    end

    if raw:find('"url_verification"', 1, true) then
        local challenge = raw:match('"challenge"%s*:%s*"([^"]*)"')
        if challenge then
            ngx.header["Content-Type"] = "text/plain"
            ngx.print(challenge)
            return
        end
    end

    local retry = headers["x-slack-retry-num"]
    local element = table.concat {
        '{"v":1,"kind":"event","received_at":', string.format("%d", ngx.now() * 1000),
        ',"retry_num":', tonumber(retry) and string.format("%d", retry) or "0",
        ',"retry_reason":', json_string(headers["x-slack-retry-reason"] or ""),
        ',"content_type":', json_string(headers["content-type"] or ""),
        ',"request_id":"', ngx.var.request_id, '","idempotency_key":""}\n', raw,
    }

    return ngx.exit(push(element) and 200 or 503)
end

return M
