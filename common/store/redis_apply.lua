-- Reads and checks everything before the first write: a script that fails is not rolled back. What
-- refuses the first write (a replica, a server that cannot save or has no memory to spare) is
-- reported as it is; a later write that fails all the same is reported as PARTIAL. Values are text:
-- Lua's numbers are doubles, exact to 2^53.
--
-- In this order: the session, which may know the answer already; the operations, with the counters
-- that they name; the keys; the windows; the counters that have ended; sums; what each operation
-- makes of its counter; the answer; and the writing.
local prefix = ARGV[1]
local session = prefix .. 's:' .. ARGV[2]
local sequence = tonumber(ARGV[3])  -- 0: nothing here changes anything
local now = ARGV[4]
local max_keys = tonumber(ARGV[5])
local windows = ARGV[6]
local least_left = tonumber(ARGV[7])  -- of the session's lifetime: with less, it is too late
local acknowledged = tonumber(ARGV[8])  -- the latest number whose outcomes have arrived there
local batch = ARGV[9]  -- what no other batch is called, whatever its number
local FIRST_OPERATION = 10
local lost = ''  -- what the answer begins with if what had that number is no longer known here

-- What lacks this is older than 6.0: it would write all but the session, whose end it cannot keep.
if not redis.setresp then return redis.error_reply('ERR Redis 6.0 or later is needed') end

if sequence > 0 then
  local latest = redis.call('GET', session)
  local number, known_batch, outcomes = (latest or '0\n'):match('^(%d+) ?(%S*)\n(.*)$')
  number = tonumber(number)
  if number == sequence and known_batch == batch then return outcomes end
  if number >= sequence then return redis.error_reply('STALE batch ' .. ARGV[3]) end
  local late = latest and redis.call('PTTL', session) < least_left
  if not latest or late and number < acknowledged then
    return redis.error_reply('FORGOTTEN whether this batch was applied: ' ..
      'the data was emptied, or the clock set forward')
  end
  if late then
    return redis.error_reply('LATE batch ' .. ARGV[3] .. ': it was held up, or the clock set forward')
  end
  if number < acknowledged then lost = 'lost\n' end
end

-- A stored value in its canonical form (people may have written 007); nothing: it is not one.
local function counter_value(text)
  local sign, digits = text:match('^(%-?)0*(%d+)$')
  if not digits or #digits > 19 then return nil end
  local most = sign == '' and '9223372036854775807' or '9223372036854775808'
  if #digits == 19 and digits > most then return nil end
  return digits == '0' and digits or sign .. digits
end

-- Whether the text is milliseconds since 1970; people may have written something else.
local function is_time(text)
  return #text < 19 and text:find('^%d+$')
end

-- Whether counters that have ended are looked for although nothing here has an end: now and then.
local sweeps = sequence % 16 == 1

-- If it is no sorted set, this fails here, before the first write.
redis.call('ZCARD', prefix .. 'names')

