// The redis engine: one script call, so one round trip and one atomic step, for each batch.
//
// If the connection is lost when a batch has been sent, the batch may have been applied, or may yet
// be: a query on another connection could say "no" just before it is applied. So the identical
// batch is sent again under the same id, and the script repeats its earlier answer, or applies the
// batch now. An id is a session, of which a Store has one at a time, a sequence number, and a name
// of the batch. The server keeps the latest outcomes of each session, in one key however many
// batches there are, and refuses an older number, so that a copy that was stuck on the way is not
// applied late. It refuses the same number under another name, too: where a virtual machine is set
// back to a snapshot, or two go on from one, other batches of the session have had that number.
// So the name is drawn from the system just before the batch is sent.
//
// The server also refuses a batch whose session it does not know, because it may have forgotten
// what it did with the batch; so each session is made known before its first batch is sent. And it
// refuses a copy that it comes upon long after the batch's deadline, for instance when it was
// stopped: idempotency keys may be forgotten by then. It tells how late it is by how long the
// session has still to live. So the life of a session is never prolonged: after half of it, another
// session takes its place.
//
// Keys, each after the prefix: "c:NAME", a hash of v (value), c (created at), u (updated at) and,
// if it has an end, e (all Unix ms), when Redis itself deletes it, and perhaps w (its window);
// "names", a sorted set of all names; "ends", of those with an end, by it; "s:SESSION", the latest
// number, its batch and outcomes; "k:NAME/KEY", for a group "k:/KEY", what was applied under an
// idempotency key and its outcome; "keys", the sorted set of those by the time of their end.
#include <algorithm>
#include <thread>

#include "common/counter_name.h"
#include "common/log.h"
#include "common/number.h"
#include "common/store/engines.h"
#include "common/store/redis_batch.h"
#include "common/store/redis_connection.h"
#include "common/store/redis_scripts.h"
#include "common/timestamp.h"
#include "common/uuid.h"

namespace counterd {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// How long the server knows a session; and for how long batches are begun in it, so that enough is
// left for the copies of the last one.
constexpr milliseconds kSessionLifetime = 4 * kMaxStoreTimeout;
constexpr milliseconds kSessionIsKnown = kSessionLifetime / 2;

// How far apart the server's clock and ours may be when calendar windows are counted.
constexpr std::chrono::minutes kMaxClockDifference{1};

// The first attempt may take 1/kAttempts of the time that a batch has; each one that takes all of
// its time doubles that of the next. Where packets vanish, another connection is needed soon, and
// yet a server that takes up to half of the batch's time for an answer is heard.
constexpr int kAttempts = 4;

// The first line of an answer if the server has lost batches that it had answered.
constexpr std::string_view kLost = "lost\n";

// The log says at most this often that it has.
constexpr std::chrono::minutes kLossPause{1};

constexpr std::string_view kNonsense = "an answer that cannot be understood";

constexpr milliseconds kFirstPause{5};
constexpr milliseconds kLongestPause{100};

class RedisStore : public Store {
 public:
  RedisStore(RedisConnection connection, const StoreOptions& options)
      : connection_(std::move(connection)), options_(options) {}
  ~RedisStore() override { forget_session(); }

  // The server runs one script at a time: nobody else has the turn.
  Result<void> take_turn(Deadline deadline, Deadline) override;
  void yield_turn() override {}
  void make_durable(std::span<Step>) override {}  // the script's answer has said it all
  void tidy() override {}
  void apply(std::span<Step> batch, Deadline deadline) override;
  Result<ListPage> list(const ListQuery& query, Deadline deadline) override;
  Result<void> probe(Deadline deadline) override;
  StoreStatus status() const override {
    return {"redis", connection_.place(), connection_.durability()};
  }

 private:
  template <typename Ask>
  Result<RedisReply> read(Deadline deadline, Ask ask);
  Result<void> make_session_known(Deadline deadline);
  Result<RedisReply> run_once(const RedisArguments& arguments, milliseconds attempt,
                              Deadline deadline);
  Result<RedisReply> run_until_known(const RedisBatch& batch, Deadline deadline);
  milliseconds session_left_at(Deadline deadline) const;
  milliseconds first_attempt() const {
    return std::max(options_.timeout / kAttempts, milliseconds(1));
  }
  RedisArguments script_arguments(const RedisBatch& batch, std::uint64_t sequence,
                                  const std::string& name, milliseconds least_left) const;
  void log_loss();
  void explain_corrupt(const Operation& operation, Outcome& outcome) const;
  Error corrupt(const std::string& counter) const;
  // By both clocks: while this system is suspended, the monotonic one stands still.
  bool session_is_known() const {
    return steady_clock::now() < session_is_known_until_ &&
           unix_now_ms() < session_is_known_until_ms_;
  }
  std::string session_key() const { return options_.redis_prefix + "s:" + session_; }
  void forget_session();

