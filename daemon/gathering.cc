#include "daemon/gathering.h"

#include <algorithm>
#include <utility>

namespace counterd {
namespace {

constexpr std::size_t kMostSkipped = 64;

// A longer commit counts as this long: a stall is no reason to wait just as long for clients.
constexpr std::chrono::milliseconds kLongestCommit{100};

// How many of `all` expected steps to wait for.
std::size_t most_of(std::size_t all) {
  return all - all / 8;
}

}  // namespace

void Gathering::begin(std::size_t expected, std::chrono::steady_clock::duration commit, Time now) {
  expected_ = expected;
  commit_ = std::min<std::chrono::steady_clock::duration>(commit, kLongestCommit);
  patience_end_ = now + commit_ / 2;
  last_ones_end_.reset();
}

Deadline Gathering::end(std::size_t come, Time now) {
  if (come >= expected_) return {};
  if (come < most_of(expected_)) {
    if (skip_ > 0) return {};
    waited_ = waited_ || now < patience_end_;
    return patience_end_;
  }
  if (!last_ones_end_) last_ones_end_ = std::min(patience_end_, now + commit_ / 16);
  return *last_ones_end_;
}

void Gathering::learn(std::size_t come) {
  const bool waited = std::exchange(waited_, false);
  const bool have_come = come >= most_of(expected_);
  if (waited) {
    skipped_ = have_come ? 0 : std::clamp<std::size_t>(2 * skipped_, 1, kMostSkipped);
    skip_ = skipped_;
  } else if (!have_come && skip_ > 0) {
    --skip_;
  }
}

}  // namespace counterd
