// The memory shared by all that have an SQLite database open (sqlite.org/walformat.html, 2), which
// SQLite's interface gives nobody to read or change. It lives as long as any of them does.
//
// Also the doubt about the log, which they share there, in 4 bytes that the format leaves unused:
// how many syncs are under way or have failed, and whether the log is damaged. So whoever opens the
// database sees it, even if those that caused it have died, in the middle of a sync or right after
// one.
//
// REQUIRES, for all but database_file() and open_shared_memory(): the latter was called, or the
// connection has read the database, in WAL mode.
#pragma once

#include <sqlite3.h>

#include <cstdint>

#include "common/store/sqlite_wal.h"

namespace counterd {

// The database's file, as the connection has it open.
sqlite3_file* database_file(sqlite3* connection);

// Locks of the shared memory (2.2), which are numbered.
struct ShmLocks {
  int first;
  int count;

  bool operator==(const ShmLocks&) const = default;
};
inline constexpr ShmLocks kWriteLock{0, 1};
inline constexpr ShmLocks kCheckpointLock{1, 1};
inline constexpr ShmLocks kReaderLocks{3, 5};
// That of readers of the database alone. A checkpoint has it while it moves the log, and says then
// how much of it.
inline constexpr ShmLocks kFirstReaderLock{3, 1};
// Those of all other readers, which are held while the log restarts.
inline constexpr ShmLocks kOtherReaderLocks{4, 4};

// They are for nobody else as long as this lives, if code() is SQLITE_OK.
class ShmLock {
 public:
  ShmLock(sqlite3* connection, ShmLocks locks);
  ShmLock(const ShmLock&) = delete;
  ShmLock& operator=(const ShmLock&) = delete;
  ~ShmLock();
  int code() const { return code_; }

 private:
  sqlite3_file* const file_;
  const ShmLocks locks_;
  const int code_;
};

// Opens the shared memory before anything is read, as reading would: under a lock that keeps others
// from removing it. If it is new or was cut short, the next one to read finds out what the log
// holds. SQLITE_OK, or why not: SQLITE_BUSY while another one opens or uses it.
int open_shared_memory(sqlite3* connection);
// Closes it again, where nothing has been read: only reading makes SQLite close it by itself.
void close_shared_memory(sqlite3* connection);

// Whether the memory can be written to. Not where it could be opened only for reading, as when
// there were no descriptors for a moment: to write to it would end the process.
bool is_memory_writable(sqlite3* connection);

// What the log holds; what its file has beyond that belongs to nobody. Nothing, if the next one to
// read is yet to find it out. REQUIRES: nobody writes to it meanwhile
WalIndex read_wal_index(sqlite3* connection);

// Makes room in the index for so many frames after the end of the log: SQLite adds frames to the
// index only after it has written them, and a commit that is in the log but has no room there is
// refused, and might yet be found in the log. False: there is none, and errno says why.
// REQUIRES: nobody else writes to the log
bool make_room_in_index(sqlite3* connection, std::uint32_t frames);

// Where the log ends now. REQUIRES: the connection has read the database
WalEnd end_of_wal(sqlite3* connection);

// How many of the log's frames have been moved into the database; by a checkpoint that may not have
// ended, or may not have begun: at most `tried`.
struct MovedFrames {
  std::uint32_t moved = 0;
  std::uint32_t tried = 0;
};
MovedFrames moved_frames(sqlite3* connection);
// REQUIRES: this process alone may make checkpoints
void set_moved_frames(sqlite3_file* database, std::uint32_t frames);
// Corrects `moved` where a process has died while it restarted the log: SQLite first says that the
// log is empty, and only then that nothing of it has been moved; in between, what is added would
// not be found. Returns whether it was so. REQUIRES: this process alone may write to the log
bool correct_moved_frames(sqlite3_file* database);
// Removes from the index the frames beyond the end of the log: those of a writer that died before
// they were part of it. SQLite does so too, when it adds a frame in the place of one of them. But
// if a process has died in the middle of that, the next writer comes upon the rest only after it
// has added frames of its own, which SQLite then removes as well: nobody would find them in the
// log. REQUIRES: this process alone may write to the log, and has not begun to
void clean_index(sqlite3_file* database);

// Makes the next one to read find out what the log holds, as after a crash.
// REQUIRES: nobody reads or writes it, or makes a checkpoint
void forget_index(sqlite3* connection);

// Makes the next checkpoint move all of the log, even what an earlier one has already moved.
// SQLITE_OK, or why not: SQLITE_BUSY while another program makes a checkpoint.
int move_again(sqlite3* connection);

// A sync of the log or the database begins: from now on the log is in doubt, until end_sync() is
// called with what this returned.
std::uint32_t begin_sync(sqlite3_file* database);
void end_sync(sqlite3_file* database, std::uint32_t begun);
// Has `sync` sync the log or the database. The log is in doubt meanwhile, because this process may
// die, and the system has told it alone then; and it stays so unless `sync` returns 0, as the
// system's calls do and SQLite's (SQLITE_OK). Returns the same.
template <class Sync>
int sync_in_doubt(sqlite3_file* database, Sync sync) {
  const std::uint32_t begun = begin_sync(database);
  const int failure = sync();
  if (failure == 0) end_sync(database, begun);
  return failure;
}

// Whether somebody has found the log to be damaged (sqlite_repair.h). It stays so as long as
// anybody has the database open.
bool is_damaged(sqlite3* connection);
void mark_damaged(sqlite3* connection);

// Whether a sync is under way, or has failed or never ended, and nobody has recovered the log
// since.
bool is_in_doubt(sqlite3* connection);
// From now on the log is in doubt.
void doubt_wal(sqlite3* connection);
// Nothing is in doubt, except for syncs that begin from now on. REQUIRES: the turn is held, and all
// that the log holds is on the disk
void trust_wal(sqlite3* connection);
// Whether anybody has trusted the log since the memory was made.
bool was_trusted(sqlite3* connection);

}  // namespace counterd
