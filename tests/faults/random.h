// Random numbers that follow from the seed of the run.
#pragma once

#include <cstdint>
#include <random>

namespace counterd::faults {

class Random {
 public:
  // `stream` distinguishes the users of one seed.
  Random(std::uint64_t seed, std::uint64_t stream) {
    std::seed_seq sequence{seed, seed >> 32, stream};
    engine_.seed(sequence);
  }

  // 0 to `end` - 1.
  std::int64_t below(std::int64_t end) {
    return static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(end));
  }
  std::int64_t between(std::int64_t first, std::int64_t last) {
    return first + below(last - first + 1);
  }
  bool one_in(std::int64_t times) { return below(times) == 0; }

 private:
  std::mt19937_64 engine_;
};

}  // namespace counterd::faults
