#include <iostream>

#include "cli/command.h"
#include "common/counter_name.h"
#include "common/limits.h"

namespace counterd {
namespace {

std::string line_of(const Globals& globals, const Step& step, bool with_name) {
  const std::string value = std::to_string(step.outcome.value);
  if (globals.json) return R"({"name":")" + step.operation.name + R"(","value":)" + value + "}";
  return with_name ? step.operation.name + '\t' + value : value;
}

Result<std::vector<Step>> read_names(const std::vector<std::string>& names) {
  if (names.size() > kMaxBatchOperations) {
    return Error{Code::kUsage, "more than " + std::to_string(kMaxBatchOperations) + " names"};
  }
  std::vector<Step> steps;
  for (const std::string& name : names) {
    if (const Result<void> checked = check_counter_name(name); !checked) return checked.error();
    steps.emplace_back().operation.name = name;
  }
  return steps;
}

}  // namespace

Run add_report(CLI::App& app) {
  auto names = std::make_shared<std::vector<std::string>>();
  app.add_option("names", *names, "the counters (default: count, 0 if missing)")->type_name("NAME");
  return [names](const Globals& globals) -> Result<void> {
    const bool by_default = names->empty();
    Result<std::vector<Step>> steps =
        read_names(by_default ? std::vector{std::string(kDefaultCounter)} : *names);
    if (!steps) return steps.error();
    Result<std::unique_ptr<Counters>> counters = open_counters(globals);
    if (!counters) return counters.error();
    (*counters)->apply(*steps, globals.deadline);
    // The others are reported; the first failure that is worse than "missing" is the result.
    Code result = Code::kOk;
    std::string told;
    for (Step& step : *steps) {
      const bool missing = step.outcome.code == Code::kMissing;
      if (step.outcome.code == Code::kOk || (missing && by_default)) {
        print_line(globals, line_of(globals, step, steps->size() > 1));
        continue;
      }
      if (result == Code::kOk || (result == Code::kMissing && !missing)) result = step.outcome.code;
      // A server that is gone is told once, not for each name.
      const std::string message = error_of(step).message;
      if (message != told) std::cerr << "counterctl: " << message << '\n';
      told = message;
    }
    if (result == Code::kOk) return {};
    return Error{result, ""};
  };
}

}  // namespace counterd
