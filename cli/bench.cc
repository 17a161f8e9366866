#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <csignal>
#include <functional>
#include <iomanip>
#include <iostream>
#include <sstream>

#include "cli/change.h"
#include "cli/command.h"
#include "cli/load.h"
#include "common/json.h"
#include "common/limits.h"
#include "common/number.h"
#include "common/quote.h"

namespace counterd {
namespace {

constexpr std::int64_t kMostConnections = 10'000;
constexpr std::int64_t kMostCounters = 10'000;
constexpr std::int64_t kHighestRate = 10'000'000;

// The longest wait until up to 1,000 counters of the load are created or deleted. Signals wait for
// as long.
constexpr std::chrono::seconds kLongestWait{5};

// The percentiles that are reported; their names in JSON, and for people.
struct Percentile {
  double percent;
  const char* json;
  const char* name;
};
constexpr std::array kPercentiles = {Percentile{50, "p50", "p50"}, Percentile{90, "p90", "p90"},
                                     Percentile{99, "p99", "p99"},
                                     Percentile{99.9, "p99_9", "p99.9"}};

std::string milliseconds_of(std::chrono::nanoseconds time) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(3) << static_cast<double>(time.count()) / 1e6;
  return text.str();
}

std::uint64_t per_second(const LoadResult& result) {
  if (result.time.count() == 0) return 0;
  return static_cast<std::uint64_t>(static_cast<double>(result.latencies.count()) * 1e9 /
                                    static_cast<double>(result.time.count()));
}

void show_progress(const LoadResult& result) {
  std::cerr << kClearLine << std::chrono::round<std::chrono::seconds>(result.time).count() << " s, "
            << result.latencies.count() << " requests, " << per_second(result) << " a second"
            << std::flush;
}

// Requests without a good answer.
std::uint64_t failures(const LoadResult& result) {
  return result.failed + result.lost + result.unanswered;
}

std::string json_of(const LoadResult& result) {
  std::string line = "{";
  const auto append_time = [&line](const char* name, std::chrono::nanoseconds time) {
    append_json_name(line, name);
    line += milliseconds_of(time);
  };
  append_json_member(line, "requests", result.latencies.count());
  append_time("seconds", result.time / 1'000);
  append_json_member(line, "per_second", per_second(result));
  append_json_member(line, "failed", failures(result));
  append_json_member(line, "lost", result.lost);
  append_json_member(line, "unanswered", result.unanswered);
  line += R"(,"latency_ms":{)";
  for (const auto& [percent, json, name] : kPercentiles) {
    append_time(json, result.latencies.percentile(percent));
  }
  append_time("max", result.latencies.longest());
  return line + "}}";
}

void print(const Globals& globals, const LoadResult& result) {
  if (globals.json) return print_line(globals, json_of(result));
  print_line(globals, "requests\t" + std::to_string(result.latencies.count()));
  print_line(globals, "per second\t" + std::to_string(per_second(result)));
  print_line(globals, "failed\t" + std::to_string(failures(result)));
  for (const auto& [percent, json, name] : kPercentiles) {
    print_line(globals, std::string(name) + "\t" +
                            milliseconds_of(result.latencies.percentile(percent)) + " ms");
  }
  print_line(globals, "max\t" + milliseconds_of(result.latencies.longest()) + " ms");
}

// SIGINT and SIGTERM, as far as the caller lets them end this program, wait for as long as this
// lives: they must not keep counters from being deleted.
class HeldSignals {
 public:
  HeldSignals() {
    sigemptyset(&signals_);
    for (const int signal : {SIGINT, SIGTERM}) {
      if (!is_ignored(signal)) sigaddset(&signals_, signal);
    }
    sigprocmask(SIG_BLOCK, &signals_, &before_);
  }
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;
  ~HeldSignals() { sigprocmask(SIG_SETMASK, &before_, nullptr); }
  const sigset_t& signals() const { return signals_; }
  // Whether one has come.
  bool has_one() const {
    sigset_t pending{};
    sigpending(&pending);
    sigandset(&pending, &pending, &signals_);
    return sigisemptyset(&pending) == 0;
  }

 private:
  // As a shell sets it for a command in the background.
  static bool is_ignored(int signal) {
    struct sigaction action {};
    sigaction(signal, nullptr, &action);
    return action.sa_handler == SIG_IGN;
  }

  sigset_t signals_{};
  sigset_t before_{};
};

// Changes the counters of the load, many at a time, until `stops`.
Result<void> change_counters(const Globals& globals, int number, OperationKind kind,
                             const std::function<bool()>& stops) {
  const std::unique_ptr<Counters> counters = counters_of_server(globals.server);
  const auto patience = std::min<std::chrono::milliseconds>(globals.timeout, kLongestWait);
  constexpr int kPortion = kMaxGroupOperations;
  for (int first = 0; first < number && !stops(); first += kPortion) {
    Step group{{OperationKind::kEach}};
    for (int i = first; i < std::min(number, first + kPortion); ++i) {
      group.operation.members.push_back({kind, load_counter(i)});
    }
    counters->apply(group, std::chrono::steady_clock::now() + patience);
    if (group.outcome.code == Code::kOk) continue;
    Error error = error_of(group);
    if (first > 0) error.code = code_after_changes(error.code);
    return error;
  }
  return {};
}

// Prints the outcome of the plan. Returns the signal that ended it early, if one did.
Result<int> measure(const Globals& globals, const LoadPlan& plan, const HeldSignals& held) {
  const bool shows = shows_progress(globals);
  const auto progress = [shows](const LoadResult& so_far) {
    if (shows) show_progress(so_far);
  };
  const Result<LoadResult> result = run_load(plan, held.signals(), progress);
  if (shows) std::cerr << kClearLine;
  if (!result) return result.error();
  print(globals, *result);
  const Result<void> written = flush_output();  // before what may take a while
  const std::uint64_t failed = failures(*result);
  if (failed == 0 && !written) return written.error();
  if (failed == 0) return result->interrupted_by;
  return Error{Code::kUnavailable, std::to_string(failed) + " requests failed, the first with: " +
                                       quote_for_people(result->failure)};
}

// The same, with counters that are there for as long as it takes.
Result<int> measure_with_counters(const Globals& globals, const LoadPlan& plan) {
  const HeldSignals held;
  const Result<void> made = change_counters(globals, plan.counters, OperationKind::kReset,
                                            [&held] { return held.has_one(); });
  const bool none_is_there =
      !made && made.error().code != Code::kIo && made.error().code != Code::kUnknown;
  if (none_is_there) return made.error();
  Result<int> measured = made ? measure(globals, plan, held) : made.error();
  const Result<void> deleted =
      change_counters(globals, plan.counters, OperationKind::kDelete, [] { return false; });
  if (deleted) return measured;
  // Now: a signal that was held may end the program.
  if (!measured) print_message(measured.error().message);
  print_message("counters counterctl-bench.0 and so on may be left: " + deleted.error().message);
  return Error{(measured ? deleted.error() : measured.error()).code, ""};
}

struct Options {
  std::string connections = "32", duration = "10s", counters = "1", reports = "0", rate = "0";
  bool keyed = false;
};

Result<LoadPlan> read_plan(const Globals& globals, const Options& options) {
  LoadPlan plan{.server = globals.server, .keyed = options.keyed};
  const auto duration = parse_duration(options.duration, "--duration");
  if (!duration) return duration.error();
  plan.duration = *duration;
  const auto connections =
      parse_int64_within(options.connections, "--connections", 1, kMostConnections);
  if (!connections) return connections.error();
  plan.connections = static_cast<int>(*connections);
  const auto counters = parse_int64_within(options.counters, "--counters", 1, kMostCounters);
  if (!counters) return counters.error();
  plan.counters = static_cast<int>(*counters);
  const auto reports = parse_int64_within(options.reports, "--reports", 0, 100);
  if (!reports) return reports.error();
  plan.reports = static_cast<int>(*reports);
  const auto rate = parse_int64_within(options.rate, "--rate", 0, kHighestRate);
  if (!rate) return rate.error();
  plan.rate = *rate;
  return plan;
}

Result<void> bench(const Globals& globals, const Options& options) {
  const Result<LoadPlan> plan = read_plan(globals, options);
  if (!plan) return plan.error();
  const Result<int> measured = measure_with_counters(globals, *plan);
  if (!measured) return measured.error();
  // The process that waits for this program should see why it ended.
  if (*measured != 0 && flush_output()) std::raise(*measured);
  return {};
}

}  // namespace

Run add_bench(CLI::App& app) {
  auto options = std::make_shared<Options>();
  const auto add = [&app](const char* name, std::string& value, const char* help,
                          const char* type) { app.add_option(name, value, help)->type_name(type); };
  add("--connections", options->connections,
      "how many ask at the same time, 1 to 10000 (default: 32)", "N");
  add("--duration", options->duration, "how long (default: 10s)", "TIME");
  add("--counters", options->counters,
      "how many counters, chosen at random, 1 to 10000 (default: 1)", "N");
  add("--reports", options->reports, "so many of 100 requests only report (default: 0)", "PERCENT");
  add("--rate", options->rate,
      "requests a second, up to 10000000; 0: as many as are answered (default: 0)", "N");
  app.add_flag("--keyed", options->keyed, "with an idempotency key for each increment");
  return [options](const Globals& globals) { return bench(globals, *options); };
}

}  // namespace counterd
