// What a client asks of one counter, and the answer.
#pragma once

#include <chrono>
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

  // The idempotency key; empty: none. Not for a report, which may be repeated as it is.
  std::string key = {};  // REQUIRES: empty, or from parse_idempotency_key()
  // How long the key is known, if that is less than StoreOptions::key_lifetime; 0: that long.
  std::chrono::milliseconds key_lifetime{0};
};

inline bool changes_something(const Operation& operation) {
  return operation.kind != OperationKind::kReport;
}

// Whether the operation is applied once under its key.
inline bool is_keyed(const Operation& operation) {
  return !operation.key.empty() && changes_something(operation);
}

// What the operation does, as text, without its name and key: two operations on one counter are
// the same if their texts are.
std::string describe_operation(const Operation& operation);

// The answer to one operation.
struct Outcome {
  // kOk, kMissing, kOutOfRange, kKeyReused, kTooManyKeys, kStoreFull, kUnavailable, kUnknown
  Code code = Code::kOk;
  bool replayed = false;  // kOk: of an operation with the same key, applied before
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
