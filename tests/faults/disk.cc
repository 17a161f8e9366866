// A shared library for LD_PRELOAD: makes the disk fail under an SQLite database, journals what is
// written to it, and lets the clock jump. SQLite reads by pread64(), writes by pwrite64(), syncs by
// fdatasync() and shortens its log by ftruncate64(); files are told apart by the path they were
// opened by.
#include "tests/faults/disk.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <cstring>

namespace {

using namespace counterd::faults;

constexpr int kNoFile = -1;
constexpr std::size_t kDescriptors = 1024;
constexpr unsigned kPausedCheckpoints = 3;  // one in this many, in each process

template <class Function>
Function* real(Function*, const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}
#define REAL(name) static auto* const real_##name = real(&::name, #name)

// Which file of the database each descriptor is, plus 1; 0: none.
std::array<std::atomic<int>, kDescriptors> files;

// How many failed syncs of its file each descriptor has been told of.
std::array<std::atomic<std::uint32_t>, kDescriptors> known_failures;

DiskControl* control() {
  static DiskControl* const mapped = [] {
    const char* path = getenv(kControlVariable);
    const int file = path == nullptr ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return static_cast<DiskControl*>(nullptr);
    void* memory = mmap(nullptr, sizeof(DiskControl), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    return memory == MAP_FAILED ? nullptr : static_cast<DiskControl*>(memory);
  }();
  return mapped;
}

int file_of(int fd) {
  if (fd < 0 || fd >= static_cast<int>(kDescriptors)) return kNoFile;
  return files[static_cast<std::size_t>(fd)].load(std::memory_order_relaxed) - 1;
}

// After open(): remembers whether `fd` is the database or its log.
int note_open(const char* path, int fd) {
  static thread_local bool inside = false;  // control() opens a file itself
  if (fd < 0 || fd >= static_cast<int>(kDescriptors) || inside) return fd;
  inside = true;
  const DiskControl* disk = control();
  inside = false;
  int file = kNoFile;
  if (disk != nullptr) {
    const std::size_t length = strlen(disk->database);
    if (strncmp(path, disk->database, length) == 0) {
      if (path[length] == '\0') file = 0;
      if (strcmp(path + length, "-wal") == 0) file = 1;
    }
  }
  const auto descriptor = static_cast<std::size_t>(fd);
  files[descriptor] = file + 1;
  if (file != kNoFile) {
    known_failures[descriptor] = disk->failed_syncs[static_cast<std::size_t>(file)].load();
  }
  return fd;
}

// Whether a sync through this descriptor has to report one that failed through another. If this one
// `fails`, all others will be told.
bool tells_of_failure(int fd, int file, bool fails) {
  auto& failures = control()->failed_syncs[static_cast<std::size_t>(file)];
  auto& known = known_failures[static_cast<std::size_t>(fd)];
  const std::uint32_t before = fails ? failures.fetch_add(1) : failures.load();
  return known.exchange(before + (fails ? 1 : 0)) != before;
}

// Whether this call is one that should fail.
bool fails(Call call) {
  DiskControl* disk = control();
  if (disk->call.load(std::memory_order_relaxed) != call) return false;
  if (disk->spared.fetch_sub(1) > 0) return false;
  if (disk->failing.fetch_sub(1) <= 0) {
    disk->call = Call::kNone;
    return false;
  }
  errno = disk->error;
  return true;
}

int journal_file() {
  static const int file = open(control()->journal, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  return file;
}

// One write per record, so that records of several processes do not mix.
void write_record(Entry entry, int file, std::int64_t offset, const void* data, std::size_t size) {
  Record record;
  memset(&record, 0, sizeof record);
  record.begin = kRecordBegin;
  record.entry = entry;
  record.file = static_cast<std::uint8_t>(file);
  record.offset = offset;
  record.size = size;
  record.check = check_of(record);
  std::uint64_t end = kRecordEnd;
  const std::array<iovec, 3> parts = {
      iovec{&record, sizeof record}, iovec{const_cast<void*>(data), size}, iovec{&end, sizeof end}};
  const auto whole = static_cast<ssize_t>(sizeof record + size + sizeof end);
  // Without its journal the harness would judge wrongly.
  if (writev(journal_file(), parts.data(), static_cast<int>(parts.size())) != whole) abort();
}

bool journaling() {
  return control()->journaling.load(std::memory_order_relaxed) != 0;
}

// As long as it lives, the harness does not change the files (PowerSupply::forget()). A process
// changes them on one thread at a time.
class HarnessWaits {
 public:
  HarnessWaits() {
    if (journaling()) flock(journal_file(), LOCK_SH);
  }
  HarnessWaits(const HarnessWaits&) = delete;
  HarnessWaits& operator=(const HarnessWaits&) = delete;
  ~HarnessWaits() {
    const int error = errno;
    if (journaling()) flock(journal_file(), LOCK_UN);
    errno = error;
  }
};

bool would_grow(int fd, std::int64_t end) {
  struct stat found {};
  return control()->full.load(std::memory_order_relaxed) != 0 && fstat(fd, &found) == 0 &&
         end > found.st_size;
}

template <class Sync>
int sync_file(Sync* sync, int fd) {
  const int file = file_of(fd);
  if (file == kNoFile) return sync(fd);
  const HarnessWaits waits;
  struct stat journal {};
  if (journaling()) fstat(journal_file(), &journal);
  const bool failed = fails(Call::kSync);
  const int error = failed ? errno : EIO;
  const int result = failed ? -1 : sync(fd);
  const bool tells = tells_of_failure(fd, file, failed);
  if (journaling()) {
    write_record(result == 0 ? Entry::kSync : Entry::kSyncFailed, file, journal.st_size, nullptr,
                 0);
  }
  if (!failed && !tells) return result;
  errno = error;
  return -1;
}

ssize_t write_at(int fd, const void* data, std::size_t size, off64_t offset) {
  REAL(pwrite64);
  const int file = file_of(fd);
  if (file == kNoFile) return real_pwrite64(fd, data, size, offset);
  if (fails(Call::kWrite)) return -1;
  if (would_grow(fd, offset + static_cast<off64_t>(size))) {
    errno = ENOSPC;
    return -1;
  }
  const HarnessWaits waits;
  if (journaling()) write_record(Entry::kWrite, file, offset, data, size);
  return real_pwrite64(fd, data, size, offset);
}

int truncate_to(int fd, off64_t size) {
  REAL(ftruncate64);
  const int file = file_of(fd);
  if (file == kNoFile) return real_ftruncate64(fd, size);
  if (fails(Call::kWrite)) return -1;
  const HarnessWaits waits;
  if (journaling()) write_record(Entry::kTruncate, file, size, nullptr, 0);
  return real_ftruncate64(fd, size);
}

std::int64_t offset_of(clockid_t clock) {
  if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE) return 0;
  const DiskControl* disk = control();
  return disk == nullptr ? 0 : disk->clock_offset_ns.load(std::memory_order_relaxed);
}

// SQLite's own methods for the database file, except for the pause. All connections of a process
// open it in the same way.
sqlite3_io_methods slow_methods;
int (*real_unfetch)(sqlite3_file*, sqlite3_int64, void*) = nullptr;

thread_local bool checkpoint_begins = false;  // and has not paused yet

void pause_checkpoint() {
  const DiskControl* disk = control();
  const int pause = disk == nullptr ? 0 : disk->checkpoint_pause_ms.load();
  if (pause > 0) usleep(static_cast<useconds_t>(pause) * 1'000);
}

// The state that a checkpoint reads right after another one is the most likely to be overtaken.
void await_another_checkpoint() {
  const DiskControl* disk = control();
  if (disk == nullptr) return;
  const int pause_ms = disk->checkpoint_pause_ms.load();
  const std::uint32_t before = disk->checkpoints.load();
  for (int i = 0; i < pause_ms * 100 && disk->checkpoints.load() == before; ++i) usleep(10);
}

int pause_and_unfetch(sqlite3_file* file, sqlite3_int64 offset, void* memory) {
  if (checkpoint_begins) {
    checkpoint_begins = false;
    pause_checkpoint();
  }
  return real_unfetch(file, offset, memory);
}

}  // namespace

extern "C" {

int open64(const char* path, int flags, ...) {
  REAL(open64);
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return note_open(path, real_open64(path, flags, mode));
}

int close(int fd) {
  REAL(close);
  if (fd >= 0 && fd < static_cast<int>(kDescriptors)) files[static_cast<std::size_t>(fd)] = 0;
  return real_close(fd);
}

ssize_t pread64(int fd, void* data, size_t size, off64_t offset) {
  REAL(pread64);
  if (file_of(fd) != kNoFile && fails(Call::kRead)) return -1;
  return real_pread64(fd, data, size, offset);
}
ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) {
  return write_at(fd, data, size, offset);
}
int ftruncate64(int fd, off64_t size) noexcept {
  return truncate_to(fd, size);
}
int fdatasync(int fd) {
  REAL(fdatasync);
  return sync_file(real_fdatasync, fd);
}
int fsync(int fd) {
  REAL(fsync);
  return sync_file(real_fsync, fd);
}

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  REAL(clock_gettime);
  const int result = real_clock_gettime(clock, time);
  const std::int64_t offset = offset_of(clock);
  if (result == 0 && offset != 0) {
    const std::int64_t sum = time->tv_sec * 1'000'000'000 + time->tv_nsec + offset;
    time->tv_sec = sum / 1'000'000'000;
    time->tv_nsec = sum % 1'000'000'000;
  }
  return result;
}
int gettimeofday(timeval* time, void*) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  time->tv_sec = now.tv_sec;
  time->tv_usec = now.tv_nsec / 1'000;
  return 0;
}
time_t time(time_t* seconds) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (seconds != nullptr) *seconds = now.tv_sec;
  return now.tv_sec;
}

