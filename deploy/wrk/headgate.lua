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

-- thread_count reads wrk's own -t, which wrk does not tell its scripts.
local function thread_count()
  local file = io.open("/proc/self/cmdline", "rb")
  if not file then return nil end
  local line = file:read("*a")
  file:close()
  local count, next_is_count = 2, false -- wrk's own default
  for word in line:gmatch("([^%z]+)") do
    if word == "--" then break end
    if next_is_count then
      count, next_is_count = tonumber(word), false
    elseif word == "-t" or word == "--threads" then
      next_is_count = true
    else
      count = tonumber(word:match("^%-t(%d+)$") or word:match("^%-%-threads=(%d+)$")) or count
    end
  end
  return count
end

-- read_tokens gives every `count`-th token, beginning with the one at `number` (from 0): the slice of one
-- thread.
local function read_tokens(path, number, count)
  local file, why = io.open(path, "r")
  if not file then
    fail("no token file: %s\n  write one with: bin/headgate token --users 100000 --out users.csv", why)
  end
  if (file:read("*l") or ""):gsub("\r$", "") ~= "user,token" then
    fail("%s: the first line is not `user,token`: is it a file of `headgate token`?", path)
  end
  local tokens, at = {}, 0
  for line in file:lines() do
    if at % count == number then
      local token = line:match("^[^,]+,([%w_.-]+)\r?$") or fail("%s: line %d is not USER,TOKEN", path, at + 2)
      tokens[#tokens + 1] = token
    end
    at = at + 1
  end
  file:close()
  if #tokens == 0 then fail("%s: %d users are too few for %d threads", path, at, count) end
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
  local count = option and tonumber(option:match("%d+")) or thread_count()
  if not count then fail("the number of threads cannot be read here: say it after the sale as threads=N, as in -t") end
  if number >= count then fail("more threads than the %d told: threads=N has to be what -t says", count) end
  answers, expected = {}, count
  return read_tokens(path, number, count), sale
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
  local e = summary.errors
  io.write(string.format("no answer: connect %d, write %d, read %d; answered later than --timeout: %d\n", e.connect, e.write, e.read, e.timeout))
end

return headgate
