#include "common/store/redis_connection.h"

#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "common/deadline.h"
#include "common/limits.h"
#include "common/quote.h"

namespace counterd {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::string_view kNoAnswer = "no answer in time";
constexpr std::string_view kTooLong = "its answer is longer than any that makes sense";

// An answer is read in at most so many portions, each of up to 16 KiB (hiredis). Those of the
// scripts have less than 1 MiB, and those of a hostile server must not fill the memory.
constexpr int kMostReads = 4'096;

// The elements of the longest answer, which is a page of a list (redis_list.lua).
constexpr std::size_t kMostElements = 1 + 2 * kMaxListLimit;

// How much of what a server says is repeated in messages, with what we say ourselves of a counter:
// that of a hostile one must not fill answers and logs.
constexpr std::size_t kLongestSaying = 512;

// hiredis makes room for as many elements of an array as a server announces. With these functions
// it does so only for answers that make sense: they are not too long, and have no array in another.
redisReplyObjectFunctions* functions_of_replies(const redisReplyObjectFunctions& of_hiredis) {
  [[maybe_unused]] static const auto create_array = of_hiredis.createArray;
  static redisReplyObjectFunctions functions = [&] {  // once: stores of other threads use it too
    redisReplyObjectFunctions ours = of_hiredis;
    ours.createArray = [](const redisReadTask* task, auto elements) -> void* {
      const bool makes_sense =
          task->parent == nullptr && static_cast<std::size_t>(elements) <= kMostElements;
      return makes_sense ? create_array(task, elements) : nullptr;
    };
    return ours;
  }();
  return &functions;
}

timeval time_left(Deadline deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::microseconds>(
      std::max(deadline - steady_clock::now(), steady_clock::duration(milliseconds(1))));
  return {.tv_sec = left.count() / 1'000'000, .tv_usec = left.count() % 1'000'000};
}

// Whether the answer to AUTH, SELECT or PING means that only another configuration helps. Others
// pass: the server is loading, it has too many clients.
bool refuses_login(const RedisReply& reply) {
  constexpr std::array kinds = {"WRONGPASS",
                                "NOAUTH",
                                "NOPERM",
                                "DENIED",
                                "ERR AUTH",
                                "ERR Client sent AUTH",
                                "ERR invalid password",
                                "ERR unknown command",
                                "ERR DB index",
                                "ERR invalid DB index",
                                "ERR SELECT"};
  return std::ranges::any_of(kinds, [&](const char* kind) { return is_error(reply, kind); });
}

// What the server says to AUTH, unless it repeats the password, or could do so in part, as with a
// command that it does not know.
std::string refusal(const RedisReply& reply, std::string_view password) {
  const std::string_view text = text_of(*reply);
  const bool repeats =
      is_error(reply, "ERR unknown command") || text.find(password) != std::string_view::npos;
  return repeats ? "it refuses the password" : std::string(text);
}

// What helps where the server's own words do not say it. A node of a cluster refuses a command
// whose key another one has as MOVED, and a script in words of its own.
const char* hint_for(std::string_view why) {
  const bool is_elsewhere =
      why.starts_with("MOVED ") || why.find("non local key") != std::string_view::npos;
  return is_elsewhere
             ? "; in a cluster, give --redis-prefix a hash tag, as in {counterd}:, and name "
               "the node that has its keys in --store"
             : "";
}

// What a server does for what it holds, in the words of its settings.
struct Persistence {
  bool verified = true;  // it allows CONFIG GET; else the others mean nothing
  std::string append_only, fsync, no_fsync_on_rewrite, eviction;
  std::string primary, read_only_replica;  // the first is empty unless it is a replica
};

// Other replicas refuse changes, and may become primaries any time.
bool is_writable_replica(const Persistence& found) {
  return !found.primary.empty() && found.read_only_replica == "no";
}

bool is_durable(const Persistence& found) {
  return found.verified && found.append_only == "yes" && found.fsync == "always" &&
         found.no_fsync_on_rewrite == "no" && found.eviction == "noeviction" &&
         !is_writable_replica(found);
}

std::string describe_crashes(const Persistence& found) {
  if (is_writable_replica(found)) {
    return "every change is lost when this replica is next given all data of its primary (" +
           found.primary + "; replica-read-only no)";
  }
  if (found.append_only != "yes") {
    return "a crash or restart of Redis loses what its last snapshot lacks (appendonly no)";
  }
  if (found.fsync != "always") {
    return "a crash of the system loses the latest changes (appendfsync " + found.fsync + ")";
  }
  if (found.no_fsync_on_rewrite != "no") {
    return "a crash of the system during a rewrite loses changes (no-appendfsync-on-rewrite yes)";
  }
  return "every change survives a crash of processes, system or power (appendfsync always)";
}

std::string describe_eviction(const Persistence& found) {
  if (found.eviction == "noeviction") return "";
  const std::string which =
      found.eviction.starts_with("volatile-") ? "counters with an end" : "counters";
  return "; when its memory is full, " + which +
         " can be lost, and what is sent again be counted twice (maxmemory-policy " +
         found.eviction + ")";
}

std::string describe(const Persistence& found) {
  if (!found.verified) return "unverified: the server does not allow CONFIG GET";
  return describe_crashes(found) + describe_eviction(found);
}

}  // namespace

