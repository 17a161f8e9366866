// The redis engine: one script call, so one round trip and one atomic step, for each batch.
//
// A batch that was sent when its connection was lost may have been applied, or may still be:
// asking on another connection first says "no", and then it is applied. So the identical batch is
// sent again under the same id, and the script answers what it answered before, or applies it now.
// An id is a session (this Store) and a sequence number: the server keeps the latest outcomes of
// each session, one key however many batches, and refuses an older number, so that a copy that was
// stuck on the way cannot be applied late.
//
// Keys, each behind the prefix: "c:NAME", a hash of v (value), c (created at), u (updated at) and,
// of one that has an end, e (all Unix ms), when Redis itself deletes it, and perhaps w (its
// window); "names", a sorted set of all names; "ends", of those with an end, by it; "s:SESSION",
// the latest number and outcomes; "k:NAME/KEY", of a group "k:/KEY", what was applied under an
// idempotency key and its outcome; "keys", the sorted set of those by the time of their end.
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <thread>

#include "common/json.h"
#include "common/limits.h"
#include "common/number.h"
#include "common/store/engines.h"
#include "common/store/outcome_text.h"
#include "common/store/redis_batch.h"
#include "common/wait_ready.h"

namespace counterd {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// How long the server knows the latest batch of a session.
constexpr milliseconds kSessionLifetime = 4 * kMaxStoreTimeout;

// How far apart the server's clock and ours may be where windows of the calendar are counted.
constexpr std::chrono::minutes kMaxClockDifference{1};

// How often a batch is sent, at least, before its outcome is unknown.
constexpr int kAttempts = 4;

constexpr milliseconds kFirstPause{5};
constexpr milliseconds kLongestPause{100};

// Reads and checks everything before the first write: a script that fails does not roll back. What
// refuses the first write (a replica, a server that cannot save, a user who may not use the
// command) is told as it is; a later write that fails all the same is told as PARTIAL. Lua's
// numbers are doubles, exact to 2^53; beyond that the server's own INCRBY adds.
constexpr std::string_view kApplyScript = R"lua(
local prefix, session, sequence, session_lifetime, now, max_keys =
  ARGV[1], ARGV[1] .. 's:' .. ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], tonumber(ARGV[6])
if sequence > 0 then
  local latest = redis.call('GET', session)
  if latest then
    local number, outcomes = latest:match('^(%d+)\n(.*)$')
    number = tonumber(number)
    if number == sequence then return outcomes end
    if number > sequence then return redis.error_reply('STALE batch ' .. ARGV[3]) end
  end
end

-- A stored value in its one form (people may have written 007); nothing: it is none.
local function counter_value(text)
  local sign, digits = text:match('^(%-?)0*(%d+)$')
  if not digits or #digits > 19 then return nil end
  if #digits == 19 and digits > '922337203685477580' .. (sign == '' and '7' or '8') then return nil end
  return digits == '0' and digits or sign .. digits
end

