#include "common/store/counter.h"

namespace counterd {
namespace {

void change(Counter& counter, std::int64_t value, std::int64_t now_ms) {
  if (!counter.exists) {
    counter.created_at_ms = now_ms;
    counter.expires_at_ms = 0;
    counter.keeps_end = false;
    counter.window.emplace();
  }
  counter.exists = counter.changed = true;
  counter.value = value;
  counter.updated_at_ms = now_ms;
}

// Whether the counter has a window that the increment would take from it, or lacks the increment's.
// REQUIRES: the counter's window has been read
bool has_other_window(const Counter& counter, const Lifetime& lifetime) {
  if (!counter.exists) return false;
  if (!lifetime.window) return lifetime.renew && !counter.window->empty();
  return *counter.window != identity_of(*lifetime.window);
}

// When the counter ends after the increment.
std::int64_t end_after(const Counter& counter, const Lifetime& lifetime, std::int64_t now_ms) {
  if (counter.exists && !lifetime.renew) return counter.expires_at_ms;
  if (lifetime.window) return window_end(*lifetime.window, now_ms);
  if (lifetime.ttl) return now_ms + lifetime.ttl->count();
  return 0;
}

// The outcome of an increment whose counter ends at `expires_at_ms` and had the value `before`.
Outcome sum_up(std::int64_t before, const Operation& operation, std::int64_t expires_at_ms,
               std::int64_t now_ms) {
  Outcome outcome;
  const Sum sum = add_within(before, operation.operand, operation.bounds);
  outcome.code = sum.code;
  if (operation.check) {
    outcome.value = before;
  } else {
    outcome.value = sum.value;
    if (operation.bounds.clamp && sum.code == Code::kOk) outcome.previous = before;
  }
  if (operation.lifetime.window) {
    outcome.updated_at_ms = now_ms;
    outcome.expires_at_ms = expires_at_ms;
  }
  return outcome;
}

Outcome increment(Counter& counter, const Operation& operation, std::int64_t now_ms) {
  const Lifetime& lifetime = operation.lifetime;
  if (asks_for_window(operation) && has_other_window(counter, lifetime)) {
    return {.code = Code::kOtherWindow, .window = *counter.window};
  }
  const std::int64_t before = counter.exists ? counter.value : operation.initial;
  const std::int64_t end = end_after(counter, lifetime, now_ms);
  Outcome outcome = sum_up(before, operation, end, now_ms);
  if (outcome.code != Code::kOk || operation.check) return outcome;
  const bool fresh = !counter.exists;
  change(counter, outcome.value, now_ms);
  if (lifetime.renew) counter.keeps_end = false;
  counter.expires_at_ms = end;
  if (fresh && lifetime.window) counter.window = identity_of(*lifetime.window);
  return outcome;
}

Outcome reset(Counter& counter, const Operation& operation, std::int64_t now_ms) {
  if (!counter.exists && !operation.create) return {.code = Code::kMissing};
  Outcome outcome{.value = operation.operand};
  if (counter.exists) outcome.previous = counter.value;
  change(counter, operation.operand, now_ms);
  return outcome;
}

Outcome remove(Counter& counter) {
  if (!counter.exists) return {.code = Code::kMissing};
  counter.exists = false;
  counter.changed = true;
  return {.value = counter.value, .previous = counter.value};
}

Outcome report(const Counter& counter) {
  // One that has ended still has its value and its times here.
  if (!counter.exists) return {.code = Code::kMissing};
  return {.value = counter.value,
          .created_at_ms = counter.created_at_ms,
          .updated_at_ms = counter.updated_at_ms,
          .expires_at_ms = counter.expires_at_ms};
}

}  // namespace

bool asks_for_window(const Operation& operation) {
  return operation.lifetime.window || operation.lifetime.renew;
}

Outcome apply_to(Counter& counter, const Operation& operation, std::int64_t now_ms) {
  switch (operation.kind) {
    case OperationKind::kIncrement:
      return increment(counter, operation, now_ms);
    case OperationKind::kReset:
      return reset(counter, operation, now_ms);
    case OperationKind::kDelete:
      return remove(counter);
    case OperationKind::kReport:
    case OperationKind::kEach:
    case OperationKind::kAll:
      break;
  }
  return report(counter);
}

}  // namespace counterd