-- The operations, as redis_batch.h describes them, and the counters that they name.
local steps = {}
local rows = {}
local corrupt_names = {}  -- of counters in whose place somebody has written what is no number
local keyed = false     -- whether any has a key
local lifetimes = 0     -- how many set an end
local has_ends = false  -- whether any of the counters has one
local at = FIRST_OPERATION
while at <= #ARGV do
  local kind, name, operand = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local step = { kind = kind:lower(), name = name, operand = operand, conditions = '',
                 at = #steps + 1 }
  if step.kind == 'b' or step.kind == 'q' then
    step.conditions, at = ' ' .. ARGV[at + 3], at + 1
    local initial, min, max, mode, rest = step.conditions:match('^ (%S+) (%S+) (%S+) (%S)(.*)$')
    local ttl, when = rest:match('^ (%d+) (%S)$')
    step.initial, step.clamp = initial, mode == 'c'
    step.ttl, step.renew = tonumber(ttl), when == 'r'
    step.window = rest:match('^ (%a+ %S+)$')
    lifetimes = lifetimes + (rest ~= '' and 1 or 0)
    step.min, step.max = min ~= '-' and min, max ~= '-' and max
  elseif step.kind == 'e' or step.kind == 'a' then
    step.size = tonumber(operand)
    if kind ~= step.kind then
      step.conditions, at = ' ' .. ARGV[at + 3], at + 1
    end
  end
  if kind ~= step.kind then
    step.count = 1
    step.key, step.lifetime = prefix .. 'k:' .. name .. '/' .. ARGV[at + 3], ARGV[at + 4]
    keyed, at = true, at + 5
  else
    step.count = tonumber(ARGV[at + 3])
    at = at + 4
  end
  steps[#steps + 1] = step
  if not step.size and not rows[name] and not corrupt_names[name] then
    local key = prefix .. 'c:' .. name
    local fields = redis.pcall('HMGET', key, 'v', 'c', 'u', 'e', 'w')
    local is_other_type = fields.err and fields.err:find('^WRONGTYPE')
    if fields.err and not is_other_type then return redis.error_reply(fields.err) end
    local value = fields[1] and counter_value(fields[1])
    if is_other_type or fields[1] and not value then
      corrupt_names[name] = true
    else
      rows[name] = { key = key, stored = value and true, changed = false, value = value,
                     created = fields[2] or now, stored_created = fields[2],
                     updated = fields[3] or now, ends = fields[4], stored_ends = fields[4],
                     window = fields[5], stored_window = fields[5] }
      has_ends = has_ends or fields[4]
    end
  end
end

-- The keys by the time of their end: an index that serves only to count them, since each key ends by
-- itself. More of those that have ended are removed from it than this batch can add.
local key_index = prefix .. 'keys'
local clock = 0
local known = 0      -- how many keys there are
local kept = {}      -- what is kept under those of this batch, by key
local new_keys = {}  -- its steps that have them
local ended_keys = {}
if keyed or lifetimes > 0 or has_ends or sweeps then
  local time = redis.call('TIME')
  clock = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
if keyed then
  known = redis.call('ZCARD', key_index) - redis.call('ZCOUNT', key_index, '-inf', clock)
  ended_keys = redis.call('ZRANGEBYSCORE', key_index, '-inf', clock, 'LIMIT', 0, 2 * #steps + 16)
end

-- Redis keeps a counter for the whole millisecond that it ends in, in which it is missing here.
for _, row in pairs(has_ends and rows or {}) do
  if row.ends and is_time(row.ends) and tonumber(row.ends) <= clock then row.value = nil end
end

-- The end of each window that the server is in, by its own clock; nothing: that clock is too far
-- from the one of whoever has sent the batch.
local window_ends = {}
for line in windows:gmatch('[^\n]+') do
  local times, window = line:match('^([%d ]+) (%a+ %S+)$')
  local begun
  for moment in times:gmatch('%d+') do
    if tonumber(moment) > clock then
      window_ends[window] = begun and moment
      break
    end
    begun = true
  end
end

-- Whether a time of its counter that the step would tell is none: somebody has written it.
local function lacks_times(step)
  local row = rows[step.name]
  if not row or not row.value then return false end
  local has_end = not row.ends or is_time(row.ends)
  if step.kind == 'r' then return not (is_time(row.created) and is_time(row.updated) and has_end) end
  return step.window and not has_end
end

-- The letter of why nothing of the step is applied, or kept under its key: a counter of it or of one
-- of its members is corrupt, or the end of a window is not known. Nothing: it can be applied.
local function refusal_of_all(step)
  -- Nearly always: a change of one counter, of which no time is told.
  local tells_no_time = windows == '' and not step.size and step.kind ~= 'r'
  if tells_no_time and not next(corrupt_names) then return nil end
  for i = step.at, step.at + (step.size or 0) do
    if corrupt_names[steps[i].name] or lacks_times(steps[i]) then return 'v' end
    local window = steps[i].window
    if window and not window_ends[window] then return 'c' end
  end
  return nil
end

-- Names of counters that have ended are removed: more of them than this batch can add.
local end_index = prefix .. 'ends'
local ended = {}
local is_there = {}  -- those of them that were made again without an end
if sequence > 0 and (lifetimes > 0 or has_ends or sweeps) then
  local most = 2 * lifetimes + (sweeps and 100 or 16)
  local due = redis.call('ZRANGEBYSCORE', end_index, '-inf', '(' .. clock, 'LIMIT', 0, most)
  for _, name in ipairs(due) do
    -- An error (somebody has put another type there) leaves it to those who ask for the counter.
    if not redis.pcall('HGET', prefix .. 'c:' .. name, 'e') then
      ended[#ended + 1] = name
      is_there[name] = redis.call('EXISTS', prefix .. 'c:' .. name) == 1
    end
  end
end

-- A number as billions and the rest, both with its sign.
local BILLION = 1000000000
local function halves(text)
  local sign, digits = text:match('^(%-?)(%d+)$')
  local factor = sign == '-' and -1 or 1
  return factor * (tonumber(digits:sub(1, -10)) or 0), factor * tonumber(digits:sub(-9))
end

-- The sum; nothing: it is beyond 64 bits.
local function add(a, b)
  local high, low = halves(a)
  local b_high, b_low = halves(b)
  high, low = high + b_high, low + b_low
  local sign = (high < 0 or high == 0 and low < 0) and '-' or ''
  if sign == '-' then high, low = -high, -low end
  local carry = math.floor(low / BILLION)
  return counter_value(sign .. string.format('%.0f%09.0f', high + carry, low - carry * BILLION))
end

-- Adds up to `count` times; returns how often it could, and the sum.
local EXACT = 9007199254740992
local function add_all(value, delta, count)
  local a, b = tonumber(value), tonumber(delta) * count
  if math.abs(a) < EXACT and math.abs(b) < EXACT and math.abs(a + b) < EXACT then
    return count, string.format('%.0f', a + b)
  end
  -- If the last sum fits, so does every one before it.
  local last = math.abs(b) < EXACT and add(value, string.format('%.0f', b))
  if last then return count, last end
  for done = 0, count - 1 do
    local sum = add(value, delta)
    if not sum then return done, value end
    value = sum
  end
  return count, value
end

-- Whether a < b. If doubles cannot tell them apart, both have the same sign, and the digits decide.
local function below(a, b)
  local x, y = tonumber(a), tonumber(b)
  if x ~= y then return x < y end
  if x < 0 then a, b = b, a end
  if #a ~= #b then return #a < #b end
  return a < b
end

local function least(a, b) return below(b, a) and b or a end
local function greatest(a, b) return below(a, b) and b or a end

local function fits(sum, step)
  return not (step.max and below(step.max, sum) or step.min and below(sum, step.min))
end

-- What add_within() of operation.h says: the new value, or nothing and the letter of its code.
local function add_within(value, step)
  local done, sum = add_all(value, step.operand, 1)
  if done == 0 then sum = nil end  -- beyond 64 bits, on the side of the operand
  if sum and not step.min and not step.max then return sum end
  local up = tonumber(step.operand) > 0
  if step.clamp then
    if up and step.max then
      local most = greatest(value, step.max)
      return sum and least(sum, most) or most
    elseif not up and step.min then
      local fewest = least(value, step.min)
      return sum and greatest(sum, fewest) or fewest
    end
  elseif sum then
    if not fits(sum, step) then return nil, 'b' end
  elseif up and step.max or not up and step.min then
    return nil, 'b'
  end
  return sum, 'o'
end

-- Adds up to step.count times; returns how often it could, the sum, and what stopped it (a letter).
local function add_all_within(value, step)
  local sum, why = add_within(value, step)
  if not sum then return 0, value, why end
  if step.count == 1 then return 1, sum end
  -- If the first and the last sum are within the bounds, so is every one in between.
  local more, last = add_all(sum, step.operand, step.count - 1)
  if more == step.count - 1 and fits(last, step) then return step.count, last end
  local done = 0
  repeat
    value, done = sum, done + 1
    sum, why = add_within(value, step)
  until not sum
  return done, value, why
end

local function set(row, value, step)
  local fresh = not row.value
  if fresh then row.created, row.ends, row.window = now, false, false end
  row.value, row.updated, row.changed = value, now, true
  if step.ttl and (fresh or step.renew) then row.ends = string.format('%.0f', clock + step.ttl) end
  if step.window and fresh then row.ends, row.window = window_ends[step.window], step.window end
end

-- Whether the counter has a window that the step would take from it, or lacks the step's.
local function has_other_window(row, step)
  if not row.value then return false end
  if step.window then return row.window ~= step.window end
  return step.renew and row.window
end

-- As counter.cc does: each returns the letter of the code, the value, the value before or '-' (for a
-- run of increments, how many were applied), and whether all of the run was applied.
local function check(row, step)
  local value = row.value or step.initial
  local sum, why = add_within(value, step)
  if not sum then return why, value, '-', false end
  return 'k', value, '-', true
end

local function increment(row, step)
  local before = row.value or step.initial or '0'
  local done, value, why = add_all_within(before, step)
  if done > 0 then set(row, value, step) end
  if step.count > 1 then return 'n', value, done, done == step.count end
  if done == 0 then return why, value, '-', false end
  return 'k', value, step.clamp and before or '-', true
end

local function reset(row, step)
  local previous = row.value or '-'
  set(row, step.operand, step)
  return 'k', step.operand, previous, true
end

local function remove(row)
  local value = row.value
  row.value, row.changed = false, true
  return 'k', value, value, true
end

local function apply_to(row, step)
  if step.kind == 'q' then return check(row, step) end
  if step.kind == 'i' or step.kind == 'b' then return increment(row, step) end
  if step.kind == 's' or step.kind == 't' and row.value then return reset(row, step) end
  if not row.value then return 'm', '0', '-', false end
  if step.kind == 'd' then return remove(row) end
  return 'k', row.value, '-', true
end

-- The times that are told of the counter as the step has left it.
local function times_of(row, step)
  if step.kind == 'r' and row.value then
    return row.created .. ' ' .. row.updated .. ' ' .. (row.ends or '0')
  elseif step.window then
    return '0 ' .. string.format('%.0f', clock) .. ' ' ..
      (row.value and row.ends or window_ends[step.window])
  end
  return '0 0 0'
end

-- What redis_batch.h reads, the letter and the rest of the line; and whether all of it was applied.
local function apply(step)
  local row = rows[step.name]
  if (step.kind == 'b' or step.kind == 'q') and has_other_window(row, step) then
    -- It may have been written by hand: a line end would begin another outcome.
    local window = (row.window or ''):gsub('%c', '?')
    return 'w', row.value .. ' - 0 0 0 ' .. window, false
  end
  local code, value, previous, whole = apply_to(row, step)
  return code, value .. ' ' .. previous .. ' ' .. times_of(row, step), whole
end

-- What is reported of a step, and of a group's members, if nothing was applied.
local function nothing(step)
  return '0 - 0 0 0' .. ('\nm 0 - 0 0 0'):rep(step.size or 0)
end

-- The same for a group: its own line, then those of its members, which show what was refused.
local function apply_group(group)
  local lines, before, refused = { '0 - 0 0 0' }, {}, false
  for i = group.at + 1, group.at + group.size do
    local step = steps[i]
    if group.kind == 'a' and not before[step.name] then
      local copy = {}
      for field, value in pairs(rows[step.name]) do copy[field] = value end
      before[step.name] = copy
    end
    local code, rest, whole = apply(step)
    lines[#lines + 1] = code .. ' ' .. rest
    refused = refused or not whole
  end
  if group.kind == 'e' or not refused then return 'k', table.concat(lines, '\n'), true end
  for name, row in pairs(before) do rows[name] = row end
  return 'k', table.concat(lines, '\n'), false
end

-- The same for what was not applied before.
local function apply_new(step)
  local refused = refusal_of_all(step)
  if refused then return refused, nothing(step), false end
  return (step.size and apply_group or apply)(step)
end

local function apply_once(step)
  local before = kept[step.key] or redis.call('GET', step.key)
  local same = step.kind .. ' ' .. step.operand .. step.conditions
  if before then
    local known_as, rest = before:match('^([^\n]*)\n(.*)$')
    if known_as ~= same then return 'x', nothing(step) end
    return 'r', rest
  end
  if known >= max_keys then return 'f', nothing(step) end
  local code, rest, whole = apply_new(step)
  if whole then
    known = known + 1
    kept[step.key] = same .. '\n' .. rest
    new_keys[#new_keys + 1] = step
  end
  return code, rest
end

local outcomes, at = {}, 1
while at <= #steps do
  local step = steps[at]
  local code, rest = (step.key and apply_once or apply_new)(step)
  outcomes[#outcomes + 1] = code .. ' ' .. rest .. '\n'
  at = at + 1 + (step.size or 0)
end
local answer = lost .. table.concat(outcomes)

-- These give `run` what is to be written, one command after another. What is added comes before what
-- is removed: a server that has no memory to spare refuses only the first write of a script, and only
-- one that may need memory.
local function add_to_lists(run)
  for name, row in pairs(rows) do
    local ends = row.value and row.ends
    if row.value and not row.stored then run('ZADD', prefix .. 'names', 0, name) end
    if ends and ends ~= row.stored_ends then run('ZADD', end_index, ends, name) end
  end
  for _, step in ipairs(new_keys) do
    run('ZADD', key_index, clock + tonumber(step.lifetime), step.key)
  end
end
local function remove_from_lists(run)
  local names = prefix .. 'names'
  for name, row in pairs(rows) do
    if row.changed and row.stored and not row.value then run('ZREM', names, name) end
    if row.changed and row.stored_ends and not (row.value and row.ends) then
      run('ZREM', end_index, name)
    end
  end
  for _, name in ipairs(ended) do
    local row = rows[name] or { value = is_there[name] }
    if not row.value then run('ZREM', names, name) end
    if not row.ends then run('ZREM', end_index, name) end
  end
  local gone = {}
  for _, key in ipairs(ended_keys) do
    if not kept[key] then gone[#gone + 1] = key end  -- else it is one that was kept just now, again
  end
  if #gone > 0 then run('ZREM', key_index, unpack(gone)) end
end
local function write_end(run, row)
  if row.window then
    run('HSET', row.key, 'w', row.window)
  elseif row.stored_window then
    run('HDEL', row.key, 'w')
  end
  if row.ends then
    run('HSET', row.key, 'e', row.ends)
    run('PEXPIREAT', row.key, row.ends)  -- last: it may end now
  else
    run('HDEL', row.key, 'e')
    run('PERSIST', row.key)
  end
end
local function write_counter(run, row)
  if row.created == row.stored_created then
    run('HSET', row.key, 'v', row.value, 'u', row.updated)
  else
    run('HSET', row.key, 'v', row.value, 'c', row.created, 'u', row.updated)
  end
  if row.ends ~= row.stored_ends or row.window ~= row.stored_window then write_end(run, row) end
end
local function each_write(run)
  add_to_lists(run)
  for _, row in pairs(rows) do
    if row.changed and row.value then write_counter(run, row) end
  end
  for _, step in ipairs(new_keys) do
    run('SET', step.key, kept[step.key], 'PX', step.lifetime)
  end
  remove_from_lists(run)
  for _, row in pairs(rows) do
    if row.changed and row.stored and not row.value then run('DEL', row.key) end
  end
  -- Its end stays the same: how long it has still to live tells how late a copy comes.
  if sequence > 0 then
    run('SET', session, ARGV[3] .. ' ' .. batch .. '\n' .. answer, 'KEEPTTL')
  end
end

-- What the server said when it refused a command; Redis 6 puts a place in this script before it, and
-- the end of a line after it.
local function words_of(failure)
  local text = type(failure) == 'table' and failure.err or tostring(failure)
  return (text:gsub('^%S*: %-?%d+: %-?', ''):gsub('%s+$', ''))
end

-- If the user lacks a permission, all is refused before anything is done. These return the refusal of
-- a command: Redis 7 is asked for it.
local function asked(...)
  if redis.acl_check_cmd(...) then return nil end
  return 'NOPERM the user has no permissions to run ' .. (...) ..
    ' on all keys that begin with ' .. prefix
end

-- Redis 6 cannot be asked. There, each command is tried once in a form that changes nothing, on a key
-- that is not there; to the other keys the user has access, because all of them have been read.
local function by_trial()
  local trials = {
    ZADD = { 'XX', '0', '' }, ZREM = { '' }, HDEL = { 'v' }, PERSIST = {}, PEXPIREAT = { '1' },
    DEL = {}, SET = { '', 'XX' },
    HSET = { 'v', '0', 'u' }  -- has no such form: where it is allowed, an argument is missing
  }
  return function(command)
    local trial = trials[command]
    if trial == false then return nil end
    trials[command] = false
    local done, failure = pcall(redis.call, command, session .. ':none', unpack(trial))
    local words = not done and words_of(failure)
    if not words or words:find('^ERR wrong number') then return nil end
    return words .. ' (' .. command .. ')'
  end
end

local refusal_of = redis.acl_check_cmd and asked or by_trial()
local refused
each_write(function(...) refused = refused or refusal_of(...) end)
if refused then return redis.error_reply(refused) end

local done = 0
local written, failure = pcall(each_write, function(...)
  redis.call(...)
  done = done + 1
end)
if written then return answer end
return redis.error_reply((done == 0 and '' or 'PARTIAL ') .. words_of(failure))
