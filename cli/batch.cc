#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <limits>

#include "cli/batch_lines.h"
#include "cli/change.h"
#include "cli/last_words.h"
#include "common/json.h"
#include "common/limits.h"
#include "common/number.h"
#include "common/outcome_json.h"
#include "common/quote.h"

namespace counterd {
namespace {

using std::chrono::steady_clock;

// The most that a portion's line number adds to the common key.
constexpr std::size_t kMaxKeySuffix = 20;

constexpr std::int64_t kLastLine = std::numeric_limits<std::int64_t>::max();

struct Options {
  std::string file = "-", from = "1";
  std::string portion = std::to_string(kMaxGroupOperations);
  std::optional<std::string> key;
  bool atomic = false;
};

// How the input is applied.
struct Plan {
  std::size_t portion = 0;  // operations at once
  bool atomic = false;
  std::string key;  // common to all portions: each appends its first line
  std::chrono::milliseconds key_lifetime{0};
};

Result<Plan> read_plan(const Options& options, const Globals& globals) {
  const Result<std::int64_t> portion = parse_int64_within(
      options.portion, "--portion", 1, static_cast<std::int64_t>(kMaxGroupOperations));
  if (!portion) return portion.error();
  Operation keyed;
  if (const Result<void> key = set_key(globals, options.key, keyed); !key) return key.error();
  if (keyed.key.size() + kMaxKeySuffix > kMaxKeyLength) {
    return Error{Code::kUsage, "--key: longer than " +
                                   std::to_string(kMaxKeyLength - kMaxKeySuffix) +
                                   " characters, which leaves no room for the number of a line"};
  }
  return Plan{static_cast<std::size_t>(*portion), options.atomic, keyed.key, keyed.key_lifetime};
}

class Batch {
 public:
  Batch(const Globals& globals, BatchLines& lines, Plan plan)
      : globals_(globals),
        lines_(lines),
        plan_(std::move(plan)),
        changer_(globals),
        shows_(shows_progress(globals) && isatty(STDOUT_FILENO) == 0) {}

  Result<void> run() {
    Result<bool> more = true;
    while (more && *more) more = apply_next();
    if (shows_ && operations_ > 0) std::cerr << '\n';
    if (!more) return more.error();
    if (refusal_ == Code::kOk) return {};
    return Error{refusal_, ""};
  }

  // Whether the input had no operation at all. REQUIRES: run() has succeeded
  bool was_empty() const { return operations_ == 0; }

 private:
  // False: that was the last portion.
  Result<bool> apply_next() {
    Result<Portion> portion = lines_.next(plan_.atomic ? plan_.portion + 1 : plan_.portion);
    if (!portion) return stopped_by(portion.error());
    if (portion->lines.size() > plan_.portion) {
      return Error{Code::kBadParameter,
                   lines_.place(portion->lines.back()) + ": --atomic takes up to " +
                       std::to_string(plan_.portion) + " operations; nothing was applied"};
    }
    if (portion->lines.empty()) return false;
    if (const Result<void> applied = apply(*portion); !applied) return applied.error();
    return !portion->is_last;
  }

  Result<void> apply(Portion& portion) {
    Step step{std::move(portion.group)};
    if (plan_.atomic) step.operation.kind = OperationKind::kAll;
    step.operation.key = plan_.key + "#" + std::to_string(portion.lines.front());
    step.operation.key_lifetime = plan_.key_lifetime;
    const std::string by = latest_retry(plan_.key_lifetime);
    prepare_last_words(portion.lines.front(), by);
    const Result<void> changed = changer_.change(step, steady_clock::now() + globals_.timeout);
    if (!changed) return explain_failure(portion, step, changed.error(), by);
    operations_ += portion.lines.size();
    last_line_ = portion.lines.back();
    print(portion, step);
    if (const Result<void> written = flush_output(); !written) return stopped_by(written.error());
    prepare_last_words(last_line_ + 1, "");  // which has not been sent yet
    if (shows_) show();
    return {};
  }

  // What an error means after what was applied so far.
  Error stopped_by(const Error& error) const {
    if (last_line_ == 0) return {error.code, error.message + nothing_applied(key_given())};
    return {code_after_changes(error.code), error.message + what_was_applied() + go_on_after()};
  }

  // REQUIRES: something was
  std::string what_was_applied() const {
    return "; the lines up to " + std::to_string(last_line_) + " were applied" +
           (refusal_ == Code::kOk ? "" : ", but for those that were refused");
  }

  // From after the last line. Under a key that was given, another run may have come further.
  std::string go_on_after() const {
    const std::string from = go_on_from(last_line_ + 1);
    if (!key_given()) return ", none after them: go on with" + from;
    return ": go on, without counting twice, with" + from + key_option(plan_.key);
  }

  bool key_given() const { return plan_.key_lifetime.count() == 0; }

  std::string go_on_from(std::size_t line) const {
    const bool has_size = plan_.portion != kMaxGroupOperations;
    return " --from " + std::to_string(line) +
           (has_size ? " --portion " + std::to_string(plan_.portion) : "") +
           (plan_.atomic ? " --atomic" : "");
  }

  // From the first line of a portion, whether it was applied or not. `by`: see latest_retry().
  std::string go_on_again_from(std::size_t line, const std::string& by) const {
    return "go on" + by + ", without counting twice, with the same input and" + go_on_from(line) +
           key_option(plan_.key);
  }

