// A batch in the form that the script of redis.cc takes and answers: like steps that follow each
// other on one counter are sent once, with a count, because a script's cost grows with what it is
// sent.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/operation.h"
#include "common/store/store.h"

namespace counterd {

class RedisBatch {
 public:
  // REQUIRES: `batch` outlives it
  explicit RedisBatch(std::span<Step> batch);

  // Appends the arguments of each run of like operations:
  //
  //   letter      i increment, b increment with conditions, q increment that only checks, s reset,
  //               t reset that may not create, d delete, r report, e kEach, a kAll; a capital one
  //               if it has a key
  //   name        of the counter; empty for a group
  //   operand     for a group: how many of the next runs are its members
  //   conditions  for b and q alone: the initial value, the minimum, the maximum ("-": none), and c
  //               to clamp or r to refuse; then, if it sets an end, its window as described, or the
  //               milliseconds until then and c (set when it creates) or r (renewed each time)
  //   identity    for a group with a key alone: what identity_of() says
  //   count       of operations in the run; with a key instead: the key, and for how many
  //               milliseconds it is known
  //
  // Numbers are decimal, and the conditions are one argument, separated by spaces. An operation
  // with a key is a run of its own. A kEach without a key is not sent: it is nothing but its
  // members.
  void append_arguments(const StoreOptions& options, std::vector<std::string>& arguments) const;

  // One line for each window that an operation names: `from_ms`, the ends of that window from then
  // on up to one after `until_ms`, in milliseconds since 1970, and the window as described. So the
  // server knows when it ends by its own clock, which need not be ours.
  std::string list_windows(std::int64_t from_ms, std::int64_t until_ms) const;

  // Fills in the outcomes from the script's answer, one line for each run, in the format of
  // outcome_text.h. The letter n stands for a run of increments: it is followed by the value after
  // all of them and, instead of a value before, by how many of them, the first ones, were applied.
  // Any other letter is for all of its run. An increment that clamps is a run of its own. A group
  // that is refused as a whole has x, f, c or v, and the lines of its members mean nothing; a kAll
  // that a member refuses has k, and their lines show which. The letter v stands for a counter in
  // whose place, or in that of its times, somebody has written something else: kUnavailable, with
  // an empty `detail`. False: the answer makes no sense, and no outcome is valid.
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
  std::vector<std::uint32_t> run_of_;  // for each operation and each group that is sent
};

}  // namespace counterd