// A checkpoint reads the log's state, then lets go of what it has mapped of the database if another
// connection has written, then acts on that state.
int sqlite3_wal_checkpoint_v2(sqlite3* database, const char* schema, int mode, int* frames,
                              int* moved) {
  REAL(sqlite3_wal_checkpoint_v2);
  REAL(sqlite3_file_control);
  sqlite3_file* file = nullptr;
  real_sqlite3_file_control(database, schema == nullptr ? "main" : schema,
                            SQLITE_FCNTL_FILE_POINTER, &file);
  if (file != nullptr && file->pMethods != nullptr && file->pMethods != &slow_methods) {
    slow_methods = *file->pMethods;
    real_unfetch = slow_methods.xUnfetch;
    slow_methods.xUnfetch = &pause_and_unfetch;
    file->pMethods = &slow_methods;
  }
  // Only some pause, so that those of others are done in the meantime.
  static std::atomic<unsigned> calls;
  checkpoint_begins = ++calls % kPausedCheckpoints == 0;
  if (checkpoint_begins) await_another_checkpoint();
  const int result = real_sqlite3_wal_checkpoint_v2(database, schema, mode, frames, moved);
  checkpoint_begins = false;
  if (DiskControl* disk = control(); disk != nullptr) ++disk->checkpoints;
  return result;
}

}  // extern "C"
