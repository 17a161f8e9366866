// The time of all events: the machine's monotonic clock, which no fault touches.
#pragma once

#include <chrono>
#include <cstdint>

namespace counterd::faults {

inline std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace counterd::faults
