#include "common/store/sqlite_vfs.h"

#include <sqlite3.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "common/store/sqlite_shm.h"

namespace counterd {
namespace {

// How many bytes are gathered, at most, before they are written ahead of the transaction's end. The
// system VFS cannot write more than 131,071 at once: it takes the size modulo 131,072 (os_unix.c).
constexpr std::size_t kMostGathered = 64 << 10;

// How long SQLite sleeps at a time beyond the deadline; it gives up after some 90 times.
constexpr std::chrono::microseconds kShortestSleep{100};

// SQLite does not tell for which connection it sleeps.
thread_local Deadline latest_wakeup = Deadline::max();

using Methods = sqlite3_io_methods;

// SQLite provides the memory; in it the system's file follows ours.
struct File : sqlite3_file {
  sqlite3_file* system = nullptr;
};

struct Wal;

struct Database : File {
  Wal* wal = nullptr;  // while it is open
  bool gathers = true;
  bool leaves_unsynced = false;
  int checkpoint_failure = SQLITE_OK;  // of the sync of what the latest checkpoint has moved
  int writer_locks = 0;                // how many times it has the lock, and lets go of it
  int checkpoint_locks = 0;
};

struct Wal : File {
  Database* database = nullptr;
  std::vector<char> gathered;
  sqlite3_int64 offset = 0;    // of the first byte gathered
  bool has_restarted = false;  // its first bytes were written and are not synced
  // The error of a gathered write, which SQLite takes for done: what the transaction writes after
  // it is refused with the same, and so is its commit.
  int failure = SQLITE_OK;
};

// A method that does what the system's does.
template <auto Method, class... Arguments>
auto forward(sqlite3_file* file, Arguments... arguments) {
  sqlite3_file* const system = static_cast<File*>(file)->system;
  return (system->pMethods->*Method)(system, arguments...);
}

// The system VFS reports a full disk as SQLITE_FULL, but an exhausted quota as an I/O error.
int write(sqlite3_file* file, const void* data, int size, sqlite3_int64 offset) {
  const int code = forward<&Methods::xWrite>(file, data, size, offset);
  return code == SQLITE_IOERR_WRITE && errno == EDQUOT ? SQLITE_FULL : code;
}

int write_gathered(Wal& wal) {
  if (wal.gathered.empty()) return SQLITE_OK;
  const int code =
      write(&wal, wal.gathered.data(), static_cast<int>(wal.gathered.size()), wal.offset);
  wal.gathered.clear();
  if (code != SQLITE_OK) wal.failure = code;
  return code;
}

// A method that first writes what was gathered.
template <auto Method, class... Arguments>
int write_then(sqlite3_file* file, Arguments... arguments) {
  const int code = write_gathered(*static_cast<Wal*>(file));
  return code == SQLITE_OK ? forward<Method>(file, arguments...) : code;
}

int write_wal(sqlite3_file* file, const void* data, int size, sqlite3_int64 offset) {
  Wal& wal = *static_cast<Wal*>(file);
  if (offset == 0) wal.has_restarted = true;
  if (!wal.database->gathers) return write(file, data, size, offset);
  const auto* bytes = static_cast<const char*>(data);
  const auto end = wal.offset + static_cast<sqlite3_int64>(wal.gathered.size());
  if (offset != end || wal.gathered.size() + static_cast<std::size_t>(size) > kMostGathered) {
    write_gathered(wal);
  }
  if (wal.failure != SQLITE_OK) return wal.failure;
  if (wal.gathered.empty()) wal.offset = offset;
  try {
    wal.gathered.insert(wal.gathered.end(), bytes, bytes + size);
  } catch (const std::bad_alloc&) {
    return SQLITE_IOERR_NOMEM;
  }
  return SQLITE_OK;
}

int sync(Wal& wal, int flags) {
  const int code =
      sync_in_doubt(wal.database, [&] { return forward<&Methods::xSync>(&wal, flags); });
  if (code == SQLITE_OK) wal.has_restarted = false;
  return code;
}

int sync_database_file(sqlite3_file* file, int flags) {
  Database& database = *static_cast<Database*>(file);
  // The system tells of a failure once: it would be believed.
  if (database.checkpoint_failure != SQLITE_OK) return database.checkpoint_failure;
  const auto sync = [&] { return forward<&Methods::xSync>(file, flags); };
  return database.wal == nullptr ? sync() : sync_in_doubt(file, sync);
}

// A checkpoint has written all that it moves, and told nobody yet.
void sync_moved(Database& database) {
  database.checkpoint_failure = sync_database_file(&database, SQLITE_SYNC_NORMAL);
}

// A checkpoint has told, just now, how much it moved. Where the sync failed, nothing counts as
// moved: what could not be written may be what others had moved before.
void end_checkpoint(Database& database) {
  if (database.checkpoint_failure != SQLITE_OK) set_moved_frames(&database, 0);
}

int write_and_sync(sqlite3_file* file, int flags) {
  Wal& wal = *static_cast<Wal*>(file);
  write_gathered(wal);
  if (wal.failure != SQLITE_OK) return wal.failure;
  const bool later = wal.database->leaves_unsynced && !wal.has_restarted;
  return later ? SQLITE_OK : sync(wal, flags);
}

int close_wal(sqlite3_file* file) {
  Wal& wal = *static_cast<Wal*>(file);
  write_gathered(wal);
  wal.database->wal = nullptr;
  const int code = forward<&Methods::xClose>(file);
  wal.~Wal();
  return code;
}

constexpr int kTake = SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE;
constexpr int kRelease = SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE;

int lock(Database& database, const ShmLocks& locks, int flags) {
  return forward<&Methods::xShmLock>(&database, locks.first, locks.count, flags);
}

// The same for a lock that the connection may have already, `times` times: it goes with the last.
int lock_again(Database& database, int& times, const ShmLocks& locks, int flags) {
  const bool takes = flags == kTake;
  const bool stays = takes ? times > 0 : times > 1;
  const int code = stays ? SQLITE_OK : lock(database, locks, flags);
  if (code == SQLITE_OK) times += takes ? 1 : -1;
  return code;
}

int lock_checkpoints(Database& database, int flags) {
  return lock_again(database, database.checkpoint_locks, kCheckpointLock, flags);
}

// All of the log has been moved, perhaps by others that do not sync. Where it cannot be synced,
// nothing counts as moved.
int sync_before_restart(Database& database) {
  const int code = sync_database_file(&database, SQLITE_SYNC_NORMAL);
  if (code != SQLITE_OK) set_moved_frames(&database, 0);
  return code;
}

// For a commit or a checkpoint that restarts the log. A commit that finds it busy adds to the log.
int lock_to_restart(Database& database, int flags) {
  if (flags == kTake) {
    if (const int code = lock_checkpoints(database, kTake); code != SQLITE_OK) return code;
  }
  int code = lock(database, kOtherReaderLocks, flags);
  if (flags == kTake && code == SQLITE_OK) {
    code = sync_before_restart(database);
    if (code != SQLITE_OK) lock(database, kOtherReaderLocks, kRelease);
  }
  if (flags == kRelease || code != SQLITE_OK) lock_checkpoints(database, kRelease);
  return code;
}

// Whoever begins to write corrects first what those have left behind who died. Where SQLite has to
// read that again, it is told to try again.
int lock_writer(Database& database, int flags) {
  if (flags == kRelease && database.wal != nullptr) {
    write_gathered(*database.wal);  // what a transaction rolled back has left: nobody reads it
    database.wal->failure = SQLITE_OK;
  }
  const int code = lock_again(database, database.writer_locks, kWriteLock, flags);
  const bool begins = flags == kTake && code == SQLITE_OK && database.writer_locks == 1;
  if (!begins) return code;
  clean_index(&database);
  if (!correct_moved_frames(&database)) return SQLITE_OK;
  lock_again(database, database.writer_locks, kWriteLock, kRelease);
  return SQLITE_BUSY;
}

int lock_shared_memory(sqlite3_file* file, int first, int count, int flags) {
  Database& database = *static_cast<Database*>(file);
  const ShmLocks locks{first, count};
  const bool is_exclusive = flags == kTake || flags == kRelease;
  if (!is_exclusive) return lock(database, locks, flags);
  if (locks == kWriteLock) return lock_writer(database, flags);
  if (locks == kCheckpointLock) return lock_checkpoints(database, flags);
  if (locks == kOtherReaderLocks) return lock_to_restart(database, flags);
  if (locks == kFirstReaderLock && flags == kRelease) end_checkpoint(database);
  return lock(database, locks, flags);
}

int control_database(sqlite3_file* file, int operation, void* argument) {
  Database& database = *static_cast<Database*>(file);
  if (operation == SQLITE_FCNTL_CKPT_START) database.checkpoint_failure = SQLITE_OK;
  if (operation == SQLITE_FCNTL_CKPT_DONE) sync_moved(database);
  return forward<&Methods::xFileControl>(file, operation, argument);
}

const Methods wal_methods = {
    .iVersion = 1,
    .xClose = &close_wal,
    .xRead = &write_then<&Methods::xRead>,
    .xWrite = &write_wal,
    .xTruncate = &write_then<&Methods::xTruncate>,
    .xSync = &write_and_sync,
    .xFileSize = &write_then<&Methods::xFileSize>,
    .xLock = &forward<&Methods::xLock>,
    .xUnlock = &forward<&Methods::xUnlock>,
    .xCheckReservedLock = &forward<&Methods::xCheckReservedLock>,
    .xFileControl = &forward<&Methods::xFileControl>,
    .xSectorSize = &forward<&Methods::xSectorSize>,
    .xDeviceCharacteristics = &forward<&Methods::xDeviceCharacteristics>,
    .xShmMap = nullptr,
    .xShmLock = nullptr,
    .xShmBarrier = nullptr,
    .xShmUnmap = nullptr,
    .xFetch = nullptr,
    .xUnfetch = nullptr,
};

const Methods database_methods = {
    .iVersion = 3,  // that of the system's files (os_unix.c)
    .xClose = &forward<&Methods::xClose>,
    .xRead = &forward<&Methods::xRead>,
    .xWrite = &write,
    .xTruncate = &forward<&Methods::xTruncate>,
    .xSync = &sync_database_file,
    .xFileSize = &forward<&Methods::xFileSize>,
    .xLock = &forward<&Methods::xLock>,
    .xUnlock = &forward<&Methods::xUnlock>,
    .xCheckReservedLock = &forward<&Methods::xCheckReservedLock>,
    .xFileControl = &control_database,
    .xSectorSize = &forward<&Methods::xSectorSize>,
    .xDeviceCharacteristics = &forward<&Methods::xDeviceCharacteristics>,
    .xShmMap = &forward<&Methods::xShmMap>,
    .xShmLock = &lock_shared_memory,
    .xShmBarrier = &forward<&Methods::xShmBarrier>,
    .xShmUnmap = &forward<&Methods::xShmUnmap>,
    .xFetch = &forward<&Methods::xFetch>,
    .xUnfetch = &forward<&Methods::xUnfetch>,
};

template <class Ours>
int open_as(sqlite3_vfs* system, const char* name, sqlite3_file* memory, const Methods& methods,
            int flags, int* opened_flags) {
  static_assert(sizeof(Ours) <= sizeof(Wal), "szOsFile has room for a Wal");
  auto* file = new (memory) Ours{};
  file->system = reinterpret_cast<sqlite3_file*>(file + 1);
  const int code = system->xOpen(system, name, file->system, flags, opened_flags);
  if (code == SQLITE_OK) file->pMethods = &methods;
  return code;
}

sqlite3_vfs* system_vfs() {
  static sqlite3_vfs* const system = sqlite3_vfs_find(nullptr);
  return system;
}

int open_file(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* opened) {
  sqlite3_vfs* const system = system_vfs();
  if ((flags & SQLITE_OPEN_MAIN_DB) != 0) {
    return open_as<Database>(system, name, file, database_methods, flags, opened);
  }
  if ((flags & SQLITE_OPEN_WAL) == 0) return system->xOpen(system, name, file, flags, opened);
  const int code = open_as<Wal>(system, name, file, wal_methods, flags, opened);
  if (code != SQLITE_OK) return code;
  auto* wal = static_cast<Wal*>(file);
  wal->database = static_cast<Database*>(sqlite3_database_file_object(name));
  wal->database->wal = wal;
  return code;
}

// Returns how long it has slept.
int sleep(sqlite3_vfs*, int wanted) {
  using std::chrono::microseconds;
  const auto left =
      std::chrono::duration_cast<microseconds>(latest_wakeup - std::chrono::steady_clock::now());
  const auto time = std::min(microseconds(wanted), std::max(left, kShortestSleep));
  std::this_thread::sleep_for(time);
  return static_cast<int>(time.count());
}

// The system's, which opens files and sleeps in another way. Its other methods do not look at the
// VFS that they are called with (os_unix.c).
sqlite3_vfs make_vfs() {
  sqlite3_vfs vfs = *system_vfs();
  vfs.szOsFile += static_cast<int>(sizeof(Wal));
  vfs.zName = "counterd";
  vfs.xOpen = &open_file;
  vfs.xSleep = &sleep;
  return vfs;
}

// REQUIRES: the connection uses this VFS
Database& database_of(sqlite3* connection) {
  return *static_cast<Database*>(database_file(connection));
}

}  // namespace

const char* counterd_vfs() {
  static sqlite3_vfs vfs = make_vfs();
  [[maybe_unused]] static const int registered = sqlite3_vfs_register(&vfs, 0);
  return vfs.zName;
}

void limit_sleep(Deadline deadline) {
  latest_wakeup = deadline;
}

void gather_writes(sqlite3* connection, bool gather) {
  database_of(connection).gathers = gather;
}

void leave_commits_unsynced(sqlite3* connection, bool leave) {
  database_of(connection).leaves_unsynced = leave;
}

int sync_wal(sqlite3* connection) {
  Wal* const wal = database_of(connection).wal;
  return wal == nullptr ? SQLITE_OK : sync(*wal, SQLITE_SYNC_NORMAL);
}

int sync_database(sqlite3* connection) {
  return sync_database_file(&database_of(connection), SQLITE_SYNC_NORMAL);
}

int take_checkpoint_failure(sqlite3* connection) {
  return std::exchange(database_of(connection).checkpoint_failure, SQLITE_OK);
}

}  // namespace counterd