Result<std::string> read_password(const std::string& path) {
  if (path.empty()) return std::string();
  const std::string what = "cannot read a password from " + quote_for_people(path);
  std::ifstream file(path);
  std::string password;
  if (!file) {
    return system_error(is_shortage(errno) ? Code::kUnavailable : Code::kConfig, what, errno);
  }
  std::getline(file, password);
  if (file.bad()) return system_error(Code::kConfig, what, errno);  // a folder can be opened too
  if (password.ends_with('\r')) password.pop_back();
  if (password.empty()) return Error{Code::kConfig, what + ": its first line is empty"};
  return password;
}

std::string_view text_of(const redisReply& reply) {
  return {reply.str, reply.len};
}

bool is_error(const RedisReply& reply, std::string_view beginning) {
  return reply->type == REDIS_REPLY_ERROR && text_of(*reply).starts_with(beginning);
}

Result<RedisReply> RedisConnection::command(const RedisArguments& arguments, Deadline deadline) {
  if (const Result<void> connected = connect(deadline); !connected) return connected.error();
  return leave_replica(exchange({arguments.begin(), arguments.end()}, deadline));
}

// Gives up the connection if the answer is that of a replica: the one that takes changes may be at
// the same address by now.
Result<RedisReply> RedisConnection::leave_replica(Result<RedisReply> reply) {
  const bool is_replica = reply && (is_error(*reply, "READONLY") || is_error(*reply, "MASTERDOWN"));
  if (is_replica) context_.reset();
  return reply;
}

