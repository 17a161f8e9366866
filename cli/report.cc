#include <CLI/CLI.hpp>

#include "cli/command.h"
#include "cli/operations.h"
#include "common/limits.h"
#include "common/number.h"

namespace counterd {
namespace {

using Names = std::vector<std::string>;

struct Options {
  Names names;
  std::optional<std::string> missing;  // what a counter that is missing reads as
};

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

// Nothing: a missing counter is an error.
Result<std::optional<std::int64_t>> read_missing(const Options& options) {
  using Value = std::optional<std::int64_t>;
  if (!options.missing) return options.names.empty() ? Value(0) : Value();
  const Result<std::int64_t> value = parse_int64(*options.missing, "--default");
  if (!value) return value.error();
  return Value(*value);
}

void give_value_if_missing(Outcome& outcome, std::int64_t value) {
  if (outcome.code == Code::kMissing) outcome = {.value = value};
  for (Outcome& member : outcome.members) give_value_if_missing(member, value);
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

Result<void> report(const Globals& globals, const Options& options) {
  Result<Operation> operation = read_names(options.names);
  if (!operation) return operation.error();
  const Result<std::optional<std::int64_t>> missing = read_missing(options);
  if (!missing) return missing.error();
  Result<std::unique_ptr<Counters>> counters = open_counters(globals, globals.deadline);
  if (!counters) return counters.error();
  Step step{std::move(*operation)};
  (*counters)->apply(step, globals.deadline);
  if (*missing) give_value_if_missing(step.outcome, **missing);
  if (step.outcome.code != Code::kOk) return error_of(step);
  if (is_group(step.operation)) return print_all(globals, step.operation, step.outcome);
  print_line(globals, outcome_line(globals, step.operation, step.outcome));
  return {};
}

}  // namespace

Run add_report(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("names", options->names, "the counters (default: count, 0 if missing)")
      ->type_name("NAME");
  app.add_option("--default", options->missing,
                 "what a missing counter reads as (default: status 2)")
      ->type_name("N");
  return [options](const Globals& globals) { return report(globals, *options); };
}

}  // namespace counterd