  RedisConnection connection_;
  RedisScript apply_{kApplyScript, kApplyName};
  RedisScript list_{kListScript, kListName};
  const StoreOptions options_;
  std::string session_;
  Deadline session_is_known_until_;
  std::int64_t session_is_known_until_ms_ = 0;  // by the system clock
  std::uint64_t sequence_ = 0;                  // of the latest batch with changes
  std::uint64_t acknowledged_ = 0;              // of the latest one whose outcomes have come
  Time next_loss_;                              // see kLossPause
};

// What has waited until its deadline behind others is not sent any more.
Result<void> RedisStore::take_turn(Deadline deadline, Deadline) {
  if (steady_clock::now() <= deadline) return {};
  const Error late = connection_.unavailable("the change has waited for it for too long");
  return Error{Code::kOverloaded, late.message};
}

// Asks for what changes nothing; `ask` takes a deadline. The connection may have been lost since it
// was last used, by a restart of the server or, silently, by a firewall; asking twice does no harm.
// An error reply is an Error.
template <typename Ask>
Result<RedisReply> RedisStore::read(Deadline deadline, Ask ask) {
  const bool reused = connection_.is_open();
  const Deadline soon = std::min(steady_clock::now() + first_attempt(), deadline);
  Result<RedisReply> reply = ask(reused ? soon : deadline);
  if (!reply && reused && steady_clock::now() < deadline) reply = ask(deadline);
  if (reply && is_error(*reply)) return connection_.unavailable(text_of(**reply));
  return reply;
}

// Connects, and begins another session unless the server is sure to know the present one for long
// enough: that one's life is not prolonged, because copies of its batches may still be on their
// way. The new one begins with the number of the batch before this one.
Result<void> RedisStore::make_session_known(Deadline deadline) {
  if (session_is_known()) return connection_.connect(deadline);
  const Time begun = steady_clock::now();
  const std::int64_t begun_ms = unix_now_ms();
  const std::string lifetime = std::to_string(kSessionLifetime.count());
  const std::string before = std::to_string(sequence_ - 1) + "\n";
  // A fresh one also when read() asks for the second time: a late copy of the first SET must not
  // make a session known again that the server has forgotten.
  const Result<RedisReply> reply = read(deadline, [&](Deadline until) -> Result<RedisReply> {
    Result<std::string> fresh = make_uuid();
    if (!fresh) return fresh.error();
    session_ = std::move(*fresh);
    // NX: a proxy that repeats it must not set the session back, or a batch would be applied again.
    return connection_.command({"SET", session_key(), before, "PX", lifetime, "NX"}, until);
  });
  if (!reply) return reply.error();
  session_is_known_until_ = begun + kSessionIsKnown;
  session_is_known_until_ms_ = begun_ms + kSessionIsKnown.count();
  return {};
}

// How much of the session's lifetime is left at `deadline`: where the server finds less, it is too
// late. It may find as much for a little longer, by the time that the call took which made the
// session known. That is up to options_.timeout, for which longest_hold_up() has room.
milliseconds RedisStore::session_left_at(Deadline deadline) const {
  const Time made_known = session_is_known_until_ - kSessionIsKnown;
  return kSessionLifetime - std::chrono::floor<milliseconds>(deadline - made_known);
}

// Sends a batch with changes, and waits for its answer for up to `attempt`. Connecting, which takes
// several exchanges, may take longer than that. kUnknown: the batch may have arrived.
Result<RedisReply> RedisStore::run_once(const RedisArguments& arguments, milliseconds attempt,
                                        Deadline deadline) {
  const Deadline connecting = steady_clock::now() + options_.timeout / 2;
  const Result<void> connected = connection_.connect(std::min(connecting, deadline));
  if (!connected) return connected.error();
  return connection_.run(apply_, arguments, std::min(steady_clock::now() + attempt, deadline),
                         Code::kUnknown);
}

// Sends a batch with changes until its outcomes are known or `deadline` has passed. An error reply
// to the only copy means that it was not applied, except for PARTIAL: the script raises errors only
// before it writes. After FORGOTTEN, LATE and STALE another session is begun, but only for a batch
// that cannot have been applied. A missing answer is not waited for until the deadline: where
// packets vanish, only another connection gets one. kUnknown: the batch may have been applied, or
// may yet be; other errors: it was not.
Result<RedisReply> RedisStore::run_until_known(const RedisBatch& batch, Deadline deadline) {
  RedisArguments arguments;
  bool may_be_applied = false;
  milliseconds pause = kFirstPause;
  milliseconds attempt = first_attempt();
  for (;;) {
    if (!may_be_applied) {
      if (const Result<void> known = make_session_known(deadline); !known) return known.error();
      const Result<std::string> name = make_uuid();
      if (!name) return name.error();
      arguments = script_arguments(batch, sequence_, *name, session_left_at(deadline));
    }
    const Time begun = steady_clock::now();
    Result<RedisReply> reply = run_once(arguments, attempt, deadline);
    if (reply && !is_error(*reply)) return reply;
    Error error = reply ? connection_.unavailable(text_of(**reply)) : reply.error();
    const bool is_forgotten = reply && is_error(*reply, "FORGOTTEN");
    const bool is_over =
        is_forgotten || (reply && (is_error(*reply, "LATE") || is_error(*reply, "STALE")));
    const bool is_partial = reply && is_error(*reply, "PARTIAL");
    if (is_over) session_is_known_until_ = {};
    if (is_forgotten && acknowledged_ > 0) log_loss();
    if (is_partial || error.code == Code::kUnknown) may_be_applied = true;
    if (may_be_applied) error.code = Code::kUnknown;
    const bool asks_again = may_be_applied ? !is_over && !is_partial : is_over;
    if (!asks_again || steady_clock::now() + pause >= deadline) return error;
    if (steady_clock::now() - begun >= attempt) attempt *= 2;
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, kLongestPause);
  }
}