  void prepare_last_words(std::size_t line, const std::string& by) const {
    set_last_words(std::string(shows_ ? kClearLine : "") +
                   "counterctl: ended by a signal: " + go_on_again_from(line, by) + "\n");
  }

  Error explain_failure(const Portion& portion, const Step& step, const Error& error,
                        const std::string& by) const {
    if (error.code == Code::kUnknown) {
      return {error.code, error.message + "; nobody knows whether lines " +
                              std::to_string(portion.lines.front()) + " to " +
                              std::to_string(portion.lines.back()) +
                              " were applied: " + go_on_again_from(portion.lines.front(), by)};
    }
    if (error.code == Code::kKeyReused) return explain_other_input(portion, error);
    if (error.code == Code::kBadParameter) {  // "operation N: …", of those of the portion
      return stopped_by(
          {error.code, "from " + lines_.place(portion.lines.front()) + " on, " + error.message});
    }
    if (step.outcome.members.empty()) return stopped_by(error);
    const std::size_t refused = step.outcome.members.size() - 1;  // of --atomic
    const Operation& operation = step.operation.members[refused];
    const Outcome& outcome = step.outcome.members[refused];
    if (globals_.json) print_line(globals_, refusal_line(operation, outcome));
    return {error.code, lines_.place(portion.lines[refused]) + ": " + explain(operation, outcome) +
                            "; none of the lines was applied"};
  }

  // Nobody knows here which lines this portion has in common with the one that had the key before.
  Error explain_other_input(const Portion& portion, const Error& error) const {
    const std::string before = last_line_ == 0 ? "" : what_was_applied();
    return {error.code,
            lines_.place(portion.lines.front()) + ": " + error.message +
                "; it began at this line too, and may have had some of the lines that follow" +
                before +
                ": if the input has grown or changed, put what was not applied yet into another "
                "one, with another --key"};
  }

  void print(const Portion& portion, const Step& step) {
    for (std::size_t i = 0; i < portion.lines.size(); ++i) {
      const Operation& operation = step.operation.members[i];
      const Outcome& outcome = step.outcome.members[i];
      if (outcome.code == Code::kOk) {
        print_line(globals_, named_outcome_line(globals_, operation, outcome));
        continue;
      }
      if (refusal_ == Code::kOk) refusal_ = outcome.code;
      if (globals_.json) print_line(globals_, refusal_line(operation, outcome));
      if (shows_) std::cerr << kClearLine;
      print_message(lines_.place(portion.lines[i]) + ": " + explain(operation, outcome));
    }
  }

  // So that there is a line for each operation.
  static std::string refusal_line(const Operation& operation, const Outcome& outcome) {
    std::string line = "{";
    append_json_member(line, "name", operation.name);
    append_json_member(line, "type", problem_type(refusal_code(operation, outcome)));
    append_json_member(line, "detail", explain(operation, outcome));
    append_bound(line, operation, outcome);
    return line + "}";
  }

  void show() const {
    const std::chrono::duration<double> time = steady_clock::now() - start_;
    std::cerr << kClearLine << operations_ << " operations, "
              << static_cast<std::int64_t>(static_cast<double>(operations_) / time.count()) << "/s"
              << std::flush;
  }

  const Globals& globals_;
  BatchLines& lines_;
  const Plan plan_;
  Changer changer_;
  const bool shows_;  // the progress
  const Time start_ = steady_clock::now();
  std::size_t operations_ = 0;  // that were applied
  std::size_t last_line_ = 0;   // of those
  Code refusal_ = Code::kOk;    // the first one
};

Result<void> apply_lines(const Options& options, const Globals& globals) {
  Result<Plan> plan = read_plan(options, globals);
  if (!plan) return plan.error();
  const Result<std::int64_t> from = parse_int64_within(options.from, "--from", 1, kLastLine);
  if (!from) return from.error();
  std::ifstream file;
  const bool is_file = options.file != "-";
  if (is_file) file.open(options.file);
  if (!file) {
    return system_error(Code::kIo, "cannot read " + quote_for_people(options.file), errno,
                        "; nothing was applied");
  }
  BatchLines lines(is_file ? file : std::cin, is_file ? options.file : "standard input",
                   static_cast<std::size_t>(*from));
  Batch batch(globals, lines, std::move(*plan));
  Result<void> applied = batch.run();
  std::error_code unused;
  const bool key_is_file = options.key && std::filesystem::is_regular_file(*options.key, unused);
  if (!applied || is_file || !batch.was_empty() || !key_is_file) return applied;
  // `--key $KEY FILE`, where the variable is not set and stands without quotation marks.
  return Error{Code::kUsage,
               "nothing was applied: standard input has no operation, and the --key " +
                   quote_for_people(*options.key) +
                   " is a file; if that holds the operations, its key is missing"};
}

}  // namespace

Run add_batch(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("file", options->file,
                 "lines such as: increment NAME --by 2 (default: -, standard input)")
      ->type_name("FILE");
  app.add_flag("--atomic", options->atomic, "apply all of them, or nothing if one is refused");
  app.add_option("--from", options->from, "begin at this line (default: 1)")->type_name("LINE");
  app.add_option("--portion", options->portion,
                 "how many operations are applied at once, 1 to 1000 (default: 1000)")
      ->type_name("N");
  add_key_option(app, options->key);
  return [options](const Globals& globals) { return apply_lines(*options, globals); };
}

}  // namespace counterd
