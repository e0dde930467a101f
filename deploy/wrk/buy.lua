-- Many users buy: each press is the next user's of the thread's slice of the file, round and round.
--
--   wrk -t2 -c64 -d20s --latency -s deploy/wrk/buy.lua http://127.0.0.1:8080 -- users.csv SALE
--
-- See README.md here.
local headgate = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "") .. "headgate.lua")

local head, tail, tokens, at = "", "", {}, 0

function setup(thread) headgate.setup(thread) end

function init(args)
  local sale
  tokens, sale = headgate.init(args)
  head = "POST /api/sales/" .. sale .. "/orders HTTP/1.1\r\nHost: " .. wrk.headers["Host"] .. "\r\nAuthorization: Bearer "
  tail = "\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"quantity\":1}"
end

function request()
  at = at % #tokens + 1
  return head .. tokens[at] .. headgate.cookie(at) .. tail
end

function response(status, headers)
  headgate.count(status, headers)
  headgate.keep(at, headers)
end

function done(summary) headgate.done(summary) end
