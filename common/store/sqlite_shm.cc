#include "common/store/sqlite_shm.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <span>

namespace counterd {
namespace {

// The size of the shared memory's regions, and how many frames the index has in each; in the first
// one a header takes the place of some (2.2).
constexpr int kRegionBytes = 32'768;
constexpr std::uint32_t kFramesOfRegion = 4'096;
constexpr std::uint32_t kFramesOfHeader = 34;

struct Region {
  std::uint32_t pages[kFramesOfRegion];      // of each frame; 0: there is none
  std::uint16_t slots[2 * kFramesOfRegion];  // a hash table of frames: 1 is the region's first one
};
static_assert(sizeof(Region) == kRegionBytes);

// Where a frame's page is, if those of all regions are counted.
std::uint32_t place_of(std::uint32_t frame) {
  return kFramesOfHeader + frame - 1;
}

// Where things are in the first region (2.1). It begins with two copies of a header, which says
// whether it is valid, the size of the log's pages (1: 65,536), how many frames the log has, and
// their checksum and salts. Then it says how many of the frames have been moved.
constexpr std::size_t kValid = 12;
constexpr std::size_t kPageSize = 14;
constexpr std::size_t kFrames = 16;
constexpr std::size_t kChecksum = 24;
constexpr std::size_t kSalts = 32;
constexpr std::size_t kOtherHeader = 48;
constexpr std::size_t kMovedFrames = 96;
constexpr std::size_t kTriedFrames = 128;  // to move, by a checkpoint that may not have ended
// "Unused space reserved for further expansion": the doubt. The lower 16 bits count the syncs that
// are under way or have failed. The next 15 are a generation, which changes each time that the log
// is trusted: the end of a sync that began before that must not be counted against a later one.
// The highest bit says that the log is damaged.
constexpr std::size_t kDoubt = 132;
constexpr std::uint32_t kCountMask = 0xffff;
constexpr std::uint32_t kGeneration = 0x10000;
constexpr std::uint32_t kGenerationMask = 0x7fff0000;
constexpr std::uint32_t kDamagedBit = 0x80000000;

constexpr int kExtend = 1;  // xShmMap: makes the region if it is missing

// `memory` is null if nobody has written to the region yet. SQLITE_OK, or why not.
int map(sqlite3_file* file, std::uint32_t region, volatile void*& memory) {
  memory = nullptr;
  return file->pMethods->xShmMap(file, static_cast<int>(region), kRegionBytes, 0, &memory);
}

// A number in the shared memory; 0, for a moment, where there is none.
template <class Number>
std::atomic_ref<Number> number_at(sqlite3_file* file, std::size_t offset) {
  thread_local Number none;  // stores of other threads look for theirs
  volatile void* region = nullptr;
  map(file, 0, region);
  if (region == nullptr) {
    none = 0;
    return std::atomic_ref<Number>(none);
  }
  auto* bytes = const_cast<char*>(static_cast<volatile char*>(region));
  return std::atomic_ref<Number>(*reinterpret_cast<Number*>(bytes + offset));
}

// Whether all of them are 0. The C library compares many at a time, where a loop would take each
// by itself: this is asked before each batch.
bool are_zero(std::span<const std::uint32_t> pages) {
  return pages.empty() ||
         (pages[0] == 0 &&
          std::memcmp(pages.data(), pages.data() + 1, pages.size_bytes() - sizeof(pages[0])) == 0);
}

int change(sqlite3_file* file, const ShmLocks& locks, int how) {
  return file->pMethods->xShmLock(file, locks.first, locks.count, how | SQLITE_SHM_EXCLUSIVE);
}

std::atomic_ref<std::uint32_t> doubt_of(sqlite3_file* file) {
  return number_at<std::uint32_t>(file, kDoubt);
}

// Whether the memory has the regions of all frames that its header tells of.
bool has_all_regions(sqlite3_file* file) {
  const std::uint32_t frames = number_at<std::uint32_t>(file, kFrames);
  volatile void* last = nullptr;
  return map(file, place_of(frames) / kFramesOfRegion, last) == SQLITE_OK && last != nullptr;
}

// Makes the first region, if it is missing, and has the next one to read find out what the log
// holds. SQLITE_OK, or why not: SQLITE_BUSY while another one uses the memory.
int renew_index(sqlite3* connection) {
  const ShmLock write(connection, kWriteLock);
  const ShmLock checkpoint(connection, kCheckpointLock);
  const ShmLock readers(connection, kReaderLocks);
  for (const ShmLock* lock : {&write, &checkpoint, &readers}) {
    if (lock->code() != SQLITE_OK) return lock->code();
  }
  sqlite3_file* file = database_file(connection);
  volatile void* region = nullptr;
  const int code = file->pMethods->xShmMap(file, 0, kRegionBytes, kExtend, &region);
  if (code == SQLITE_OK) forget_index(connection);
  return code;
}

}  // namespace

sqlite3_file* database_file(sqlite3* connection) {
  sqlite3_file* file = nullptr;
  sqlite3_file_control(connection, "main", SQLITE_FCNTL_FILE_POINTER, &file);
  return file;
}

ShmLock::ShmLock(sqlite3* connection, ShmLocks locks)
    : file_(database_file(connection)),
      locks_(locks),
      code_(change(file_, locks, SQLITE_SHM_LOCK)) {}

ShmLock::~ShmLock() {
  if (code_ == SQLITE_OK) change(file_, locks_, SQLITE_SHM_UNLOCK);
}

// Where somebody has cut the memory short while others use it, SQLite would put empty regions in
// the place of those that are missing, and believe the header: nobody would find what the log
// holds.
int open_shared_memory(sqlite3* connection) {
  sqlite3_file* file = database_file(connection);
  int code = file->pMethods->xLock(file, SQLITE_LOCK_SHARED);
  volatile void* region = nullptr;
  if (code == SQLITE_OK) code = map(file, 0, region);
  if (code != SQLITE_OK || has_all_regions(file)) return code;
  return renew_index(connection);
}

void close_shared_memory(sqlite3* connection) {
  sqlite3_file* file = database_file(connection);
  file->pMethods->xShmUnmap(file, 0);
}

bool is_memory_writable(sqlite3* connection) {
  volatile void* region = nullptr;
  return map(database_file(connection), 0, region) == SQLITE_OK;
}

WalIndex read_wal_index(sqlite3* connection) {
  sqlite3_file* file = database_file(connection);
  WalIndex index;
  if (number_at<unsigned char>(file, kValid) == 0) return index;
  index.end = end_of_wal(connection);
  const std::uint16_t page_size = number_at<std::uint16_t>(file, kPageSize);
  index.page_bytes = page_size == 1 ? 65'536 : page_size;
  for (std::size_t i = 0; i < index.checksum.size(); ++i) {
    index.checksum[i] = number_at<std::uint32_t>(file, kChecksum + i * sizeof(std::uint32_t));
  }
  return index;
}

bool make_room_in_index(sqlite3* connection, std::uint32_t frames) {
  const std::uint32_t end = end_of_wal(connection).frames + frames;
  const auto region = static_cast<int>(place_of(end) / kFramesOfRegion);
  sqlite3_file* file = database_file(connection);
  volatile void* memory = nullptr;
  return file->pMethods->xShmMap(file, region, kRegionBytes, kExtend, &memory) == SQLITE_OK;
}

WalEnd end_of_wal(sqlite3* connection) {
  sqlite3_file* file = database_file(connection);
  return {number_at<std::uint64_t>(file, kSalts), number_at<std::uint32_t>(file, kFrames)};
}

MovedFrames moved_frames(sqlite3* connection) {
  sqlite3_file* file = database_file(connection);
  return {number_at<std::uint32_t>(file, kMovedFrames),
          number_at<std::uint32_t>(file, kTriedFrames)};
}

void set_moved_frames(sqlite3_file* database, std::uint32_t frames) {
  number_at<std::uint32_t>(database, kMovedFrames) = frames;
}

bool correct_moved_frames(sqlite3_file* database) {
  const auto moved = number_at<std::uint32_t>(database, kMovedFrames);
  if (moved <= number_at<std::uint32_t>(database, kFrames)) return false;
  moved = 0;
  return true;
}

// Where the log is empty, or fills a region, SQLite clears the next region before it is used.
void clean_index(sqlite3_file* database) {
  const std::uint32_t frames = number_at<std::uint32_t>(database, kFrames);
  if (frames == 0) return;
  const std::uint32_t number = place_of(frames) / kFramesOfRegion;
  const std::uint32_t used = place_of(frames) % kFramesOfRegion + 1;
  volatile void* memory = nullptr;
  map(database, number, memory);
  if (memory == nullptr) return;
  auto& region = *static_cast<Region*>(const_cast<void*>(memory));
  const auto beyond = std::span(region.pages).subspan(used);
  if (are_zero(beyond)) return;
  const std::uint32_t last = number == 0 ? frames : used;
  for (auto& slot : region.slots) {
    if (slot > last) std::atomic_ref(slot).store(0);
  }
  // The first one last: as long as it is there, SQLite finds that there are any.
  std::for_each(beyond.rbegin(), beyond.rend(), [](auto& page) { std::atomic_ref(page).store(0); });
}

void forget_index(sqlite3* connection) {
  sqlite3_file* file = database_file(connection);
  number_at<unsigned char>(file, kValid) = 0;
  number_at<unsigned char>(file, kValid + kOtherHeader) = 0;
}

int move_again(sqlite3* connection) {
  const ShmLock lock(connection, kCheckpointLock);
  if (lock.code() != SQLITE_OK) return lock.code();
  set_moved_frames(database_file(connection), 0);
  return SQLITE_OK;
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

void mark_damaged(sqlite3* connection) {
  doubt_of(database_file(connection)) |= kDamagedBit;
}

bool is_in_doubt(sqlite3* connection) {
  return (doubt_of(database_file(connection)) & kCountMask) != 0;
}

void doubt_wal(sqlite3* connection) {
  begin_sync(database_file(connection));
}

void trust_wal(sqlite3* connection) {
  const auto doubt = doubt_of(database_file(connection));
  std::uint32_t before = doubt;
  std::uint32_t after = 0;
  do {
    after = ((before & kGenerationMask) + kGeneration) & kGenerationMask;
    if (after == 0) after = kGeneration;  // 0: nobody has
  } while (!doubt.compare_exchange_weak(before, after | (before & kDamagedBit)));
}

bool was_trusted(sqlite3* connection) {
  return (doubt_of(database_file(connection)) & kGenerationMask) != 0;
}

}  // namespace counterd