// What the script is called with. `sequence`: 0 if nothing in the batch changes anything. The times
// of windows cover the time in which a copy may arrive; not before 1970, where a clock without a
// battery begins, because the script reads digits alone.
RedisArguments RedisStore::script_arguments(const RedisBatch& batch, std::uint64_t sequence,
                                            const std::string& name,
                                            milliseconds least_left) const {
  const std::int64_t now_ms = unix_now_ms();
  constexpr std::int64_t kApart = milliseconds(kMaxClockDifference).count();
  const std::int64_t from_ms = std::max<std::int64_t>(now_ms - kApart, 0);
  RedisArguments arguments = {
      options_.redis_prefix,
      session_,
      std::to_string(sequence),
      std::to_string(now_ms),
      std::to_string(options_.max_keys),
      batch.list_windows(from_ms, now_ms + options_.timeout.count() + kApart),
      std::to_string(least_left.count()),
      std::to_string(acknowledged_),
      name};
  batch.append_arguments(options_, arguments);
  return arguments;
}

void RedisStore::apply(std::span<Step> batch, Deadline deadline) {
  deadline = std::min(deadline, steady_clock::now() + options_.timeout);
  const bool changes = needs_turn(batch);
  if (changes) ++sequence_;
  const RedisBatch request(batch);
  const auto report = [&](Deadline until) {
    return connection_.run(apply_, script_arguments(request, 0, "", milliseconds(0)), until);
  };
  const Result<RedisReply> reply =
      changes ? run_until_known(request, deadline) : read(deadline, report);
  if (!reply) {
    fail_batch(batch, reply.error());
    const bool refused = reply.error().code != Code::kUnknown && connection_.is_open();
    if (refused && changes) apply_reports(*this, batch, deadline);
    return;
  }
  std::string_view answer = text_of(**reply);
  if (answer.starts_with(kLost)) {
    log_loss();
    answer.remove_prefix(kLost.size());
  }
  if (changes) acknowledged_ = sequence_;
  if (!request.read_outcomes(answer)) {
    fail_batch(batch, {Code::kUnknown, connection_.unavailable(kNonsense).message});
  }
  for (Step& step : batch) explain_corrupt(step.operation, step.outcome);
}

