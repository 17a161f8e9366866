// Shared by the harness and the library disk.cc, which is preloaded into counterd and counterctl: a
// page of memory that says which faults to inject, and a journal of what was written.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <initializer_list>

namespace counterd::faults {

// Names the file that holds a DiskControl.
inline constexpr const char* kControlVariable = "FAULTS_DISK_CONTROL";

enum class Call : int { kNone, kRead, kWrite, kSync };

struct DiskControl {
  char database[256];  // its path; the log is beside it
  char journal[256];
  std::atomic<int> journaling;  // 1: what is written is journaled

  // After `spared` calls of this kind on the database and its log, the next ones fail, until
  // `failing` of them have.
  std::atomic<Call> call;
  std::atomic<int> spared;
  std::atomic<int> failing;
  std::atomic<int> error;  // errno
  // Syncs of the database and of the log that have failed. Each failure is reported once to every
  // descriptor that was open then, as Linux does since 4.13 (errseq_t).
  std::array<std::atomic<std::uint32_t>, 2> failed_syncs;

  std::atomic<int> full;                      // 1: no file can grow
  std::atomic<std::int64_t> clock_offset_ns;  // of CLOCK_REALTIME

  // How long a checkpoint pauses between reading the log's state and acting on it.
  std::atomic<int> checkpoint_pause_ms;
  // How many have ended, in all processes.
  std::atomic<std::uint32_t> checkpoints;
};

enum class Entry : std::uint8_t { kWrite, kTruncate, kSync, kSyncFailed };

// One record of the journal, before `size` bytes of data and kRecordEnd. It is written before what
// it records is done, except for kSync and kSyncFailed, which come after.
struct Record {
  std::uint64_t begin;  // kRecordBegin
  Entry entry;
  std::uint8_t file;    // 0: database, 1: log
  std::int64_t offset;  // kWrite: where; kTruncate: the new size; else: where the journal ended
                        // when the sync began
  std::uint64_t size;
  std::uint64_t check;  // of the fields above
};
inline constexpr std::uint64_t kRecordBegin = 0x6a6f75726e616c3e;
inline constexpr std::uint64_t kRecordEnd = 0x3c6a6f75726e616c;

inline std::uint64_t check_of(const Record& record) {
  std::uint64_t sum = record.begin;
  for (const std::uint64_t part :
       {static_cast<std::uint64_t>(record.entry), static_cast<std::uint64_t>(record.file),
        static_cast<std::uint64_t>(record.offset), record.size}) {
    sum = (sum ^ part) * 0x9e3779b97f4a7c15;
    sum ^= sum >> 29;
  }
  return sum;
}

}  // namespace counterd::faults
