// What clients did and were told, and whether a counter can have behaved that way.
//
// Every change is an increment by kUp or kDown or a reset to a base of its own, n * kEpoch with n
// from 1. So each value shows in which epoch it was seen: the n of the reset that began it, 0
// before the first one. Sums within an epoch stay far below kEpoch / 2. Each epoch is a counter of
// its own that begins at its base; a counter that is never reset has one epoch.
//
// At every moment (the interval check of Jepsen's counter checker, for both signs): a value that
// was read between `begin` and `end` lies between
//   base + all increments acknowledged before `begin` + all negative ones that were possibly
//   applied
// and the same with the positive ones, where *possibly applied* is what was asked for before `end`
// and not acknowledged before `begin`. The value that an increment returns is such a reading too,
// in which the increment itself is certain. And the epoch must have been current: its reset was
// asked for before `end`, and no other reset was both asked for after that one was acknowledged and
// itself acknowledged before `begin`.
//
// At the end, when every change is acknowledged: the last value of each epoch, which the reset that
// ended it has returned as `previous`, is exactly the base plus the sum of its increments. What is
// missing or too much is reported in operations, since kUp and kDown tell which. And each change is
// a step from one value to another, and together they make one path from 0 to the last value: every
// value is left as often as it is reached.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace counterd::faults {

inline constexpr std::int64_t kUp = 1;
inline constexpr std::int64_t kDown = -1'000;
inline constexpr std::int64_t kEpoch = std::int64_t{1} << 40;

enum class Kind : unsigned char { kIncrement, kReset, kReport };

// A change that was acknowledged, or a report that was answered. Times by the monotonic clock.
struct Event {
  std::int64_t begin = 0;     // when it was asked for the first time
  std::int64_t end = 0;       // when the answer arrived
  std::int64_t operand = 0;   // the delta, or what was reset to
  std::int64_t value = 0;     // as answered
  std::int64_t previous = 0;  // reset: as answered, 0 where there was none
  int counter = 0;
  Kind kind = Kind::kReport;
};

struct Verdict {
  std::int64_t lost = 0;     // changes that were acknowledged and not counted
  std::int64_t doubled = 0;  // changes counted more than once, or that were not to happen at all
  std::int64_t wrong = 0;    // answers that no order of the changes explains
  std::vector<std::string> findings;  // the first few, for people

  bool good() const { return lost == 0 && doubled == 0 && wrong == 0; }
};

// Judges the events of one counter, whose value is `last` now. `name` is for the findings.
void check_counter(const std::string& name, std::vector<Event> events, std::int64_t last,
                   Verdict& verdict);

}  // namespace counterd::faults
