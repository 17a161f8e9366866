#include "cli/latencies.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace counterd {

// Below 2^(kBits + 1) a class for each number; above, a number's kBits bits after the highest.
std::size_t Latencies::class_of(std::uint64_t ns) {
  const int shift = std::max(static_cast<int>(std::bit_width(ns)) - kBits - 1, 0);
  return (static_cast<std::size_t>(shift) << kBits) + static_cast<std::size_t>(ns >> shift);
}

// The longest time of the class.
std::uint64_t Latencies::end_of(std::size_t number) {
  const std::size_t shift = std::max<std::size_t>(number >> kBits, 1) - 1;
  return ((number - (shift << kBits) + 1) << shift) - 1;
}

void Latencies::add(std::chrono::nanoseconds latency) {
  constexpr std::int64_t kMost = (std::int64_t{1} << kLongestBits) - 1;
  ++classes_[class_of(
      static_cast<std::uint64_t>(std::clamp<std::int64_t>(latency.count(), 0, kMost)))];
  ++count_;
  longest_ = std::max(longest_, latency);
}

std::chrono::nanoseconds Latencies::percentile(double percent) const {
  const auto wanted =
      static_cast<std::uint64_t>(std::ceil(static_cast<double>(count_) * percent / 100));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < kClasses; ++i) {
    seen += classes_[i];
    if (seen >= wanted && seen > 0) {
      return std::min(std::chrono::nanoseconds(end_of(i)), longest_);
    }
  }
  return longest_;
}

}  // namespace counterd
