#include <CLI/CLI.hpp>

#include "cli/command.h"
#include "cli/operations.h"
#include "common/limits.h"

namespace counterd {
namespace {

using Names = std::vector<std::string>;

Result<Operation> report_of(const std::optional<std::string>& given) {
  Result<std::string> name = name_or_default(given);
  if (!name) return name.error();
  return Operation{OperationKind::kReport, std::move(*name)};
}

// One counter, or a group of them: their values at one moment.
Result<Operation> read_names(const Names& names) {
  if (names.empty()) return report_of(std::nullopt);
  if (names.size() == 1) return report_of(names.front());
  if (names.size() > kMaxGroupOperations) {
    return Error{Code::kUsage,
                 "more than " + std::to_string(kMaxGroupOperations) +
                     " names (counterctl batch takes any number of lines: report NAME)"};
  }
  Operation group{OperationKind::kEach};
  for (const std::string& name : names) {
    Result<Operation> operation = report_of(name);
    if (!operation) return operation;
    group.members.push_back(std::move(*operation));
  }
  return group;
}

Result<void> print_all(const Globals& globals, const Operation& group, const Outcome& outcome) {
  Code result = Code::kOk;
  for (std::size_t i = 0; i < group.members.size(); ++i) {
    if (outcome.members[i].code == Code::kOk) {
      print_line(globals, named_outcome_line(globals, group.members[i], outcome.members[i]));
    } else {
      print_message(explain(group.members[i], outcome.members[i]));
      result = outcome.members[i].code;
    }
  }
  if (result == Code::kOk) return {};
  return Error{result, ""};
}

}  // namespace

Run add_report(CLI::App& app) {
  auto names = std::make_shared<Names>();
  app.add_option("names", *names, "the counters (default: count, 0 if missing)")->type_name("NAME");
  return [names](const Globals& globals) -> Result<void> {
    Result<Operation> operation = read_names(*names);
    if (!operation) return operation.error();
    Result<std::unique_ptr<Counters>> counters = open_counters(globals, globals.deadline);
    if (!counters) return counters.error();
    const Step step{*operation, (*counters)->apply(*operation, globals.deadline)};
    // The default counter reads as 0 where it is missing.
    const bool is_zero = names->empty() && step.outcome.code == Code::kMissing;
    if (step.outcome.code != Code::kOk && !is_zero) return error_of(step);
    if (is_group(step.operation)) return print_all(globals, step.operation, step.outcome);
    print_line(globals, outcome_line(globals, step.operation, step.outcome));
    return {};
  };
}

}  // namespace counterd