Result<RedisReply> RedisConnection::run(const RedisScript& script, const RedisArguments& arguments,
                                        Deadline deadline, Code when_lost) {
  if (const Result<void> connected = connect(deadline); !connected) return connected.error();
  Words words = {"EVALSHA", script.name, "0"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  for (;;) {
    Result<RedisReply> reply = exchange(words, deadline, when_lost);
    if (!reply || !is_error(*reply, "NOSCRIPT")) return leave_replica(std::move(reply));
    Result<RedisReply> loaded = exchange({"SCRIPT", "LOAD", script.source}, deadline);
    if (!loaded || (*loaded)->type != REDIS_REPLY_STRING) return loaded;
  }
}

std::string RedisConnection::place() const {
  const std::string database = " database " + std::to_string(location_.database);
  if (location_.host.empty()) return location_.socket_path + database;
  return location_.host + ":" + std::to_string(location_.port) + database;
}

Error RedisConnection::unavailable(std::string_view why) const {
  return {Code::kUnavailable, "Redis at " + place() + ": " +
                                  escape_controls(why.substr(0, kLongestSaying)) + hint_for(why)};
}

bool RedisConnection::is_spent() const {
  const redisReader& reader = *context_->reader;
  return reader.pos < reader.len || is_readable(context_->fd);
}

Result<void> RedisConnection::connect(Deadline deadline) {
  if (context_ && is_spent()) context_.reset();
  if (context_) return {};
  std::unique_ptr<redisContext, FreeRedisContext> context(
      location_.host.empty()
          ? redisConnectUnixWithTimeout(location_.socket_path.c_str(), time_left(deadline))
          : redisConnectWithTimeout(location_.host.c_str(), location_.port, time_left(deadline)));
  if (!context) return unavailable("out of memory");
  if (context->err != 0) return unavailable(context->errstr);
  // hiredis's own timeout is for each read; ours is for the whole exchange.
  fcntl(context->fd, F_SETFL, fcntl(context->fd, F_GETFL) | O_NONBLOCK);
  fcntl(context->fd, F_SETFD, FD_CLOEXEC);
  if (!location_.host.empty()) redisEnableKeepAlive(context.get());
  context->flags &= ~REDIS_BLOCK;
  context->reader->fn = functions_of_replies(*context->reader->fn);
  context_ = std::move(context);
  Result<void> ready = log_in(deadline);
  if (ready) ready = read_durability(deadline);
  if (!ready) context_.reset();
  return ready;
}

// It may be another one by now. Where it can no longer be read, as from a pipe, it is as it was.
void RedisConnection::read_password_again() {
  std::error_code unused;
  if (!std::filesystem::is_regular_file(password_file_, unused)) return;
  if (Result<std::string> password = read_password(password_file_)) password_ = *password;
}

Result<void> RedisConnection::log_in(Deadline deadline) {
  const std::string database = std::to_string(location_.database);
  std::vector<Words> steps;
  read_password_again();
  if (!password_.empty()) {
    steps.push_back(location_.user.empty() ? Words{"AUTH", password_}
                                           : Words{"AUTH", location_.user, password_});
  }
  if (location_.database != 0) steps.push_back({"SELECT", database});
  steps.push_back({"PING"});
  const Result<void> sent = send(steps, deadline, Code::kUnavailable);
  if (!sent) return sent.error();
  for (const Words& step : steps) {
    const Result<RedisReply> reply = receive(deadline, Code::kUnavailable);
    if (!reply) return reply.error();
    // One that cannot save refuses PING too, and answers reports.
    if (!is_error(*reply) || is_error(*reply, "MISCONF")) continue;
    // Others do not matter then: a server that has no room for a client, say, ends the connection.
    const Error error =
        unavailable(step[0] == "AUTH" ? refusal(*reply, password_) : std::string(text_of(**reply)));
    if (!refuses_login(*reply)) return error;
    const bool lacks_database = step[0] == "SELECT" && is_error(*reply, "ERR");
    return Error{
        Code::kConfig,
        error.message + (lacks_database ? "; choose a database that the server has"
                                        : "; check the user in --store and --redis-password-file")};
  }
  return {};
}

// The value of a server setting; nothing if CONFIG is denied: services that run a Redis for others
// each do so in words of their own. What passes, such as BUSY, has other codes than ERR.
Result<std::optional<std::string>> RedisConnection::read_setting(const RedisReply& reply) const {
  if (is_error(reply) && !is_error(reply, "NOPERM") && !is_error(reply, "ERR ")) {
    return unavailable(text_of(*reply));
  }
  if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2) return std::optional<std::string>();
  return std::optional<std::string>(text_of(*reply->element[1]).substr(0, kLongestSaying));
}

