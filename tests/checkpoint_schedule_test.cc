#include "common/store/checkpoint_schedule.h"

#include "tests/catch.h"

namespace counterd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::int64_t kMiB = 1 << 20;

// Lets checkpoints run that take `each`, one after another and `apart`, until the growth of the log
// to the next one no longer changes; returns it.
std::int64_t growth_after(CheckpointSchedule& schedule, milliseconds each, milliseconds apart) {
  constexpr int kMany = 10;
  Time now = std::chrono::steady_clock::now();
  for (int i = 0; i < kMany; ++i) {
    now += apart;
    schedule.note_checkpoint(now, now + each);
    now += each;
  }
  schedule.note_wal(0);
  std::int64_t bytes = 0;
  while (!schedule.is_due()) schedule.note_wal(bytes += kMiB / 2);
  return bytes;
}

TEST_CASE("a checkpoint is due when the log has grown by a MiB") {
  CheckpointSchedule schedule;
  schedule.note_wal(kMiB - 1);
  CHECK_FALSE(schedule.is_due());
  schedule.note_wal(kMiB);
  CHECK(schedule.is_due());
  const Time now = std::chrono::steady_clock::now();
  schedule.note_checkpoint(now, now);
  CHECK_FALSE(schedule.is_due());
  schedule.note_wal(2 * kMiB);
  CHECK(schedule.is_due());
}

TEST_CASE("a log that restarts is due when it has grown, however long it was before") {
  CheckpointSchedule schedule;
  schedule.note_wal(9 * kMiB);
  const Time now = std::chrono::steady_clock::now();
  schedule.note_checkpoint(now, now);
  schedule.note_wal(1'000);
  CHECK_FALSE(schedule.is_due());
  schedule.note_wal(kMiB);
  CHECK(schedule.is_due());
}

TEST_CASE("checkpoints that are quick and frequent become rarer, and slow ones more frequent") {
  CheckpointSchedule schedule;
  CHECK(growth_after(schedule, milliseconds(20), seconds(10)) == kMiB);
  CHECK(growth_after(schedule, milliseconds(20), milliseconds(200)) == 16 * kMiB);
  CHECK(growth_after(schedule, milliseconds(60), milliseconds(200)) == 16 * kMiB);
  CHECK(growth_after(schedule, milliseconds(200), milliseconds(200)) == kMiB);
}

TEST_CASE("a checkpoint waits for readers only of a long log, and longer of a longer one") {
  CheckpointSchedule schedule;
  const Time now = std::chrono::steady_clock::now();
  schedule.note_wal(31 * kMiB);
  CHECK(schedule.patience(now) == milliseconds(0));
  schedule.note_wal(32 * kMiB);
  CHECK(schedule.patience(now) == milliseconds(20));
  schedule.note_wal(320 * kMiB);
  CHECK(schedule.patience(now) == milliseconds(200));
  schedule.note_wal(32'000 * kMiB);
  CHECK(schedule.patience(now) == milliseconds(500));
}

TEST_CASE("after a wait in vain there is none for long, and the checkpoint is not taken for slow") {
  CheckpointSchedule schedule;
  const Time now = std::chrono::steady_clock::now();
  CHECK(growth_after(schedule, milliseconds(20), milliseconds(200)) == 16 * kMiB);
  schedule.note_wal(320 * kMiB);
  schedule.note_checkpoint(now, now + milliseconds(205));
  CHECK(schedule.patience(now + seconds(10)) == milliseconds(0));
  CHECK(schedule.patience(now + seconds(11)) == milliseconds(200));
  CHECK(growth_after(schedule, milliseconds(45), seconds(10)) == 16 * kMiB);
  schedule.note_wal(320 * kMiB);
  schedule.note_checkpoint(now + seconds(11), now + seconds(11) + milliseconds(100));
  CHECK(schedule.patience(now + seconds(12)) == milliseconds(200));
}

}  // namespace
}  // namespace counterd
