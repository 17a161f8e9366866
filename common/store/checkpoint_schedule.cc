#include "common/store/checkpoint_schedule.h"

#include <algorithm>

namespace counterd {
namespace {

// The growth is doubled each time that checkpoints are quick and yet take a thirtieth of the time
// or more, as with many counters: a longer log has more changes of the same pages, and gives the
// disk more of them at once. It is halved when they are slow, because everybody waits for them.
constexpr int kNotableShare = 30;
constexpr std::chrono::milliseconds kQuick{40};
constexpr std::chrono::milliseconds kSlow{100};

// Readers that never pause let the log grow. The longer it has become, the longer it is worth
// waiting for them: kPatience for every kLongBytes of it, up to kMostPatience times that, because
// changes wait meanwhile.
constexpr std::int64_t kLongBytes = 32 << 20;
constexpr std::chrono::milliseconds kPatience{20};
constexpr std::int64_t kMostPatience = 25;

// After a wait in vain, as for a shell that was left in a transaction, no checkpoint waits for a
// time that is so many times as long as that wait was.
constexpr int kPause = 50;

}  // namespace

void CheckpointSchedule::note_wal(std::int64_t bytes) {
  if (bytes < bytes_) due_ = interval_;
  bytes_ = bytes;
}

std::chrono::milliseconds CheckpointSchedule::patience(Time now) const {
  if (now < next_wait_) return {};
  return kPatience * std::min(bytes_ / kLongBytes, kMostPatience);
}

void CheckpointSchedule::note_checkpoint(Time start, Time end) {
  auto took = end - start;
  const auto patience_then = patience(start);
  if (patience_then.count() > 0 && took >= patience_then) {
    took -= patience_then;
    next_wait_ = end + kPause * patience_then;
  }
  if (took < kQuick && took * kNotableShare > end - last_) interval_ *= 2;
  if (took > kSlow) interval_ /= 2;
  interval_ = std::clamp(interval_, kLeastBytes, kMostBytes);
  last_ = end;
  due_ = bytes_ + interval_;
}

}  // namespace counterd
