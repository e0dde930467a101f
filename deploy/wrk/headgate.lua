-- What buy.lua and browse.lua share: users with tokens of their own, and a count of the answers.
--
-- wrk gives each thread a Lua state of its own. `setup` and `done` run in one more, of wrk itself, which
-- only sees what it asks a thread for.
local headgate = {}

local threads = {} -- of `setup` and `done`

-- fail ends wrk with a sentence instead of a stack trace; 2 as for wrong usage.
local function fail(format, ...)
  io.stderr:write("headgate: " .. string.format(format, ...) .. "\n")
  os.exit(2)
end

-- told reads a number of wrk's own options, which wrk does not tell its scripts; nil where /proc does not
-- say it.
local function told(short, long, default)
  local file = io.open("/proc/self/cmdline", "rb")
  if not file then return nil end
  local line = file:read("*a")
  file:close()
  local value, is_next = default, false
  for word in line:gmatch("([^%z]+)") do
    if word == "--" then break end
    if is_next then
      value, is_next = tonumber(word), false
    elseif word == "-" .. short or word == "--" .. long then
      is_next = true
    else
      value = tonumber(word:match("^%-" .. short .. "(%d+)$") or word:match("^%-%-" .. long .. "=(%d+)$")) or value
    end
  end
  return value
end

-- read_tokens gives the tokens of one thread: the lines that begin in the part `number` (from 0) of `count`
-- equal parts of the file, so that all threads together read it once.
local function read_tokens(path, number, count)
  local file, why = io.open(path, "r")
  if not file then
    fail("no token file: %s\n  write one with: bin/headgate token --users 100000 --out users.csv", why)
  end
  if (file:read("*l") or ""):gsub("\r$", "") ~= "user,token" then
    fail("%s: the first line is not `user,token`: is it a file of `headgate token`?", path)
  end
  local first = file:seek()
  local length = file:seek("end") - first
  local at, stop = first + math.floor(length * number / count), first + math.floor(length * (number + 1) / count)
  file:seek("set", at - 1) -- the end of the line before, or what is left of a line of the thread before
  at = at + #(file:read("*l") or "")
  local tokens = {}
  while at < stop do
    local line = file:read("*l")
    if not line then break end
    tokens[#tokens + 1] = line:match("^[^,]+,([%w_.-]+)\r?$") or fail("%s: the line at byte %d is not USER,TOKEN", path, at)
    at = at + #line + 1
  end
  file:close()
  if #tokens == 0 then fail("%s: too few users for %d threads", path, count) end
  return tokens
end

-- setup numbers the threads. To be called for each, by wrk's `setup`.
function headgate.setup(thread)
  thread:set("number", #threads)
  threads[#threads + 1] = thread
end

-- init reads wrk's arguments `users.csv SALE [threads=N]` and gives this thread's tokens and the sale.
function headgate.init(args)
  local path, sale, option = args[1], args[2], args[3]
  if not sale or args[4] or option and not option:match("^threads=%d+$") then
    fail("want the arguments: users.csv SALE [threads=N]")
  end
  if not sale:match("^[%w_.-]+$") then fail("%q is no id of a sale", sale) end
  local count = option and tonumber(option:match("%d+")) or told("t", "threads", 2) -- wrk's own default
  if not count then fail("the number of threads cannot be read here: say it after the sale as threads=N, as in -t") end
  if number >= count then fail("more threads than the %d told: threads=N has to be what -t says", count) end
  answers, expected, sent, with_cookie = {}, count, 0, 0
  lone = math.floor((told("c", "connections", 10) or 0) / count) == 1
  return read_tokens(path, number, count), sale
end

-- The cookie by which a balancer finds a user's own edge. wrk does not say to which request an answer
-- belongs; where each thread has one connection, it is the one before. So cookies are kept with -t equal to -c.
local cookies, lines = {}, {} -- by the user's place in the slice: a line; and each line once, by the cookie

-- cookie gives the line `Cookie: ...` to be sent for a user, "" where none is kept. To be called for each request.
function headgate.cookie(user)
  local line = cookies[user]
  sent = sent + 1
  if not line then return "" end
  with_cookie = with_cookie + 1
  return line
end

-- keep keeps the cookie that the answer to a user's request sets. To be called for each, by wrk's `response`.
function headgate.keep(user, headers)
  local pair = lone and headers["Set-Cookie"] and headers["Set-Cookie"]:match("^[^;]+")
  if not pair then return end
  lines[pair] = lines[pair] or "\r\nCookie: " .. pair
  cookies[user] = lines[pair]
end

-- count counts an answer by its status and Headgate's code. To be called for each, by wrk's `response`.
function headgate.count(status, headers)
  local code = headers["Headgate-Code"]
  local key = code and status .. " " .. code or tostring(status)
  answers[key] = (answers[key] or 0) + 1
end

-- done writes the table of answers, most frequent first. To be called by wrk's `done`.
function headgate.done(summary)
  local counts, order, total = {}, {}, 0
  for _, thread in ipairs(threads) do
    if thread:get("expected") ~= #threads then
      io.write(string.format("note: threads=%d was told and there are %d: some of the users were left out\n", thread:get("expected"), #threads))
      break
    end
  end
  for _, thread in ipairs(threads) do
    for key, count in pairs(thread:get("answers")) do
      if not counts[key] then order[#order + 1] = key end
      counts[key], total = (counts[key] or 0) + count, total + count
    end
  end
  table.sort(order, function(a, b) return counts[a] > counts[b] or counts[a] == counts[b] and a < b end)
  io.write(string.format("\n%-28s %10s %8s %12s\n", "answer", "count", "share", "a second"))
  for _, key in ipairs(order) do
    io.write(string.format("%-28s %10d %6.2f %% %12.1f\n", key, counts[key], 100 * counts[key] / total, counts[key] * 1e6 / summary.duration))
  end
  io.write(string.format("%-28s %10d %8s %12.1f\n", "all answers", total, "", total * 1e6 / summary.duration))
  local all, kept = 0, 0
  for _, thread in ipairs(threads) do
    all, kept = all + thread:get("sent"), kept + thread:get("with_cookie")
  end
  if threads[1]:get("lone") then
    io.write(string.format("sent with a cookie that an earlier answer to the same user had set: %.1f %%\n", 100 * kept / math.max(all, 1)))
  else
    io.write("cookies were not kept: that takes a thread for each connection, -t as large as -c\n")
  end
  local e = summary.errors
  io.write(string.format("no answer: connect %d, write %d, read %d; answered later than --timeout: %d\n", e.connect, e.write, e.read, e.timeout))
end

return headgate