// Says why the script has refused an operation by itself.
void RedisStore::explain_corrupt(const Operation& operation, Outcome& outcome) const {
  for (std::size_t i = 0; i < outcome.members.size(); ++i) {
    explain_corrupt(operation.members[i], outcome.members[i]);
  }
  if (outcome.code != Code::kUnavailable || !outcome.detail.empty()) return;
  const bool of_member = is_group(operation);
  outcome.detail =
      corrupt(of_member ? "one of the batch's counters" : "counter " + operation.name).message;
}

// Somebody else has written to the key of the counter.
Error RedisStore::corrupt(const std::string& counter) const {
  return connection_.unavailable("what is stored of " + counter +
                                 " is no 64-bit number, or its times are none; correct the fields "
                                 "v, c, u and e of its key (" +
                                 options_.redis_prefix + "c: and the name), or delete that");
}

// Nothing else would tell: a server that comes back with older data, or a replica in its place,
// answers as ever. What is asked from now on counts on from what it has.
void RedisStore::log_loss() {
  const Time now = steady_clock::now();
  if (now < next_loss_) return;
  next_loss_ = now + kLossPause;
  log_warning(
      "Redis at " + connection_.place() +
      " no longer knows all that it has acknowledged: if it was restarted, restored, emptied or "
      "replaced by a replica, counters may be as they were before (keys that it evicts, and its "
      "clock set forward by half an hour, look the same)");
}

Result<ListPage> RedisStore::list(const ListQuery& query, Deadline deadline) {
  std::string from = query.prefix.empty() ? "-" : "[" + query.prefix;
  if (!query.after.empty() && query.after >= query.prefix) from = "(" + query.after;
  const std::string to = query.prefix.empty() ? "+" : "(" + query.prefix + '\x7f';
  const RedisArguments arguments = {options_.redis_prefix, from, to, std::to_string(query.limit)};
  const Result<RedisReply> reply =
      read(deadline, [&](Deadline until) { return connection_.run(list_, arguments, until); });
  if (!reply) return reply.error();
  const redisReply& rows = **reply;
  ListPage page;
  if (rows.elements > 0) page.next = text_of(*rows.element[0]);
  // A list whose names do not ascend might never end.
  if (!page.next.empty() && (!check_counter_name(page.next) || page.next <= query.after)) {
    return connection_.unavailable(kNonsense);
  }
  for (std::size_t i = 1; i + 1 < rows.elements; i += 2) {
    ListPage::Row row{std::string(text_of(*rows.element[i])), 0};
    if (!check_counter_name(row.name)) return connection_.unavailable(kNonsense);
    if (!read_lenient(text_of(*rows.element[i + 1]), row.value)) {
      return corrupt("counter " + row.name);
    }
    page.rows.push_back(std::move(row));
  }
  return page;
}

// Not by PING, which a server that cannot save refuses. Its settings may have been changed since
// the connection was made.
Result<void> RedisStore::probe(Deadline deadline) {
  const Result<RedisReply> reply = read(deadline, [&](Deadline until) {
    return connection_.command({"GET", session_key()}, until);
  });
  if (!reply) return reply.error();
  return connection_.read_durability(deadline);
}

// Leaves no key behind for a store that is closed in good order: without it, each run of
// `counterctl --store` would leave one for an hour. Copies that are still on their way are refused,
// as of any session that the server has forgotten.
void RedisStore::forget_session() {
  if (!connection_.is_open() || connection_.is_spent() || sequence_ == 0) return;
  static_cast<void>(
      connection_.command({"DEL", session_key()}, steady_clock::now() + milliseconds(100)));
}

}  // namespace

Result<std::unique_ptr<Store>> open_engine(const RedisLocation& location,
                                           const StoreOptions& options) {
  Result<std::string> password = read_password(options.redis_password_file);
  if (!password) return password.error();
  if (password->empty() && !location.user.empty()) {
    return Error{Code::kConfig,
                 "a Redis user needs a password: name a file with "
                 "--redis-password-file"};
  }
  return std::unique_ptr<Store>(std::make_unique<RedisStore>(
      RedisConnection(location, std::move(*password), options.redis_password_file,
                      options.require_durable),
      options));
}

}  // namespace counterd
