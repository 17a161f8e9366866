#include "common/outcome_json.h"

#include "common/json.h"
#include "common/timestamp.h"

namespace counterd {
namespace {

void append_previous(std::string& out, const std::optional<std::int64_t>& previous) {
  append_json_name(out, "previous");
  out += previous ? std::to_string(*previous) : "null";
}

// `ms`: milliseconds since 1970, UTC; 0: there is no such moment.
void append_moment(std::string& out, std::string_view name, std::int64_t ms) {
  append_json_name(out, name);
  if (ms == 0) {
    out += "null";
  } else {
    out.append("\"").append(format_timestamp(ms)).append("\"");
  }
}

void append_room(std::string& out, const Operation& operation, const Outcome& outcome) {
  if (const auto left = remaining(operation, outcome.value)) {
    append_json_member(out, "remaining", *left);
  }
  if (operation.lifetime.window) {  // which always ends, if perhaps in 1970
    append_json_member(out, "resets_at", format_timestamp(outcome.expires_at_ms));
  }
}

}  // namespace

void append_outcome_json(std::string& out, const Operation& operation, const Outcome& outcome) {
  out.append(R"({"name":")").append(operation.name).append("\"");  // a name needs no escaping
  switch (operation.kind) {
    case OperationKind::kIncrement:
      append_json_member(out, "value", outcome.value);
      append_json_member(out, "applied",
                         outcome.code == Code::kOk ? applied_by(operation, outcome) : 0);
      append_room(out, operation, outcome);
      break;
    case OperationKind::kReset:
      append_json_member(out, "value", outcome.value);
      append_previous(out, outcome.previous);
      break;
    case OperationKind::kDelete:
      append_previous(out, outcome.value);
      break;
    case OperationKind::kReport:
    case OperationKind::kEach:
    case OperationKind::kAll:
      append_json_member(out, "value", outcome.value);
      append_moment(out, "created_at", outcome.created_at_ms);
      append_moment(out, "updated_at", outcome.updated_at_ms);
      append_moment(out, "expires_at", outcome.expires_at_ms);
  }
  out += '}';
}

void append_bound(std::string& out, const Operation& operation, const Outcome& outcome) {
  if (outcome.code != Code::kBeyondBound) return;
  const BrokenBound broken = broken_bound(operation, outcome.value);
  append_json_member(out, "value", outcome.value);
  append_json_member(out, "bound", broken.bound);
  append_json_name(out, "would_be");
  out += broken.would_be;
  append_room(out, operation, outcome);
}

std::int64_t plain_value(const Operation& operation, const Outcome& outcome) {
  return operation.kind == OperationKind::kReset ? outcome.previous.value_or(0) : outcome.value;
}

}  // namespace counterd
