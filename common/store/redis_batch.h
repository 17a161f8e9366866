// A batch as the script of redis.cc takes it and answers it: alike steps that follow each other on
// one counter are told once, with how many they are, because what a script costs grows with what
// it is told.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/store/store.h"

namespace counterd {

class RedisBatch {
 public:
  // REQUIRES: `batch` outlives it
  explicit RedisBatch(std::span<Step> batch);

  // Appends, for each run of alike operations: what (i increment, s reset, t reset of what is
  // there, d delete, r report; in capitals with a key), the counter's name, the operand (as decimal
  // numbers are from here on), and how many; of one with a key, which is alone, instead of how
  // many: its key, and for how many milliseconds that is known. An increment with bounds or an
  // initial value is a b, with one more argument behind the operand: the initial value, the minimum
  // and the maximum ("-": none), whether it clamps (c) or refuses (r) and, if it sets an end, the
  // milliseconds until then and whether it does when it creates (c) or renews (r), or its window as
  // described, separated by spaces. One that only checks is a q, with the same arguments. A group
  // is an e (each) or an a (all) without a name, whose operand says how many of the runs behind it
  // are its own; behind that of one with a key is what describe_operation() says. A group that is
  // nothing but its members, kEach without a key, is not told.
  void describe(std::chrono::milliseconds key_lifetime, std::vector<std::string>& arguments) const;

  // For each window that an operation names, a line: `from_ms`, the ends of that window from then
  // on to one behind `until_ms`, in milliseconds since 1970, and the window as described. So the
  // server knows when it ends by a clock of its own, which need not be ours.
  std::string describe_windows(std::int64_t from_ms, std::int64_t until_ms) const;

  // Fills in the outcomes from the script's answer, a line as outcome_text.h tells for each run.
  // The letter n stands for a run of increments; behind it are the value after them all, and
  // instead of a value before how many of them, the first ones, were applied; any other letter
  // for all of its run. One that clamps is a run of its own. A group that is refused as a whole
  // has x, f or c, and the lines of its members mean nothing; a kAll that a member refuses has k,
  // and their lines tell which. False: the answer makes no sense, and no outcome is worth anything.
  bool read_outcomes(std::string_view answer) const;

 private:
  struct Run {
    const Operation* operation = nullptr;
    std::uint32_t count = 0;  // of a group: how many of the next runs are its own
  };
  class Reader;

  using LatestRuns = std::unordered_map<std::string_view, std::uint32_t>;  // by counter

  void add(const Operation& operation, LatestRuns& latest);
  void add_group(const Operation& group, LatestRuns& latest);

  std::span<Step> batch_;
  std::vector<Run> runs_;
  std::vector<std::uint32_t> run_of_;  // for each operation and each group that is told
};

}  // namespace counterd
