#include "common/store/sqlite_wal.h"

#include <atomic>

namespace counterd {
namespace {

// The lock of whoever makes a checkpoint, among those of the shared memory (2.2).
constexpr int kCheckpointLock = 1;

// The size of the shared memory's region, and where it has (2.1) the size of the log's pages (1:
// 65,536), how many frames the log has, and how many of them have been moved.
constexpr int kRegionBytes = 32'768;
constexpr std::size_t kPageSize = 14;
constexpr std::size_t kFrames = 16;
constexpr std::size_t kMovedFrames = 96;
// "Unused space reserved for further expansion": the doubt. The lower half counts; the upper half
// changes each time that the log is trusted, so that a sync which began before does not end one
// that began since.
constexpr std::size_t kDoubt = 132;
constexpr std::uint32_t kCountMask = 0xffff;
constexpr std::uint32_t kGeneration = 0x10000;

// (sqlite.org/fileformat2.html, 4.1)
constexpr std::int64_t kLogHeader = 32;
constexpr std::int64_t kFrameHeader = 24;

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

std::atomic_ref<std::uint32_t> doubt_of(sqlite3_file* file) {
  return number_at<std::uint32_t>(file, kDoubt);
}

}  // namespace

std::int64_t end_of_log(sqlite3* connection) {
  sqlite3_file* file = database_file(connection);
  const std::uint16_t page_size = number_at<std::uint16_t>(file, kPageSize);
  const std::uint32_t frames = number_at<std::uint32_t>(file, kFrames);
  return kLogHeader + frames * (kFrameHeader + (page_size == 1 ? 65'536 : page_size));
}

int move_again(sqlite3* connection) {
  sqlite3_file* file = database_file(connection);
  const sqlite3_io_methods& methods = *file->pMethods;
  const auto lock = [&](int how) {
    return methods.xShmLock(file, kCheckpointLock, 1, how | SQLITE_SHM_EXCLUSIVE);
  };
  if (const int code = lock(SQLITE_SHM_LOCK); code != SQLITE_OK) return code;
  number_at<std::uint32_t>(file, kMovedFrames) = 0;
  lock(SQLITE_SHM_UNLOCK);
  return SQLITE_OK;
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
