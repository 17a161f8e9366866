// One counter within a batch, and what operations make of it, for an engine that applies them in
// this process. No store is touched; store.h has the rules.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/operation.h"

namespace counterd {

struct Counter {
  bool exists = false;
  bool changed = false;  // by the batch, even if it no longer exists
  std::int64_t value = 0;
  // Milliseconds since 1970, UTC.
  std::int64_t created_at_ms = 0;
  std::int64_t updated_at_ms = 0;
  std::int64_t expires_at_ms = 0;          // 0: it has no end
  bool keeps_end = true;                   // the end and the window in the store still hold
  std::optional<std::string> window = {};  // as described, empty: none; nothing: not read yet
};

// Whether the outcome of the operation depends on which window its counter has.
bool asks_for_window(const Operation& operation);

// Applies the operation. REQUIRES: it is not a group; the counter's window has been read, if the
// operation asks for it and the counter exists
Outcome apply_to(Counter& counter, const Operation& operation, std::int64_t now_ms);

}  // namespace counterd
