#include "common/store/sqlite_wal.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>

namespace counterd {
namespace {

// The locks of whoever writes, of whoever makes a checkpoint, and of those that read (2.2).
constexpr int kWriteLock = 0;
constexpr int kCheckpointLock = 1;
constexpr int kReadLocks = 3;
constexpr int kReadLockCount = 5;

// The size of the shared memory's region, and where it has (2.1) two copies of a header: whether it
// is valid, the size of the log's pages (1: 65,536), how many frames the log has, and their
// checksum and salts; then how many of them have been moved.
constexpr int kRegionBytes = 32'768;
constexpr std::size_t kValid = 12;
constexpr std::size_t kPageSize = 14;
constexpr std::size_t kFrames = 16;
constexpr std::size_t kChecksum = 24;
constexpr std::size_t kSalts = 32;
constexpr std::size_t kOtherHeader = 48;
constexpr std::size_t kMovedFrames = 96;
constexpr std::size_t kTriedFrames = 128;  // to move, by a checkpoint that may not have ended
// "Unused space reserved for further expansion": the doubt. The lower half counts; the upper half,
// but for its highest bit, changes each time that the log is trusted, so that a sync which began
// before does not end one that began since.
constexpr std::size_t kDoubt = 132;
constexpr std::uint32_t kCountMask = 0xffff;
constexpr std::uint32_t kGeneration = 0x10000;
constexpr std::uint32_t kGenerationMask = 0x7fff0000;
constexpr std::uint32_t kDamagedBit = 0x80000000;

sqlite3_file* database_file(sqlite3* connection) {
  sqlite3_file* file = nullptr;
  sqlite3_file_control(connection, "main", SQLITE_FCNTL_FILE_POINTER, &file);
  return file;
}

// A number in the shared memory, which a database in WAL mode has.
template <class Number>
std::atomic_ref<Number> number_at(sqlite3_file* file, std::size_t offset) {
  static Number none{};
  volatile void* region = nullptr;
  file->pMethods->xShmMap(file, 0, kRegionBytes, 0, &region);
  if (region == nullptr) return std::atomic_ref<Number>(none);
  auto* bytes = const_cast<char*>(static_cast<volatile char*>(region));
  return std::atomic_ref<Number>(*reinterpret_cast<Number*>(bytes + offset));
}

int change_locks(sqlite3_file* file, int first, int count, int how) {
  return file->pMethods->xShmLock(file, first, count, how | SQLITE_SHM_EXCLUSIVE);
}

std::atomic_ref<std::uint32_t> doubt_of(sqlite3_file* file) {
  return number_at<std::uint32_t>(file, kDoubt);
}

// Makes the next one to read find out what the log holds, as after a crash.
void forget_index(sqlite3_file* file) {
  number_at<unsigned char>(file, kValid) = 0;
  number_at<unsigned char>(file, kValid + kOtherHeader) = 0;
}

// Leaves of the log its first `whole` frames. Not if the database has more of it: they would cover
// newer pages. And what a checkpoint has moved in part needs the rest of the log, because it skips
// pages that have changed again since. So either no lost frame has been moved, or all of the log
// has: then the log goes, and the database is what is left.
// REQUIRES: nobody writes, nobody makes a checkpoint
LogCheck::State shorten_log(sqlite3* connection, int log, std::uint32_t told,
                            const LogCheck& check) {
  sqlite3_file* file = database_file(connection);
  const ShmLock read(file, kReadLocks, kReadLockCount);
  if (read.code() != SQLITE_OK) return LogCheck::State::kBusy;
  const std::uint32_t moved = number_at<std::uint32_t>(file, kMovedFrames);
  const std::uint32_t tried = number_at<std::uint32_t>(file, kTriedFrames);
  if (check.whole < std::max({moved, tried, told})) {
    // A sync of the database that has failed is not asked again: it would be believed.
    const bool has_all = moved == check.frames && sync_database(connection) == SQLITE_OK;
    if (!has_all) return LogCheck::State::kDamaged;
    if (ftruncate(log, 0) != 0 || fdatasync(log) != 0) return LogCheck::State::kFailed;
  }
  forget_index(file);
  return LogCheck::State::kShortened;
}

}  // namespace

ShmLock::ShmLock(sqlite3_file* file, int first, int count)
    : file_(file),
      first_(first),
      count_(count),
      code_(change_locks(file, first, count, SQLITE_SHM_LOCK)) {}

ShmLock::~ShmLock() {
  if (code_ == SQLITE_OK) change_locks(file_, first_, count_, SQLITE_SHM_UNLOCK);
}

int open_shared_memory(sqlite3* connection) {
  sqlite3_file* file = database_file(connection);
  const int code = file->pMethods->xLock(file, SQLITE_LOCK_SHARED);
  if (code == SQLITE_OK) number_at<std::uint32_t>(file, kFrames);
  return code;
}

void close_shared_memory(sqlite3* connection) {
  sqlite3_file* file = database_file(connection);
  file->pMethods->xShmUnmap(file, 0);
}

LogIndex read_log_index(sqlite3* connection) {
  sqlite3_file* file = database_file(connection);
  LogIndex index;
  if (number_at<unsigned char>(file, kValid) == 0) return index;
  index.frames = number_at<std::uint32_t>(file, kFrames);
  const std::uint16_t page_size = number_at<std::uint16_t>(file, kPageSize);
  index.page_bytes = page_size == 1 ? 65'536 : page_size;
  for (std::size_t i = 0; i < index.checksum.size(); ++i) {
    index.checksum[i] = number_at<std::uint32_t>(file, kChecksum + i * sizeof(std::uint32_t));
  }
  for (std::size_t i = 0; i < kPair; ++i) index.salts += number_at<char>(file, kSalts + i);
  return index;
}

LogEnd end_of_log(sqlite3* connection) {
  sqlite3_file* file = database_file(connection);
  return {number_at<std::uint64_t>(file, kSalts), number_at<std::uint32_t>(file, kFrames)};
}

LogCheck check_log(sqlite3* connection, int log, const std::optional<LogEnd>& told) {
  using State = LogCheck::State;
  sqlite3_file* file = database_file(connection);
  const ShmLock write(file, kWriteLock);
  auto checkpoint = std::make_unique<ShmLock>(file, kCheckpointLock);
  if (write.code() != SQLITE_OK || checkpoint->code() != SQLITE_OK) return {State::kBusy};
  const LogIndex index = read_log_index(connection);
  const LogReading read = read_log(log, index, [](std::string_view, off_t) { return true; });
  LogCheck check{State::kWhole, index.frames, read.whole};
  if (read.result == LogReading::Result::kFailed) check.state = State::kFailed;
  if (read.result == LogReading::Result::kLost) {
    const bool is_known = told && told->salts == end_of_log(connection).salts;
    check.state = is_known ? shorten_log(connection, log, told->frames, check) : State::kDamaged;
  }
  if (check.state == State::kDamaged) {
    doubt_of(file) |= kDamagedBit;
    check.no_checkpoints = std::move(checkpoint);
  }
  return check;
}

int move_again(sqlite3* connection) {
  sqlite3_file* file = database_file(connection);
  const ShmLock lock(file, kCheckpointLock);
  if (lock.code() == SQLITE_OK) number_at<std::uint32_t>(file, kMovedFrames) = 0;
  return lock.code();
}

int sync_database(sqlite3* connection) {
  sqlite3_file* file = database_file(connection);
  return file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
}

std::uint32_t begin_sync(sqlite3_file* database) {
  const auto doubt = doubt_of(database);
  std::uint32_t before = doubt;
  do {
    if ((before & kCountMask) == kCountMask) break;  // as many as can be counted have failed
  } while (!doubt.compare_exchange_weak(before, before + 1));
  return before & kGenerationMask;
}

void end_sync(sqlite3_file* database, std::uint32_t begun) {
  const auto doubt = doubt_of(database);
  std::uint32_t before = doubt;
  do {
    if ((before & kGenerationMask) != begun || (before & kCountMask) == 0) return;
  } while (!doubt.compare_exchange_weak(before, before - 1));
}

bool is_damaged(sqlite3* connection) {
  return (doubt_of(database_file(connection)) & kDamagedBit) != 0;
}

bool is_in_doubt(sqlite3* connection) {
  return (doubt_of(database_file(connection)) & kCountMask) != 0;
}

void doubt_log(sqlite3* connection) {
  begin_sync(database_file(connection));
}

void trust_log(sqlite3* connection) {
  const auto doubt = doubt_of(database_file(connection));
  std::uint32_t before = doubt;
  std::uint32_t after = 0;
  do {
    after = ((before & kGenerationMask) + kGeneration) & kGenerationMask;
  } while (!doubt.compare_exchange_weak(before, after | (before & kDamagedBit)));
}

}  // namespace counterd