-- The operations, as redis_batch.h tells.
local steps, rows, keyed, lifetimes, has_ends = {}, {}, false, 0, false
redis.call('ZCARD', prefix .. 'names')
local at = 8
while at <= #ARGV do
  local kind, name, operand = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local step = { kind = kind:lower(), name = name, operand = operand, conditions = '', at = #steps + 1 }
  if step.kind == 'b' or step.kind == 'q' then
    step.conditions, at = ' ' .. ARGV[at + 3], at + 1
    local initial, min, max, mode, rest = step.conditions:match('^ (%S+) (%S+) (%S+) (%S)(.*)$')
    local ttl, when = rest:match('^ (%d+) (%S)$')
    step.initial, step.clamp, step.ttl, step.renew = initial, mode == 'c', tonumber(ttl), when == 'r'
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
  if not step.size and not rows[name] then
    local fields = redis.call('HMGET', prefix .. 'c:' .. name, 'v', 'c', 'u', 'e', 'w')
    local value = fields[1] and counter_value(fields[1])
    if fields[1] and not value then return redis.error_reply('CORRUPT value of ' .. name) end
    rows[name] = { stored = value and true, value = value, created = fields[2] or now,
                   updated = fields[3] or now, ends = fields[4], stored_ends = fields[4],
                   window = fields[5], stored_window = fields[5] }
    has_ends = has_ends or fields[4]
  end
end

-- Keys by the time of their end, which only serves to count them: each ends by itself.
local key_index, clock, known, kept = prefix .. 'keys', 0, 0, {}
if keyed or lifetimes > 0 then
  local time = redis.call('TIME')
  clock = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
if keyed then
  known = redis.call('ZCARD', key_index) - redis.call('ZCOUNT', key_index, '-inf', clock)
end

-- When the windows end that we are in, by our own clock; nothing: it is too far from theirs.
local window_ends = {}
for line in ARGV[7]:gmatch('[^\n]+') do
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

-- Whether the step, or a member of it, has a window of which that is so: then nothing of it is
-- applied, nor kept under its key.
local function is_unclear(step)
  if ARGV[7] == '' then return false end
  for i = step.at, step.at + (step.size or 0) do
    local window = steps[i].window
    if window and not window_ends[window] then return true end
  end
  return false
end

-- Ends, and names of counters that have ended: more of them than this batch can add.
local end_index, ended = prefix .. 'ends', {}
if sequence > 0 and (lifetimes > 0 or has_ends) then
  -- Changes nothing, and fails where to write an end would fail.
  local no_key = prefix .. 'scratch'
  redis.call('PEXPIREAT', no_key, 1)
  redis.call('PERSIST', no_key)
  redis.call('HDEL', no_key, 'e')
  local due = redis.call('ZRANGEBYSCORE', end_index, '-inf', '(' .. clock, 'LIMIT', 0, 2 * lifetimes + 16)
  for _, name in ipairs(due) do
    if not redis.call('HGET', prefix .. 'c:' .. name, 'e') then ended[#ended + 1] = name end
  end
end

local function add(value, delta)
  local scratch = prefix .. 'scratch'
  redis.call('SET', scratch, value)
  local added = redis.pcall('INCRBY', scratch, delta)
  local fits = type(added) == 'number'
  local result = fits and redis.call('GET', scratch)
  redis.call('DEL', scratch)
  if not fits and not added.err:find('overflow', 1, true) then error(added.err, 0) end
  return result
end

-- Adds up to so many times; how often it could, and the sum.
local EXACT = 9007199254740992
local function add_all(value, delta, count)
  local a, b = tonumber(value), tonumber(delta) * count
  if math.abs(a) < EXACT and math.abs(b) < EXACT and math.abs(a + b) < EXACT then
    return count, string.format('%.0f', a + b)
  end
  for done = 0, count - 1 do
    local sum = add(value, delta)
    if not sum then return done, value end
    value = sum
  end
  return count, value
end

-- Whether a < b. Where doubles cannot tell them apart both have one sign, and the digits tell.
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

-- Adds up to step.count times; how often it could, the sum, and the letter of what stopped it.
local function add_all_within(value, step)
  local sum, why = add_within(value, step)
  if not sum then return 0, value, why end
  if step.count == 1 then return 1, sum end
  -- Where the first and the last sum are within the bounds, so is every one between.
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

-- Whether the counter has a window that the step would not leave to it, or lacks its.
local function has_other_window(row, step)
  if not row.value then return false end
  if step.window then return row.window ~= step.window end
  return step.renew and row.window
end

-- What redis_batch.h reads: the letter, the rest of the line; and whether all of it was applied.
local function apply(step)
  local row = rows[step.name]
  local code, previous, done = 'k', '-', step.count
  local value = row.value or '0'
  if step.kind == 'i' then
    done, value = add_all(value, step.operand, step.count)
    if done > 0 then set(row, value, step) end
    if step.count > 1 then
      code, previous = 'n', done
    elseif done == 0 then
      code = 'o'
    end
  elseif (step.kind == 'b' or step.kind == 'q') and has_other_window(row, step) then
    return 'w', row.value .. ' - 0 0 ' .. (row.ends or '0') .. ' ' .. (row.window or ''), false
  elseif step.kind == 'q' then
    value = row.value or step.initial
    local sum, why = add_within(value, step)
    if not sum then code, done = why, 0 end
  elseif step.kind == 'b' then
    value = row.value or step.initial
    local before, why = value, nil
    done, value, why = add_all_within(value, step)
    if done > 0 then set(row, value, step) end
    if step.count > 1 then
      code, previous = 'n', done
    elseif done == 0 then
      code = why
    elseif step.clamp then
      previous = before
    end
  elseif step.kind == 's' or step.kind == 't' and row.value then
    previous = row.value or '-'
    set(row, step.operand, step)
    value = step.operand
  elseif not row.value then
    code, done = 'm', 0
  elseif step.kind == 'd' then
    previous = row.value
    row.value, row.changed = false, true
  end
  local times = '0 0 0'
  if step.kind == 'r' and row.value then
    times = row.created .. ' ' .. row.updated .. ' ' .. (row.ends or '0')
  elseif step.window then
    times = '0 ' .. string.format('%.0f', clock) .. ' ' .. (row.value and row.ends or window_ends[step.window])
  end
  return code, value .. ' ' .. previous .. ' ' .. times, done == step.count
end

-- What is told of a step, and of a group's members, where nothing was applied.
local function nothing(step)
  return '0 - 0 0 0' .. ('\nm 0 - 0 0 0'):rep(step.size or 0)
end

-- The same for a group: behind its own line come those of its members, which tell what was refused.
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

local function apply_once(step)
  local before = kept[step.key] or redis.call('GET', step.key)
  local same = step.kind .. ' ' .. step.operand .. step.conditions
  if before then
    local known_as, rest = before:match('^([^\n]*)\n(.*)$')
    if known_as ~= same then return 'x', nothing(step) end
    return 'r', rest
  end
  if known >= max_keys then return 'f', nothing(step) end
  local code, rest, whole = (step.size and apply_group or apply)(step)
  if whole then
    known = known + 1
    kept[step.key] = same .. '\n' .. rest
    kept[#kept + 1] = step
  end
  return code, rest
end

local outcomes, at = {}, 1
while at <= #steps do
  local step = steps[at]
  local code, rest
  if is_unclear(step) then
    code, rest = 'c', nothing(step)
  else
    code, rest = (step.key and apply_once or step.size and apply_group or apply)(step)
  end
  outcomes[#outcomes + 1] = code .. ' ' .. rest .. '\n'
  at = at + 1 + (step.size or 0)
end
local answer = table.concat(outcomes)

local writes = 0
local function write(...)
  redis.call(...)
  writes = writes + 1
end
local function write_end(key, name, row)
  if row.window then
    write('HSET', key, 'w', row.window)
  elseif row.stored_window then
    write('HDEL', key, 'w')
  end
  if row.ends then
    write('HSET', key, 'e', row.ends)
    write('PEXPIREAT', key, row.ends)  -- last: it may end now
    write('ZADD', end_index, row.ends, name)
  else
    write('HDEL', key, 'e')
    write('PERSIST', key)
    write('ZREM', end_index, name)
  end
end
local function sweep()
  for _, name in ipairs(ended) do
    local row = rows[name] or { value = redis.call('EXISTS', prefix .. 'c:' .. name) == 1 }
    if not row.value then write('ZREM', prefix .. 'names', name) end
    if not row.ends then write('ZREM', end_index, name) end
  end
end
local function write_all()
  for name, row in pairs(rows) do
    if row.changed then
      local key = prefix .. 'c:' .. name
      if row.value then
        write('HSET', key, 'v', row.value, 'c', row.created, 'u', row.updated)
        if not row.stored then write('ZADD', prefix .. 'names', 0, name) end
        if row.ends ~= row.stored_ends or row.window ~= row.stored_window then write_end(key, name, row) end
      elseif row.stored then
        write('DEL', key)
        write('ZREM', prefix .. 'names', name)
        if row.stored_ends then write('ZREM', end_index, name) end
      end
    end
  end
  for _, step in ipairs(kept) do
    write('SET', step.key, kept[step.key], 'PX', step.lifetime)
    write('ZADD', key_index, clock + tonumber(step.lifetime), step.key)
  end
  if keyed then
    local ended = redis.call('ZRANGEBYSCORE', key_index, '-inf', clock, 'LIMIT', 0, 2 * #steps + 16)
    if #ended > 0 then write('ZREM', key_index, unpack(ended)) end
  end
  sweep()
  if sequence > 0 then write('SET', session, ARGV[3] .. '\n' .. answer, 'PX', session_lifetime) end
end
local written, failure = pcall(write_all)
if written then return answer end
local text = type(failure) == 'table' and failure.err or tostring(failure)
return redis.error_reply(writes == 0 and text or 'PARTIAL ' .. text)
)lua";

constexpr std::string_view kListScript = R"lua(
local prefix, limit = ARGV[1], tonumber(ARGV[4])
local names = redis.call('ZRANGEBYLEX', prefix .. 'names', ARGV[2], ARGV[3], 'LIMIT', 0, limit + 1)
local rows = { #names > limit and names[limit] or '' }
for i = 1, math.min(#names, limit) do
  local value = redis.call('HGET', prefix .. 'c:' .. names[i], 'v')
  if value then
    rows[#rows + 1] = names[i]
    rows[#rows + 1] = value
  end
end
return rows
)lua";

struct FreeContext {
  void operator()(redisContext* context) const { redisFree(context); }
};
struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Context = std::unique_ptr<redisContext, FreeContext>;
using Reply = std::unique_ptr<redisReply, FreeReply>;
using Arguments = std::vector<std::string>;

std::string_view text_of(const redisReply& reply) {
  return {reply.str, reply.len};
}
bool is_error(const Reply& reply) {
  return reply->type == REDIS_REPLY_ERROR;
}
bool is_error(const Reply& reply, std::string_view kind) {
  return is_error(reply) && text_of(*reply).starts_with(kind);
}

struct Script {
  std::string_view source;
  std::string sha = {};  // as the server told; empty: not loaded on this connection
};

class RedisStore : public Store {
 public:
  RedisStore(RedisLocation location, const StoreOptions& options, std::string password,
             std::string session)
      : location_(std::move(location)),
        options_(options),
        password_(std::move(password)),
        session_(std::move(session)) {}
  ~RedisStore() override { forget_session(); }

  Result<void> take_turn(Deadline) override { return {}; }  // the server runs one script at a time
  void yield_turn() override {}
  void settle(std::span<Step>) override {}  // the answer to the script has said all
  void tidy() override {}
  void apply(std::span<Step> batch, Deadline deadline) override;
  Result<ListPage> list(const ListQuery& query, Deadline deadline) override;
  Result<void> probe(Deadline deadline) override;
  StoreStatus status() const override { return {"redis", place(), durability_}; }

 private:
  // Whether anything has gone to the server for the call that runs.
  struct Attempt {
    bool sent = false;
  };

  Result<void> connect(Deadline deadline);
  Result<void> log_in(Deadline deadline);
  Result<void> read_durability(Deadline deadline);
  Result<std::optional<std::string>> read_setting(const std::string& name, Deadline deadline);
  Result<Reply> command(const Arguments& arguments, Deadline deadline, Attempt& attempt);
  Result<Reply> exchange(const Arguments& arguments, Deadline deadline, Attempt& attempt);
  Result<Reply> run_script(Script& script, Arguments arguments, Deadline deadline,
                           Attempt& attempt);
  Result<Reply> look(Script* script, const Arguments& arguments, Deadline deadline);
  Result<Reply> run_until_known(const Arguments& arguments, Deadline deadline, Attempt& attempt);
  bool was_closed() const;
  Error unavailable(std::string_view why) const;
  Arguments describe(const RedisBatch& batch, bool changes) const;
  void forget_session();
  std::string place() const;

  const RedisLocation location_;
  const StoreOptions options_;
  const std::string password_;
  const std::string session_;
  std::uint64_t sequence_ = 0;    // of the latest batch with changes
  bool copies_may_wait_ = false;  // a copy of a batch may still be on its way
  std::string durability_ = "not connected yet";
  Context context_;
  Script apply_script_{kApplyScript};
  Script list_script_{kListScript};
};

std::string RedisStore::place() const {
  const std::string database = " database " + std::to_string(location_.database);
  if (location_.host.empty()) return location_.socket_path + database;
  return location_.host + ":" + std::to_string(location_.port) + database;
}

Error RedisStore::unavailable(std::string_view why) const {
  return {Code::kUnavailable, "Redis at " + place() + ": " + std::string(why)};
}

timeval remaining(Deadline deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::microseconds>(
      std::max(deadline - steady_clock::now(), steady_clock::duration(milliseconds(1))));
  return {.tv_sec = left.count() / 1'000'000, .tv_usec = left.count() % 1'000'000};
}

// Whether the server has closed the connection while nothing was asked: what is sent on it now
// would be lost, and nobody could know that.
bool RedisStore::was_closed() const {
  pollfd socket{.fd = context_->fd, .events = POLLIN | POLLRDHUP, .revents = 0};
  return poll(&socket, 1, 0) > 0;
}

Result<void> RedisStore::connect(Deadline deadline) {
  if (context_ && was_closed()) context_.reset();
  if (context_) return {};
  Context context(
      location_.host.empty()
          ? redisConnectUnixWithTimeout(location_.socket_path.c_str(), remaining(deadline))
          : redisConnectWithTimeout(location_.host.c_str(), location_.port, remaining(deadline)));
  if (!context) return unavailable("out of memory");
  if (context->err != 0) return unavailable(context->errstr);
  // hiredis's own timeout is for each read; ours is for the whole exchange.
  fcntl(context->fd, F_SETFL, fcntl(context->fd, F_GETFL) | O_NONBLOCK);
  fcntl(context->fd, F_SETFD, FD_CLOEXEC);
  context->flags &= ~REDIS_BLOCK;
  context_ = std::move(context);
  apply_script_.sha.clear();
  list_script_.sha.clear();
  Result<void> ready = log_in(deadline);
  if (ready) ready = read_durability(deadline);
  if (!ready) context_.reset();
  return ready;
}

// Whether only another configuration helps against what AUTH or SELECT was answered.
bool refuses_login(const Reply& reply) {
  constexpr std::array kinds = {"WRONGPASS",
                                "NOAUTH",
                                "NOPERM",
                                "DENIED",
                                "ERR AUTH",
                                "ERR Client sent AUTH",
                                "ERR invalid password",
                                "ERR DB index",
                                "ERR invalid DB index",
                                "ERR SELECT"};
  return std::any_of(kinds.begin(), kinds.end(),
                     [&](const char* kind) { return is_error(reply, kind); });
}

Result<void> RedisStore::log_in(Deadline deadline) {
  Attempt attempt;
  std::vector<Arguments> steps;
  if (!password_.empty()) {
    steps.push_back(location_.user.empty() ? Arguments{"AUTH", password_}
                                           : Arguments{"AUTH", location_.user, password_});
  }
  if (location_.database != 0) steps.push_back({"SELECT", std::to_string(location_.database)});
  steps.push_back({"PING"});
  for (const Arguments& step : steps) {
    const Result<Reply> reply = exchange(step, deadline, attempt);
    if (!reply) return reply.error();
    if (!is_error(*reply)) continue;
    const Error error = unavailable(text_of(**reply));
    if (step[0] == "PING" ? !is_error(*reply, "NOAUTH") && !is_error(*reply, "NOPERM")
                          : !refuses_login(*reply)) {
      return error;  // loading, too many clients and the like pass
    }
    return Error{Code::kConfig,
                 error.message + (step[0] == "SELECT"
                                      ? "; choose a database that the server has"
                                      : "; check the user in --store and --redis-password-file")};
  }
  return {};
}

// The value of a server setting; nothing where CONFIG is denied.
Result<std::optional<std::string>> RedisStore::read_setting(const std::string& name,
                                                            Deadline deadline) {
  Attempt attempt;
  Result<Reply> reply = exchange({"CONFIG", "GET", name}, deadline, attempt);
  if (!reply) return reply.error();
  const redisReply& found = **reply;
  if (found.type != REDIS_REPLY_ARRAY || found.elements != 2) return std::optional<std::string>();
  return std::optional<std::string>(text_of(*found.element[1]));
}

Result<void> RedisStore::read_durability(Deadline deadline) {
  std::array<std::string, 4> settings = {"appendonly", "appendfsync", "no-appendfsync-on-rewrite",
                                         "maxmemory-policy"};
  bool verified = true;
  for (std::string& setting : settings) {
    Result<std::optional<std::string>> value = read_setting(setting, deadline);
    if (!value) return value.error();
    verified = verified && value->has_value();
    setting = value->value_or("");
  }
  const auto& [append_only, fsync, no_fsync_on_rewrite, eviction] = settings;
  const bool evicts = eviction != "noeviction";
  const bool evicts_expiring = eviction.starts_with("volatile-");
  const bool durable = verified && append_only == "yes" && fsync == "always" &&
                       no_fsync_on_rewrite == "no" && !evicts;
  if (!verified) {
    durability_ = "unverified: the server does not allow CONFIG GET";
  } else if (append_only != "yes") {
    durability_ = "a crash or restart of Redis loses what its last snapshot lacks (appendonly no)";
  } else if (fsync != "always") {
    durability_ = "a crash of the system loses the latest changes (appendfsync " + fsync + ")";
  } else if (no_fsync_on_rewrite != "no") {
    durability_ =
        "a crash of the system during a rewrite loses changes (no-appendfsync-on-rewrite yes)";
  } else {
    durability_ =
        "every change survives a crash of processes, system or power (appendfsync always)";
  }
  if (verified && evicts) {
    durability_ +=
        std::string("; when its memory is full, ") +
        (evicts_expiring
             ? "what is sent again can be counted twice, and counters with an end be lost"
             : "counters can be evicted") +
        " (maxmemory-policy " + eviction + ")";
  }
  if (!options_.require_durable || durable) return {};
  return Error{Code::kConfig, "Redis at " + place() +
                                  " is not durable, as --require-durable asks: " + durability_};
}

// One command and its reply. An error means that the connection is gone, or is given up because
// its reply would come too late to be told from the next one's.
Result<Reply> RedisStore::exchange(const Arguments& arguments, Deadline deadline,
                                   Attempt& attempt) {
  std::vector<const char*> values;
  std::vector<std::size_t> lengths;
  for (const std::string& argument : arguments) {
    values.push_back(argument.data());
    lengths.push_back(argument.size());
  }
  const auto lost = [this](std::string_view why) {
    Error error = unavailable(why);
    context_.reset();
    return error;
  };
  redisContext* context = context_.get();
  if (redisAppendCommandArgv(context, static_cast<int>(values.size()), values.data(),
                             lengths.data()) != REDIS_OK) {
    return lost(context->errstr);
  }
  attempt.sent = true;
  for (int done = 0; done == 0;) {
    if (redisBufferWrite(context, &done) != REDIS_OK) return lost(context->errstr);
    if (done == 0 && !wait_ready(context->fd, POLLOUT, deadline)) return lost("no answer in time");
  }
  for (;;) {
    void* reply = nullptr;
    if (redisGetReplyFromReader(context, &reply) != REDIS_OK) return lost(context->errstr);
    if (reply != nullptr) return Reply(static_cast<redisReply*>(reply));
    if (!wait_ready(context->fd, POLLIN, deadline)) return lost("no answer in time");
    if (redisBufferRead(context) != REDIS_OK) return lost(context->errstr);
  }
}

Result<Reply> RedisStore::command(const Arguments& arguments, Deadline deadline, Attempt& attempt) {
  if (const Result<void> connected = connect(deadline); !connected) return connected.error();
  return exchange(arguments, deadline, attempt);
}

// Loads the script when the server does not know it: first use, restart, SCRIPT FLUSH.
Result<Reply> RedisStore::run_script(Script& script, Arguments arguments, Deadline deadline,
                                     Attempt& attempt) {
  if (const Result<void> connected = connect(deadline); !connected) return connected.error();
  for (;;) {
    if (script.sha.empty()) {
      Attempt loading;  // loading a script applies nothing
      Result<Reply> loaded =
          exchange({"SCRIPT", "LOAD", std::string(script.source)}, deadline, loading);
      if (!loaded || (*loaded)->type != REDIS_REPLY_STRING) return loaded;
      script.sha = text_of(**loaded);
    }
    arguments[0] = "EVALSHA";
    arguments[1] = script.sha;
    Result<Reply> reply = exchange(arguments, deadline, attempt);
    if (!reply || !is_error(*reply, "NOSCRIPT")) return reply;
    script.sha.clear();
  }
}

// Runs a script, or a command if `script` is null, that changes nothing. The server may have closed
// the connection since it was used last, as a restart does; looking twice does no harm.
Result<Reply> RedisStore::look(Script* script, const Arguments& arguments, Deadline deadline) {
  const bool reused = context_ != nullptr;
  Attempt attempt;
  const auto once = [&] {
    return script == nullptr ? command(arguments, deadline, attempt)
                             : run_script(*script, arguments, deadline, attempt);
  };
  Result<Reply> reply = once();
  if (reply || !reused || steady_clock::now() >= deadline) return reply;
  return once();
}

// Sends a batch with changes until its outcomes are known or `deadline` is over. An error reply to
// the only copy means that it was not applied, but for PARTIAL: the script raises errors only
// before it writes. An answer that stays away is not waited for until the deadline: where packets
// vanish, only another connection gets one.
Result<Reply> RedisStore::run_until_known(const Arguments& arguments, Deadline deadline,
                                          Attempt& attempt) {
  milliseconds pause = kFirstPause;
  for (;;) {
    const bool resent = attempt.sent;
    const Deadline patience = steady_clock::now() + options_.timeout / kAttempts;
    Result<Reply> reply =
        run_script(apply_script_, arguments, std::min(patience, deadline), attempt);
    if (reply && !is_error(*reply)) return reply;
    if (reply && is_error(*reply, "PARTIAL")) return unavailable(text_of(**reply));
    if (reply && !resent) {
      attempt.sent = false;
      return unavailable(text_of(**reply));
    }
    if (!attempt.sent || steady_clock::now() + pause >= deadline) {
      return reply ? unavailable(text_of(**reply)) : reply.error();
    }
    copies_may_wait_ = true;
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, kLongestPause);
  }
}

// What the script of `batch` is called with. The times of windows are those for which a copy may
// come.
Arguments RedisStore::describe(const RedisBatch& batch, bool changes) const {
  const std::int64_t now_ms = unix_now_ms();
  constexpr std::int64_t kApart = milliseconds(kMaxClockDifference).count();
  // The first three are for EVALSHA: the command, the script, the number of keys.
  Arguments arguments = {
      "",
      "",
      "0",
      options_.redis_prefix,
      session_,
      changes ? std::to_string(sequence_) : "0",
      std::to_string(kSessionLifetime.count()),
      std::to_string(now_ms),
      std::to_string(options_.max_keys),
      batch.describe_windows(now_ms - kApart, now_ms + options_.timeout.count() + kApart)};
  batch.describe(options_.key_lifetime, arguments);
  return arguments;
}

void RedisStore::apply(std::span<Step> batch, Deadline deadline) {
  deadline = std::min(deadline, steady_clock::now() + options_.timeout);
  const bool changes = needs_turn(batch);
  if (changes) ++sequence_;
  Attempt attempt;
  const RedisBatch alike(batch);
  const Arguments arguments = describe(alike, changes);
  const Result<Reply> reply = changes ? run_until_known(arguments, deadline, attempt)
                                      : look(&apply_script_, arguments, deadline);
  if (!reply) {
    if (changes && attempt.sent) copies_may_wait_ = true;
    fail_batch(batch, {attempt.sent ? Code::kUnknown : Code::kUnavailable, reply.error().message});
  } else if (is_error(*reply)) {
    fail_batch(batch, unavailable(text_of(**reply)));
  } else if (!alike.read_outcomes(text_of(**reply))) {
    fail_batch(batch, {Code::kUnknown, unavailable("an answer that makes no sense").message});
  }
}

Result<ListPage> RedisStore::list(const ListQuery& query, Deadline deadline) {
  const std::string from = query.after.empty() || query.after < query.prefix
                               ? (query.prefix.empty() ? "-" : "[" + query.prefix)
                               : "(" + query.after;
  const std::string to = query.prefix.empty() ? "+" : "(" + query.prefix + '\x7f';
  const Result<Reply> reply =
      look(&list_script_,
           {"", "", "0", options_.redis_prefix, from, to, std::to_string(query.limit)}, deadline);
  if (!reply) return reply.error();
  if (is_error(*reply)) return unavailable(text_of(**reply));
  const redisReply& rows = **reply;
  ListPage page;
  if (rows.elements > 0) page.next = text_of(*rows.element[0]);
  for (std::size_t i = 1; i + 1 < rows.elements; i += 2) {
    ListPage::Row row{std::string(text_of(*rows.element[i])), 0};
    if (!read_int64(text_of(*rows.element[i + 1]), row.value)) {
      return unavailable("an answer that makes no sense");
    }
    page.rows.push_back(std::move(row));
  }
  return page;
}

Result<void> RedisStore::probe(Deadline deadline) {
  const Result<Reply> reply = look(nullptr, {"PING"}, deadline);
  if (!reply) return reply.error();
  if (is_error(*reply)) return unavailable(text_of(**reply));
  return {};
}

// Leaves no key behind for a store that is closed in good order: without it, each run of
// `counterctl --store` would leave one for an hour.
void RedisStore::forget_session() {
  if (!context_ || sequence_ == 0 || copies_may_wait_) return;
  Attempt attempt;
  static_cast<void>(exchange({"DEL", options_.redis_prefix + "s:" + session_},
                             steady_clock::now() + milliseconds(100), attempt));
}

Result<std::string> read_password(const std::string& path) {
  if (path.empty()) return std::string();
  std::ifstream file(path);
  std::string password;
  if (!file || !std::getline(file, password) || password.empty()) {
    return Error{Code::kConfig,
                 "cannot read a password from the first line of " + quote_for_people(path)};
  }
  return password;
}

Result<std::string> make_session() {
  std::array<unsigned char, 16> bytes{};
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    return system_error(Code::kIo, "cannot get random bytes", errno);
  }
  std::string session;
  for (const unsigned char byte : bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    session += kDigits[byte >> 4];
    session += kDigits[byte & 15];
  }
  return session;
}

}  // namespace

Result<void> check_redis_prefix(std::string_view prefix) {
  const bool visible =
      std::all_of(prefix.begin(), prefix.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (visible && prefix.size() <= kMaxNameLength) return {};
  return Error{Code::kConfig, "Redis prefix " + quote_for_people(prefix) + " is not up to " +
                                  std::to_string(kMaxNameLength) + " visible ASCII characters"};
}

Result<std::unique_ptr<Store>> open_redis_store(const RedisLocation& location,
                                                const StoreOptions& options) {
  Result<std::string> password = read_password(options.redis_password_file);
  if (!password) return password.error();
  if (password->empty() && !location.user.empty()) {
    return Error{Code::kConfig,
                 "a Redis user needs a password: name a file with "
                 "--redis-password-file"};
  }
  Result<std::string> session = make_session();
  if (!session) return session.error();
  return std::unique_ptr<Store>(
      std::make_unique<RedisStore>(location, options, std::move(*password), std::move(*session)));
}

}  // namespace counterd
