#include "cli/operations.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "common/outcome_json.h"

namespace counterd {
namespace {

bool needs_name(OperationKind kind) {
  return kind == OperationKind::kDelete || kind == OperationKind::kReport;
}

}  // namespace

OperationWords::OperationWords(CLI::App& app, OperationKind kind)
    : app_(&app), kind_(kind), given_(std::make_shared<Given>()) {
  app.add_option("name", given_->name,
                 needs_name(kind) ? "the counter" : "the counter (default: count)")
      ->type_name("NAME");
}

void OperationWords::add_option(const std::string& option, const char* type, const char* help) {
  std::string parameter = option.substr(2);
  std::ranges::replace(parameter, '-', '_');
  // Through a function: all go to one list, in the order given.
  app_->add_option_function<std::string>(
          option,
          [given = given_, parameter](const std::string& value) {
            given->parameters.emplace_back(parameter, value);
          },
          help)
      ->type_name(type);
}

void OperationWords::add_flag(const std::string& flag, const char* parameter, const char* value,
                              const char* help) {
  app_->add_flag_callback(
      flag,
      [given = given_, parameter, value] { given->parameters.emplace_back(parameter, value); },
      help);
}

Result<Operation> OperationWords::read() const {
  if (needs_name(kind_) && !given_->name)
    return Error{Code::kUsage, "the name of the counter is missing"};
  Result<std::string> name = name_or_default(given_->name);
  if (!name) return name.error();
  Result<Operation> operation =
      read_operation(kind_, std::move(*name), given_->parameters, Spelling::kOption);
  if (operation || operation.error().code != Code::kBadParameter) return operation;
  return Error{Code::kUsage, operation.error().message};
}

void OperationWords::forget() {
  *given_ = {};
}

std::string outcome_line(const Globals& globals, const Operation& operation,
                         const Outcome& outcome) {
  if (!globals.json) return std::to_string(plain_value(operation, outcome));
  std::string line;
  append_outcome_json(line, operation, outcome);
  return line;
}

std::string named_outcome_line(const Globals& globals, const Operation& operation,
                               const Outcome& outcome) {
  const std::string line = outcome_line(globals, operation, outcome);
  return globals.json ? line : operation.name + "\t" + line;
}

}  // namespace counterd
