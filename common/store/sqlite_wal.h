// What SQLite's interface does not offer for its write-ahead log: reading and changing the memory
// shared by all that have the database open (sqlite.org/walformat.html, 2). It lives as long as any
// of them does.
//
// Also the doubt about the log, which they share there, in 4 bytes that the format leaves unused:
// how many syncs are under way or have failed, and whether the log is damaged. So whoever opens the
// database sees it, even if those that caused it have died, in the middle of a sync or right after
// one.
//
// REQUIRES, for all but open_shared_memory(): that was called, or the connection has read the
// database, in WAL mode.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "common/store/sqlite_frames.h"

namespace counterd {

// Locks of the shared memory that are next to each other, for nobody else, from `first` on (2.2);
// as long as this lives, if code() is SQLITE_OK.
class ShmLock {
 public:
  ShmLock(sqlite3_file* file, int first, int count = 1);
  ShmLock(const ShmLock&) = delete;
  ShmLock& operator=(const ShmLock&) = delete;
  ~ShmLock();
  int code() const { return code_; }

 private:
  sqlite3_file* const file_;
  const int first_;
  const int count_;
  const int code_;
};

// Opens the shared memory before anything is read, as reading would: under a lock that keeps others
// from removing it. SQLITE_OK, or why not: SQLITE_BUSY while another one does.
int open_shared_memory(sqlite3* connection);
// Closes it again, where nothing has been read: only reading makes SQLite close it by itself.
void close_shared_memory(sqlite3* connection);

// What the log holds; what its file has beyond that belongs to nobody. Nothing, if the next one to
// read is yet to find it out. REQUIRES: nobody writes to it meanwhile
LogIndex read_log_index(sqlite3* connection);

// How far a log goes. Its salts tell it from the one that begins after a checkpoint.
struct LogEnd {
  std::uint64_t salts = 0;
  std::uint32_t frames = 0;
};

// Where the log ends now. REQUIRES: the connection has read the database
LogEnd end_of_log(sqlite3* connection);

// What has become of a log, which the kernel may no longer have as it was written.
struct LogCheck {
  enum class State : unsigned char {
    kWhole,
    kShortened,  // only what nobody was told of is lost; it goes on without that
    kDamaged,    // more is lost, or may be; is_damaged() from now on, and else nothing was changed
    kBusy,       // another program writes or makes a checkpoint, or reads what is lost
    kFailed,     // a system call failed; errno
  };
  State state;
  std::uint32_t frames = 0;  // that it should have
  std::uint32_t whole = 0;   // how many of them, from the first one on, it has
  // Of kDamaged: keeps others from moving what is left of the log into the database.
  std::unique_ptr<ShmLock> no_checkpoints = nullptr;
};

// Compares the log's file, open as `log` to be read and written, with what the shared memory says.
// If frames are lost, but neither of those up to `told`, which have been acknowledged, nor of those
// that have been moved, makes the next one to read find out what is there. If the database has all
// that the log had, the log is discarded. `told` unknown, or of another log: kDamaged.
LogCheck check_log(sqlite3* connection, int log, const std::optional<LogEnd>& told);

// Makes the next checkpoint move all of the log, even what an earlier one has already moved.
// SQLITE_OK, or why not: SQLITE_BUSY while another program makes a checkpoint.
int move_again(sqlite3* connection);

// Syncs the database: a checkpoint does so only if it has moved all of the log. SQLITE_OK, or why
// not.
int sync_database(sqlite3* connection);

// A sync of the log or the database begins: from now on the log is in doubt, until end_sync() is
// called with what this returned. If the sync fails, it is not called.
std::uint32_t begin_sync(sqlite3_file* database);
void end_sync(sqlite3_file* database, std::uint32_t begun);

// Whether somebody has found the log to be kDamaged. It stays so as long as anybody has the
// database open.
bool is_damaged(sqlite3* connection);

// Whether a sync is under way, or one that failed or never ended has not been mended.
bool is_in_doubt(sqlite3* connection);
// From now on the log is in doubt.
void doubt_log(sqlite3* connection);
// Nothing is in doubt, except for syncs that begin from now on. REQUIRES: the turn is held, and all
// that the log holds is on the disk
void trust_log(sqlite3* connection);

}  // namespace counterd
