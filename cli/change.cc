#include "cli/change.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <random>
#include <thread>

#include "common/idempotency_key.h"
#include "common/limits.h"
#include "common/outcome_json.h"
#include "common/quote.h"
#include "common/timestamp.h"
#include "common/uuid.h"

namespace counterd {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// A key of our own is remembered for ten minutes, or for three times as long as we ask.
constexpr std::chrono::minutes kOwnKeyLifetime{10};

constexpr milliseconds kFirstPause{10};
constexpr milliseconds kLongestPause{1'000};

// At least so many attempts are made before the time is up: one answer that does not come, such as
// that of a stopped worker, must not use all of it.
constexpr int kAttempts = 3;

// The last attempt begins this long before the time is up, or a tenth of all the time if that is
// less, whatever the pause. After a slow attempt it begins earlier, so that its answer still comes
// and says why the change is refused: it gets twice the time that the slow one took, up to a sixth
// of all the time.
constexpr milliseconds kLastAttempt{100};

steady_clock::duration time_of_last_attempt(milliseconds timeout, steady_clock::duration before) {
  return std::clamp<steady_clock::duration>(2 * before, std::min(kLastAttempt, timeout / 10),
                                            std::max(timeout / 6, milliseconds(1)));
}

bool is_worth_another_try(Code code) {
  return code == Code::kUnavailable || code == Code::kUnknown || code == Code::kOverloaded ||
         code == Code::kTooManyKeys || code == Code::kStoreFull || code == Code::kRequestTimeout;
}

// Many clients that were cut off together should not come back together.
milliseconds with_jitter(milliseconds pause) {
  static std::mt19937 random(std::random_device{}());
  return milliseconds(
      std::uniform_int_distribution<milliseconds::rep>(pause.count() / 2, pause.count())(random));
}

// Even if one copy of a change is refused, an earlier copy under the same key may still be applied;
// but not if the key belongs to another change.
Error final_error(const Step& step, bool may_have_been_applied) {
  Error error = error_of(step);
  if (!may_have_been_applied || error.code == Code::kKeyReused) return error;
  if (error.code == Code::kUnknown) return error;
  return {Code::kUnknown, "an answer was lost, and then: " + error.message};
}

}  // namespace

// Asks once.
void Changer::try_once(Step& step, Deadline deadline) {
  const steady_clock::duration attempt = steady_clock::duration(globals_.timeout) / kAttempts;
  if (counters_ == nullptr) {
    Result<std::unique_ptr<Counters>> opened = open_counters(globals_, deadline);
    if (!opened) {
      step.outcome = failed(opened.error());
      return;
    }
    counters_ = std::move(*opened);
  }
  counters_->apply(step, std::min(deadline, steady_clock::now() + attempt));
}

Result<void> Changer::change(Step& step, Deadline deadline) {
  // By the clock by which stores forget keys: unlike the steady one, it goes on while the machine
  // is suspended (clock_gettime(2), CLOCK_MONOTONIC).
  const auto time = std::chrono::duration_cast<milliseconds>(deadline - steady_clock::now());
  const std::int64_t end_ms = unix_now_ms() + time.count();
  bool may_have_been_applied = false;
  milliseconds pause = kFirstPause;
  for (;;) {
    const Time begun = steady_clock::now();
    try_once(step, deadline);
    if (step.outcome.code == Code::kOk) return {};
    if (step.outcome.code == Code::kUnknown) may_have_been_applied = true;
    const Time now = steady_clock::now();
    const Time last = deadline - time_of_last_attempt(globals_.timeout, now - begun);
    if (!is_worth_another_try(step.outcome.code) || now >= last) {
      return final_error(step, may_have_been_applied);
    }
    std::this_thread::sleep_until(std::min(now + with_jitter(pause), last));
    pause = std::min(2 * pause, kLongestPause);
    // The process may have been stopped, or the machine suspended: by now the key may be forgotten.
    const bool may_count_twice = may_have_been_applied && unix_now_ms() >= end_ms;
    if (may_count_twice || steady_clock::now() >= deadline) {
      return final_error(step, may_have_been_applied);
    }
  }
}

Result<void> set_key(const Globals& globals, const std::optional<std::string>& given,
                     Operation& operation) {
  Result<std::string> key = given ? parse_idempotency_key(*given) : make_uuid();
  if (!key) return Error{given ? Code::kUsage : key.error().code, "--key: " + key.error().message};
  operation.key = std::move(*key);
  if (!given) {
    operation.key_lifetime =
        std::clamp<milliseconds>(3 * globals.timeout, kOwnKeyLifetime, kMaxKeyLifetime);
  }
  return {};
}

Code code_after_changes(Code code) {
  const int nothing_applied = code_info(Code::kUnavailable).exit_status;
  return code_info(code).exit_status == nothing_applied ? Code::kIo : code;
}

// Half, because asking again takes time too, perhaps with a longer --timeout than the first time.
std::string latest_retry(milliseconds key_lifetime) {
  if (key_lifetime.count() == 0) return " as long as the key is known";
  const milliseconds known = std::min<milliseconds>(key_lifetime, kDefaultKeyLifetime);
  return " by " + format_timestamp(unix_now_ms() + (known / 2).count());
}

std::string key_option(const std::string& key) {
  const bool looks_quoted = key.starts_with('"');
  const bool looks_like_option = key.starts_with('-') || key == "++";
  return std::string(" --key").append(looks_like_option ? "=" : " ") +
         quote_for_shell(looks_quoted ? quote_idempotency_key(key) : key);
}

std::string nothing_applied(bool key_given) {
  if (!key_given) return "; nothing was applied";
  return "; nothing was applied now, but what was sent before under this key may be: keep the key "
         "when you try again";
}

void add_key_option(CLI::App& app, std::optional<std::string>& key) {
  app.add_option("--key", key,
                 "idempotency key: asked for again with the same one, it is counted once "
                 "(default: a fresh one)")
      ->type_name("KEY");
}

Result<void> change_counter(const Globals& globals, Step& step,
                            const std::optional<std::string>& key) {
  if (const Result<void> set = set_key(globals, key, step.operation); !set) return set.error();
  const std::string by = latest_retry(step.operation.key_lifetime);
  Result<void> changed = Changer(globals).change(step, globals.deadline);
  if (changed) return changed;
  const auto& [code, message] = changed.error();
  if (code == Code::kUnknown) {
    return Error{code, message + "; nobody knows whether it was applied: ask again" + by +
                           ", without counting twice, with:" + key_option(step.operation.key)};
  }
  if (is_worth_another_try(code)) return Error{code, message + nothing_applied(key.has_value())};
  return changed;
}

Run run_change(const OperationWords& words, CLI::App& app) {
  auto key = std::make_shared<std::optional<std::string>>();
  add_key_option(app, *key);
  return [words, key](const Globals& globals) -> Result<void> {
    Result<Operation> operation = words.read();
    if (!operation) return operation.error();
    if (operation->check && *key) return Error{Code::kUsage, "--check changes nothing: no --key"};
    Step step{std::move(*operation)};
    Result<void> changed = change_counter(globals, step, *key);
    // A refusal by a bound is an answer too.
    const bool refused = !changed && changed.error().code == Code::kBeyondBound;
    if (changed || (globals.json && refused)) {
      print_line(globals, outcome_line(globals, step.operation, step.outcome));
    }
    const Result<void> written = flush_output();
    if (!changed || written || step.operation.check) return changed;
    return Error{Code::kIo, written.error().message + "; the change was made, and its answer is " +
                                std::to_string(plain_value(step.operation, step.outcome))};
  };
}

}  // namespace counterd
