#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <iostream>

#include "cli/batch_lines.h"
#include "cli/change.h"
#include "common/idempotency_key.h"
#include "common/json.h"
#include "common/limits.h"
#include "common/number.h"

namespace counterd {
namespace {

using std::chrono::steady_clock;

// What the number of a portion adds to the key of all.
constexpr std::size_t kMaxPortionSuffix = 20;

struct Options {
  std::string file = "-";
  std::string portion = std::to_string(kMaxBatchOperations);
  std::optional<std::string> key;
  bool atomic = false;
};

// What has become of the input so far.
struct Progress {
  std::size_t portions = 0;
  std::size_t operations = 0;
  std::size_t last_line = 0;  // of those that were applied
  Code refusal = Code::kOk;   // the first one
  steady_clock::time_point start = steady_clock::now();
};

Result<std::string> read_key(const Options& options) {
  Result<std::string> key =
      options.key ? parse_idempotency_key(*options.key) : make_idempotency_key();
  if (!key)
    return Error{options.key ? Code::kUsage : key.error().code, "--key: " + key.error().message};
  if (key->size() + kMaxPortionSuffix > kMaxKeyLength) {
    return Error{Code::kUsage, "--key: longer than " +
                                   std::to_string(kMaxKeyLength - kMaxPortionSuffix) +
                                   " characters, which leaves no room for the portion's number"};
  }
  return key;
}

// What was applied before an error, which is behind `progress`.
std::string describe(const Progress& progress) {
  if (progress.last_line == 0) return "nothing was applied";
  return "the lines up to " + std::to_string(progress.last_line) +
         " were applied, none behind them";
}

class Batch {
 public:
  Batch(const Globals& globals, BatchLines& lines, std::size_t size, bool atomic, std::string key)
      : globals_(globals),
        lines_(lines),
        size_(size),
        atomic_(atomic),
        key_(std::move(key)),
        changer_(globals),
        shows_(!globals.quiet && isatty(STDERR_FILENO) == 1 && isatty(STDOUT_FILENO) == 0) {}

  Result<void> run() {
    Result<bool> more = true;
    while (more && *more) more = apply_next();
    if (shows_ && progress_.operations > 0) std::cerr << '\n';
    if (!more) return more.error();
    if (progress_.refusal == Code::kOk) return {};
    return Error{progress_.refusal, ""};
  }

 private:
  // False: that was the last portion.
  Result<bool> apply_next() {
    Result<Portion> portion = lines_.next(atomic_ ? size_ + 1 : size_);
    if (!portion) return behind(portion.error());
    if (portion->lines.size() > size_) {
      return Error{Code::kBadParameter, lines_.place(portion->lines.back()) +
                                            ": --atomic takes up to " + std::to_string(size_) +
                                            " operations; nothing was applied"};
    }
    if (portion->lines.empty()) return false;
    if (const Result<void> applied = apply(*portion); !applied) return applied.error();
    return !portion->is_last;
  }

  Error behind(const Error& error) const {
    return {error.code, error.message + "; " + describe(progress_)};
  }

  Result<void> apply(Portion& portion) {
    Step step{std::move(portion.group), {}};
    if (atomic_) step.operation.kind = OperationKind::kAll;
    step.operation.key = key_ + "#" + std::to_string(++progress_.portions);
    const Result<void> changed = changer_.change(step, steady_clock::now() + globals_.timeout);
    if (!changed) return explain_failure(portion, step, changed.error());
    print(portion, step);
    std::cout << std::flush;
    progress_.operations += portion.lines.size();
    progress_.last_line = portion.lines.back();
    if (!std::cout) return behind({Code::kIo, "cannot write to standard output"});
    if (shows_) show();
    return {};
  }

  Error explain_failure(const Portion& portion, const Step& step, const Error& error) const {
    if (error.code == Code::kUnknown) {
      return {error.code, error.message + "; nobody knows whether lines " +
                              std::to_string(portion.lines.front()) + " to " +
                              std::to_string(portion.lines.back()) +
                              " were applied: go on, without counting twice, with the same input "
                              "and: --key '" +
                              key_ + "'"};
    }
    if (step.outcome.members.empty()) return behind(error);
    const std::size_t refused = step.outcome.members.size() - 1;  // of --atomic
    return {error.code,
            lines_.place(portion.lines[refused]) + ": " +
                explain(step.operation.members[refused], step.outcome.members[refused]) +
                "; none of the lines was applied"};
  }

  void print(const Portion& portion, const Step& step) {
    for (std::size_t i = 0; i < portion.lines.size(); ++i) {
      const Operation& operation = step.operation.members[i];
      const Outcome& outcome = step.outcome.members[i];
      if (outcome.code == Code::kOk) {
        print_line(globals_, globals_.json ? json_line(operation, outcome)
                                           : operation.name + '\t' +
                                                 std::to_string(printed_value(operation, outcome)));
        continue;
      }
      if (progress_.refusal == Code::kOk) progress_.refusal = outcome.code;
      if (globals_.json) print_line(globals_, refusal_line(operation, outcome));
      std::cerr << "counterctl: " << lines_.place(portion.lines[i]) << ": "
                << explain(operation, outcome) << '\n';
    }
  }

  // So that there is a line for each operation.
  static std::string refusal_line(const Operation& operation, const Outcome& outcome) {
    std::string line = R"({"name":")" + operation.name + R"(","type":")" +
                       problem_type(outcome.code) + R"(","detail":)";
    append_json_string(line, explain(operation, outcome));
    return line + "}";
  }

  void show() const {
    const std::chrono::duration<double> time = steady_clock::now() - progress_.start;
    std::cerr << '\r' << progress_.operations << " operations, "
              << static_cast<std::int64_t>(static_cast<double>(progress_.operations) / time.count())
              << "/s " << std::flush;
  }

  const Globals& globals_;
  BatchLines& lines_;
  const std::size_t size_;
  const bool atomic_;
  const std::string key_;
  Changer changer_;
  const bool shows_;
  Progress progress_;
};

Result<void> run_batch(const Options& options, const Globals& globals) {
  const Result<std::int64_t> size = parse_int64_within(
      options.portion, "--portion", 1, static_cast<std::int64_t>(kMaxBatchOperations));
  if (!size) return size.error();
  Result<std::string> key = read_key(options);
  if (!key) return key.error();
  std::ifstream file;
  const bool is_file = options.file != "-";
  if (is_file) file.open(options.file);
  const std::string name = is_file ? quote_for_people(options.file) : "standard input";
  if (is_file && !file) return system_error(Code::kIo, "cannot read " + name, errno);
  BatchLines lines(is_file ? file : std::cin, is_file ? options.file : "standard input");
  return Batch(globals, lines, static_cast<std::size_t>(*size), options.atomic, std::move(*key))
      .run();
}

}  // namespace

Run add_batch(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("file", options->file, "lines of operations (default: -, standard input)")
      ->type_name("FILE");
  app.add_flag("--atomic", options->atomic, "apply all of them, or nothing if one is refused");
  app.add_option("--portion", options->portion,
                 "how many operations are applied at once, to 1000 (default: 1000)")
      ->type_name("N");
  app.add_option_function<std::string>(
         "--key", [options](const std::string& value) { options->key = value; },
         "idempotency key: the same input again with the same one is counted once "
         "(default: a fresh one)")
      ->type_name("KEY");
  return [options](const Globals& globals) { return run_batch(*options, globals); };
}

}  // namespace counterd
