-- Many users look around: of ten requests six ask for the sale, two for the list of sales, one for the
-- shop's page and one for the user's own orders.
--
--   wrk -t2 -c64 -d20s --latency -s deploy/wrk/browse.lua http://127.0.0.1:8080 -- users.csv SALE
--
-- See README.md here.
local headgate = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "") .. "headgate.lua")

local lines, tokens, at, turn = {}, {}, 0, 0

function setup(thread) headgate.setup(thread) end

function init(args)
  local sale
  tokens, sale = headgate.init(args)
  sale = "/api/sales/" .. sale
  for i, path in ipairs { sale, sale, "/api/sales", sale, "/", sale, sale, "/api/sales", sale, "/api/orders" } do
    lines[i] = "GET " .. path .. " HTTP/1.1\r\nHost: " .. wrk.headers["Host"] .. "\r\nAuthorization: Bearer "
  end
end

-- A user makes the ten requests in turn, then comes the next.
function request()
  turn = turn % #lines + 1
  if turn == 1 then at = at % #tokens + 1 end
  return lines[turn] .. tokens[at] .. headgate.cookie(at) .. "\r\n\r\n"
end

function response(status, headers)
  headgate.count(status, headers)
  headgate.keep(at, headers)
end

function done(summary) headgate.done(summary) end
