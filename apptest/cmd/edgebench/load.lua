-- Presses with one token after the other. Arguments: a file with the request up to the token, one with
-- what follows it, and the tokens' files, one a thread, with a token on each line; and "once" where no
-- token may be used twice: the load then ends with the tokens.
local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local requests, at, nextToken, head, tail = {}, 0, nil, "", ""

function init(args)
  head, tail = read(args[1]), read(args[2])
  local lines = io.lines(args[4 + number])
  if args[3] == "once" then
    nextToken = lines
    return
  end
  for token in lines do
    requests[#requests + 1] = head .. token .. tail
  end
end

function request()
  if nextToken then
    local token = nextToken()
    if token then
      return head .. token .. tail
    end
    nextToken = function() end
    wrk.thread:stop()
    return head .. tail
  end
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("SUMMARY %d %d %d %d\n", summary.requests, summary.duration, e.status,
    e.connect + e.read + e.write + e.timeout))
end
