// What a client asks of one counter, or of a group of them at once, and the answer.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/calendar.h"
#include "common/error.h"

namespace counterd {

// The values between which an increment leaves its counter.
struct Bounds {
  std::optional<std::int64_t> min, max;  // REQUIRES: min <= max
  // Apply as much of the delta as fits, instead of refusing it. REQUIRES: min or max
  bool clamp = false;

  bool operator==(const Bounds&) const = default;
};

// When a counter that an increment has created or changed ends.
struct Lifetime {
  // From when it is set; nothing: the increment sets no end. REQUIRES: positive, up to 365 days
  std::optional<std::chrono::milliseconds> ttl;
  // Set again by each increment; otherwise only by the one that creates the counter.
  bool renew = false;
  // The counter is one of this window, and ends with it. REQUIRES: no ttl
  std::optional<Window> window = {};

  bool operator==(const Lifetime&) const = default;
};

// kBadParameter, unless `bounds` meet their requirements.
Result<void> check_bounds(const Bounds& bounds);

enum class OperationKind : unsigned char {
  kIncrement,
  kReset,
  kDelete,
  kReport,
  // Groups, whose members are applied in their order with nothing in between:
  kEach,  // each on its own
  kAll,   // all of them or, if one is refused, none
};

struct Operation {
  OperationKind kind = OperationKind::kReport;
  std::string name = {};     // REQUIRES: check_counter_name() accepts it; a group: empty
  std::int64_t operand = 0;  // increment: the delta; reset: the new value

  // For increments only.
  std::int64_t initial = 0;  // what a missing counter holds before it
  Bounds bounds = {};
  Lifetime lifetime = {};
  bool check = false;  // only asks whether it would be applied, and changes nothing

  // For resets only: whether it creates a missing counter, or is refused as kMissing.
  bool create = true;

  // The idempotency key; empty: none. Not for a report, which may be repeated as it is.
  std::string key = {};  // REQUIRES: empty, or from parse_idempotency_key()
  // How long the key is known, if that is less than StoreOptions::key_lifetime; 0: that long.
  std::chrono::milliseconds key_lifetime{0};

  // Of a group: what is asked of its counters. REQUIRES: 1 to kMaxGroupOperations, of one counter
  // each, without keys of their own
  std::vector<Operation> members = {};
};

inline bool is_group(const Operation& operation) {
  return operation.kind == OperationKind::kEach || operation.kind == OperationKind::kAll;
}

// How many operations on one counter it consists of.
inline std::size_t size_of(const Operation& operation) {
  return is_group(operation) ? operation.members.size() : 1;
}

bool changes_something(const Operation& operation);

// resolve_timezone() of calendar.h for each window of the operation, or of its members.
Result<void> resolve_timezones(Operation& operation);

// Whether the operation is applied once under its key.
inline bool is_keyed(const Operation& operation) {
  return !operation.key.empty() && changes_something(operation);
}

// What an increment makes of a counter.
struct Sum {
  Code code = Code::kOk;   // kOk, kBeyondBound, kOutOfRange
  std::int64_t value = 0;  // after it; as before unless kOk
};

// Adds `delta` to `value`. Without `clamp` a sum below `min` or above `max` is kBeyondBound,
// whatever the value was. With it, the sum is moved back to the bound in the direction of the
// delta, but not beyond `value`: what is applied is between nothing and the delta, even if the
// value was already out of bounds. A sum that no bound limits and that is beyond 64 bits is
// kOutOfRange.
Sum add_within(std::int64_t value, std::int64_t delta, const Bounds& bounds);

// The bound that a refused increment would have broken, and what it would have made of `value`, as
// decimal digits, since it may be beyond 64 bits. REQUIRES: add_within() says kBeyondBound
struct BrokenBound {
  bool is_max = false;
  std::int64_t bound = 0;
  std::string would_be;
};
BrokenBound broken_bound(const Operation& operation, std::int64_t value);

// How much more can be added (or subtracted, if the operation does that) to `value` until the
// operation's bound is reached; nothing: it has no bound in that direction.
std::optional<std::uint64_t> remaining(const Operation& operation, std::int64_t value);

// What the operation does, as one short line of text, without its name and key: two operations on
// one counter are the same if their texts are. The text of a group holds a 128-bit digest of what
// its members do. Stores keep it under idempotency keys. So the text of an operation that can be
// asked for today must never change: a repetition of it would be taken for another operation.
std::string identity_of(const Operation& operation);

// The answer to one operation.
struct Outcome {
  // Of a store: kOk, kMissing, kOutOfRange, kBeyondBound, kOtherWindow, kClocksApart, kKeyReused,
  // kTooManyKeys, kStoreFull, kUnavailable, kUnknown. Of a daemon that was asked: any.
  Code code = Code::kOk;
  bool replayed = false;    // kOk: of an operation with the same key, applied before
  std::string detail = {};  // why, for people; empty where the code says it all

  // The rest is set with kOk. With kOutOfRange and kBeyondBound, `value` is set too: to that of the
  // counter, or to the operation's `initial` if there is none; and for an increment with a window,
  // so are `expires_at_ms`, when the window ends, and `updated_at_ms`, when the increment came.
  std::int64_t value = 0;  // after the operation; delete: before it
  // The value before a reset, nothing if the counter was missing; or before an increment that
  // clamps and does not only check.
  std::optional<std::int64_t> previous = {};
  std::int64_t created_at_ms = 0;  // report: milliseconds since 1970, UTC
  std::int64_t updated_at_ms = 0;  // report
  std::int64_t expires_at_ms = 0;  // report; 0: it has no end
  std::string window = {};  // kOtherWindow: that of the counter, described; empty: it has none

  // Of a group: with kOk, the outcomes of its members, which in a kEach may be refusals. A kAll
  // with a refused member has that member's code, and the outcomes up to and including its own.
  std::vector<Outcome> members = {};
};

// The outcome of an operation that an error has kept from being applied, or from being known.
Outcome failed(const Error& error);

// How much of an increment's delta was applied; 0 for one that only checks.
// REQUIRES: the outcome is kOk
std::int64_t applied_by(const Operation& operation, const Outcome& outcome);

// One operation with the place for its outcome: what a batch is made of.
struct Step {
  Operation operation = {};
  Outcome outcome = {};
};

// The code by which programs are told of a refusal: the outcome's, but kLimitReached for an
// increment that its bound refuses and that would be applied in the next window.
Code refusal_code(const Operation& operation, const Outcome& outcome);

// What an explanation begins with that is about the member `number`, from 1, of a group of `size`.
std::string place_in_group(std::size_t number, std::size_t size);

// Explains the outcome of `operation` to people: its `detail`, if it has one, or what its code
// means. REQUIRES: the code is not kOk
std::string explain(const Operation& operation, const Outcome& outcome);

}  // namespace counterd
