#include "cli/operations.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "cli/command.h"
#include "common/number.h"

namespace counterd {

Result<Operation> operation_on(OperationKind kind, const std::optional<std::string>& given) {
  Result<std::string> name = name_or_default(given);
  if (!name) return name.error();
  Operation operation;
  operation.kind = kind;
  operation.name = std::move(*name);
  return operation;
}

OperationWords::OperationWords(CLI::App& app, OperationKind kind, bool named)
    : app_(&app), kind_(kind), named_(named), given_(std::make_shared<Given>()) {
  app.add_option("name", given_->name, named ? "the counter" : "the counter (default: count)")
      ->type_name("NAME");
}

void OperationWords::add_option(const std::string& option, const char* type, const char* help) {
  std::string parameter = option.substr(2);
  std::replace(parameter.begin(), parameter.end(), '-', '_');
  // Through a function: CLI11 takes an empty value as none.
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
  if (named_ && !given_->name) return Error{Code::kUsage, "the name of the counter is missing"};
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

std::int64_t printed_value(const Operation& operation, const Outcome& outcome) {
  return operation.kind == OperationKind::kReset ? outcome.previous.value_or(0) : outcome.value;
}

std::string json_line(const Operation& operation, const Outcome& outcome) {
  const std::string value = std::to_string(outcome.value);
  std::string members;
  if (operation.kind == OperationKind::kDelete) {
    members = R"(,"previous":)" + value;
  } else {
    members = R"(,"value":)" + value;
  }
  if (operation.kind == OperationKind::kReset) {
    members += R"(,"previous":)" + (outcome.previous ? std::to_string(*outcome.previous) : "null");
  } else if (operation.kind == OperationKind::kIncrement) {
    const bool applied = outcome.code == Code::kOk;
    const std::optional<std::uint64_t> left = remaining(operation, outcome.value);
    members += R"(,"applied":)" + std::to_string(applied ? applied_by(operation, outcome) : 0);
    if (left) members += R"(,"remaining":)" + std::to_string(*left);
  }
  const bool asks_for_end = operation.lifetime.window.has_value();
  const bool reports_end = operation.kind == OperationKind::kReport && outcome.expires_at_ms != 0;
  if (asks_for_end || reports_end) {
    members.append(asks_for_end ? R"(,"resets_at":")" : R"(,"expires_at":")");
    members.append(format_timestamp(outcome.expires_at_ms)).append("\"");
  }
  return R"({"name":")" + operation.name + "\"" + members + "}";
}

}  // namespace counterd
