// How long requests took: counted in classes no wider than 1/64 of their times, so that memory does
// not grow with the number of requests.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>

namespace counterd {

class Latencies {
 public:
  // A latency above 2^40 ns, 18 minutes, counts as that.
  void add(std::chrono::nanoseconds latency);

  std::uint64_t count() const { return count_; }
  std::chrono::nanoseconds longest() const { return longest_; }
  // What `percent` of them did not exceed; 0 if there are none. REQUIRES: 0 < percent <= 100
  std::chrono::nanoseconds percentile(double percent) const;

 private:
  static constexpr int kBits = 6;  // 64 classes for each doubling
  static constexpr int kLongestBits = 40;
  static constexpr std::size_t kClasses = (kLongestBits - kBits + 2) << kBits;

  static std::size_t class_of(std::uint64_t ns);
  static std::uint64_t end_of(std::size_t number);

  std::array<std::uint64_t, kClasses> classes_{};
  std::uint64_t count_ = 0;
  std::chrono::nanoseconds longest_{0};
};

}  // namespace counterd
