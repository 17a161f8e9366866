// When a checkpoint, which moves the log of an SQLite database into the database, is due.
#pragma once

#include <chrono>
#include <cstdint>

#include "common/deadline.h"

namespace counterd {

class CheckpointSchedule {
 public:
  // The log has become so long with a commit; shorter than before: it has restarted.
  void note_wal(std::int64_t bytes);
  bool is_due() const { return bytes_ >= due_; }

  // How long a checkpoint that begins at `now` should wait for readers, so that the log restarts;
  // 0: not at all, because the log is not long yet, or because a wait was in vain not long ago.
  std::chrono::milliseconds patience(Time now) const;

  // It ran from `start` to `end`, with that patience, and did its work or was kept from it. The
  // next one is due when the log has grown by 1 to 16 MiB: by more while checkpoints are quick and
  // frequent, by less while they are slow.
  void note_checkpoint(Time start, Time end);

 private:
  // The growth at first, and its limits.
  static constexpr std::int64_t kLeastBytes = 1 << 20;
  static constexpr std::int64_t kMostBytes = 16 << 20;

  std::int64_t bytes_ = 0;
  std::int64_t interval_ = kLeastBytes;
  std::int64_t due_ = kLeastBytes;
  Time last_{};
  Time next_wait_{};
};

}  // namespace counterd