Result<void> RedisConnection::read_durability(Deadline deadline) {
  Persistence found;
  const std::array<std::pair<std::string_view, std::string*>, 6> settings = {
      {{"appendonly", &found.append_only},
       {"appendfsync", &found.fsync},
       {"no-appendfsync-on-rewrite", &found.no_fsync_on_rewrite},
       {"maxmemory-policy", &found.eviction},
       {"replicaof", &found.primary},
       {"replica-read-only", &found.read_only_replica}}};
  std::vector<Words> questions;
  questions.reserve(settings.size());
  for (const auto& [name, value] : settings) questions.push_back({"CONFIG", "GET", name});
  const Result<Replies> replies = exchange_all(questions, deadline);
  if (!replies) return replies.error();
  for (std::size_t i = 0; i < settings.size(); ++i) {
    const Result<std::optional<std::string>> read = read_setting((*replies)[i]);
    if (!read) return read.error();
    found.verified = found.verified && read->has_value();
    *settings[i].second = read->value_or("");
  }
  durability_ = escape_controls(describe(found));
  if (!require_durable_ || is_durable(found)) return {};
  context_.reset();  // so that nothing is asked of it before the settings are read again
  return Error{Code::kConfig, "Redis at " + place() +
                                  " is not durable, as --require-durable asks: " + durability_};
}

Error RedisConnection::lose(Code code, std::string_view why) {
  Error error{code, unavailable(why).message};  // before the context goes, whose text `why` may be
  context_.reset();
  return error;
}

Result<RedisReply> RedisConnection::exchange(const Words& words, Deadline deadline,
                                             Code when_lost) {
  const Result<void> sent = send({&words, 1}, deadline, when_lost);
  if (!sent) return sent.error();
  return receive(deadline, when_lost);
}

Result<RedisConnection::Replies> RedisConnection::exchange_all(std::span<const Words> commands,
                                                               Deadline deadline) {
  const Result<void> sent = send(commands, deadline, Code::kUnavailable);
  if (!sent) return sent.error();
  Replies replies;
  while (replies.size() < commands.size()) {
    Result<RedisReply> reply = receive(deadline, Code::kUnavailable);
    if (!reply) return reply.error();
    replies.push_back(std::move(*reply));
  }
  return replies;
}

Result<void> RedisConnection::send(std::span<const Words> commands, Deadline deadline,
                                   Code when_lost) {
  redisContext* const context = context_.get();
  for (const Words& words : commands) {
    std::vector<const char*> texts;
    std::vector<std::size_t> lengths;
    texts.reserve(words.size());
    lengths.reserve(words.size());
    for (const std::string_view word : words) {
      texts.push_back(word.data());
      lengths.push_back(word.size());
    }
    if (redisAppendCommandArgv(context, static_cast<int>(words.size()), texts.data(),
                               lengths.data()) != REDIS_OK) {
      return lose(Code::kUnavailable, context->errstr);
    }
  }
  for (int done = 0; done == 0;) {
    if (redisBufferWrite(context, &done) != REDIS_OK) return lose(when_lost, context->errstr);
    if (done == 0 && !wait_ready(context->fd, POLLOUT, deadline)) {
      return lose(when_lost, kNoAnswer);
    }
  }
  return {};
}

Result<RedisReply> RedisConnection::receive(Deadline deadline, Code when_lost) {
  redisContext* const context = context_.get();
  for (int reads = 0; reads < kMostReads; ++reads) {
    void* reply = nullptr;
    if (redisGetReplyFromReader(context, &reply) != REDIS_OK) {
      // Nearly always it is functions_of_replies() that has refused.
      return lose(when_lost, context->err == REDIS_ERR_OOM ? kTooLong : context->errstr);
    }
    if (reply != nullptr) return RedisReply(static_cast<redisReply*>(reply));
    if (!wait_ready(context->fd, POLLIN, deadline)) return lose(when_lost, kNoAnswer);
    if (redisBufferRead(context) != REDIS_OK) return lose(when_lost, context->errstr);
  }
  return lose(when_lost, kTooLong);
}

}  // namespace counterd
