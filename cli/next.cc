#include <CLI/CLI.hpp>
#include <limits>

#include "cli/change.h"
#include "cli/command.h"
#include "common/number.h"

namespace counterd {
namespace {

using Limits = std::numeric_limits<std::int64_t>;

struct Options {
  std::optional<std::string> name, key, count;
  std::string start = "1";
};

// Numbers are reserved by adding how many are wanted: the counter holds the last one reserved.
Result<void> next(const Options& options, const Globals& globals) {
  const Result<std::string> name = name_or_default(options.name);
  if (!name) return name.error();
  const Result<std::int64_t> count =
      parse_int64_within(options.count.value_or("1"), "--count", 1, Limits::max());
  if (!count) return count.error();
  const Result<std::int64_t> start =
      parse_int64_within(options.start, "--start", Limits::min() + 1, Limits::max());
  if (!start) return start.error();
  Step step{{OperationKind::kIncrement, *name, *count, *start - 1}};
  Result<void> changed = change_counter(globals, step, options.key);
  if (!changed) return changed;
  const std::string last = std::to_string(step.outcome.value);
  const std::string first = std::to_string(wrapping_subtract(step.outcome.value, *count - 1));
  if (globals.json) {
    print_line(globals,
               R"({"name":")" + *name + R"(","first":)" + first + R"(,"last":)" + last + "}");
  } else {
    print_line(globals, options.count ? first + "\t" + last : last);
  }
  const Result<void> written = flush_output();
  if (written) return {};
  return Error{Code::kIo, written.error().message + "; the numbers from " + first + " to " + last +
                              " are reserved"};
}

}  // namespace

Run add_next(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("name", options->name, "the counter (default: count)")->type_name("NAME");
  app.add_option("--count", options->count,
                 "how many numbers: prints the first, a tab, the last (default: one, alone)")
      ->type_name("N");
  app.add_option("--start", options->start,
                 "the first number, where there is no such counter yet (default: 1)")
      ->type_name("N");
  add_key_option(app, options->key);
  return [options](const Globals& globals) { return next(*options, globals); };
}

}  // namespace counterd
