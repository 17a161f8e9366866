// A batch as the script of redis.cc takes it and answers it: alike steps that follow each other on
// one counter are told once, with how many they are, because what a script costs grows with what
// it is told.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/store/store.h"

namespace counterd {

// Reads a whole number as a Redis server has it, which people may have written: 007 is 7. False: it
// is none.
bool read_int64(std::string_view text, std::int64_t& value);

class RedisBatch {
 public:
  // REQUIRES: `batch` outlives it
  explicit RedisBatch(std::span<Step> batch);

  // Appends, for each run of alike steps: what (i increment, s reset, d delete, r report; in
  // capitals with a key), the counter's name, the operand (as decimal numbers are from here on),
  // and how many; of one with a key, which is alone, instead of how many: its key, and for how many
  // milliseconds that is known. An increment with bounds or an initial value is a b, with one more
  // argument behind the operand: the initial value, the minimum and the maximum ("-": none), and
  // whether it clamps (c) or refuses (r), separated by spaces.
  void describe(std::chrono::milliseconds key_lifetime, std::vector<std::string>& arguments) const;

  // Fills in the outcomes from the script's answer, a line for each run, separated by spaces: a
  // letter for what came of it, the value, the value before or "-", and two times. The letter n
  // stands for a run of increments; behind it are the value after them all, and instead of a value
  // before how many of them, the first ones, were applied. One that clamps is a run of its own.
  // False: the answer makes no sense, and no outcome is worth anything.
  bool read_outcomes(std::string_view answer) const;

 private:
  struct Run {
    const Operation* operation = nullptr;
    std::uint32_t count = 0;
  };

  std::span<Step> batch_;
  std::vector<Run> runs_;
  std::vector<std::uint32_t> run_of_;  // for each step
};

}  // namespace counterd
