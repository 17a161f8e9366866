// What a client asks of one counter, and the answer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/error.h"

namespace counterd {

enum class OperationKind : unsigned char { kIncrement, kReset, kDelete, kReport };

struct Operation {
  OperationKind kind = OperationKind::kReport;
  std::string name;          // REQUIRES: check_counter_name() accepts it
  std::int64_t operand = 0;  // increment: the delta; reset: the new value
};

inline bool changes_something(const Operation& operation) {
  return operation.kind != OperationKind::kReport;
}

// The answer to one operation.
struct Outcome {
  Code code = Code::kOk;  // kOk, kMissing, kOutOfRange, kUnavailable, kUnknown
  std::string detail;     // why, for people; empty where the code says it all

  // The rest is set with kOk, and `value` with kOutOfRange too.
  std::int64_t value = 0;                // after the operation; delete: before it
  std::optional<std::int64_t> previous;  // reset: before it; nothing: it was missing
  std::int64_t created_at_ms = 0;        // report: milliseconds since 1970, UTC
  std::int64_t updated_at_ms = 0;        // report
};

// One operation with the place for its outcome: what a batch is made of.
struct Step {
  Operation operation;
  Outcome outcome;
};

}  // namespace counterd
