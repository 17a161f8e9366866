#include "common/store/sqlite_wal.h"

#include <atomic>

namespace counterd {
namespace {

// The locks of whoever writes, and of whoever makes a checkpoint, among those of the shared memory
// (2.2).
constexpr int kWriteLock = 0;
constexpr int kCheckpointLock = 1;

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
// "Unused space reserved for further expansion": the doubt. The lower half counts; the upper half
// changes each time that the log is trusted, so that a sync which began before does not end one
// that began since.
constexpr std::size_t kDoubt = 132;
constexpr std::uint32_t kCountMask = 0xffff;
constexpr std::uint32_t kGeneration = 0x10000;

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

// One of the locks of the shared memory, for as long as this lives, if code() is SQLITE_OK.
class ShmLock {
 public:
  ShmLock(sqlite3_file* file, int lock)
      : file_(file), lock_(lock), code_(change(SQLITE_SHM_LOCK)) {}
  ShmLock(const ShmLock&) = delete;
  ShmLock& operator=(const ShmLock&) = delete;
  ~ShmLock() {
    if (code_ == SQLITE_OK) change(SQLITE_SHM_UNLOCK);
  }
  int code() const { return code_; }

 private:
  int change(int how) {
    return file_->pMethods->xShmLock(file_, lock_, 1, how | SQLITE_SHM_EXCLUSIVE);
  }

  sqlite3_file* file_;
  const int lock_;
  const int code_;
};

std::atomic_ref<std::uint32_t> doubt_of(sqlite3_file* file) {
  return number_at<std::uint32_t>(file, kDoubt);
}

}  // namespace

LogIndex read_log_index(sqlite3* connection) {
  sqlite3_file* file = database_file(connection);
  LogIndex index;
  index.frames = number_at<std::uint32_t>(file, kFrames);
  const std::uint16_t page_size = number_at<std::uint16_t>(file, kPageSize);
  index.page_bytes = page_size == 1 ? 65'536 : page_size;
  for (std::size_t i = 0; i < index.checksum.size(); ++i) {
    index.checksum[i] = number_at<std::uint32_t>(file, kChecksum + i * sizeof(std::uint32_t));
  }
  for (std::size_t i = 0; i < kPair; ++i) index.salts += number_at<char>(file, kSalts + i);
  return index;
}

int drop_lost_frames(sqlite3* connection, int log) {
  sqlite3_file* file = database_file(connection);
  static_cast<void>(is_in_doubt(connection));  // opens the shared memory, if nothing has yet
  const ShmLock lock(file, kWriteLock);
  if (lock.code() != SQLITE_OK) return lock.code();
  const Reading read =
      read_log(log, read_log_index(connection), [](std::string_view, off_t) { return true; });
  if (read == Reading::kFailed) return SQLITE_IOERR;
  if (read == Reading::kLost) {
    number_at<unsigned char>(file, kValid) = 0;
    number_at<unsigned char>(file, kValid + kOtherHeader) = 0;
  }
  return SQLITE_OK;
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
  return before & ~kCountMask;
}

void end_sync(sqlite3_file* database, std::uint32_t begun) {
  const auto doubt = doubt_of(database);
  std::uint32_t before = doubt;
  do {
    if ((before & ~kCountMask) != begun || (before & kCountMask) == 0) return;
  } while (!doubt.compare_exchange_weak(before, before - 1));
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
  while (!doubt.compare_exchange_weak(before, (before & ~kCountMask) + kGeneration)) {
  }
}

}  // namespace counterd
