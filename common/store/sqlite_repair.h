// What is left of an SQLite log after a failed sync, found out and written again. The kernel may
// have given up the memory of what it could not write: the file then has what the disk has.
//
// And what is left in it of a commit that found no room.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "common/store/sqlite_shm.h"
#include "common/store/sqlite_wal.h"

namespace counterd {

// What has become of a log.
struct WalCheck {
  enum class State : unsigned char {
    kWhole,
    kShortened,  // only what nobody was told of is lost; it goes on without that
    kDamaged,    // more may be lost; is_damaged() from now on, and else nothing was changed
    kUnknown,    // frames are lost, and `acknowledged` says nothing about them; nothing was changed
    kBusy,       // another program writes or makes a checkpoint, or reads what is lost
    kFailed,     // a system call failed
  };
  State state;
  std::uint32_t frames = 0;  // that it should have
  std::uint32_t whole = 0;   // how many of them, from the first one on, it has
  int error = 0;             // of kFailed: errno
  // Of kDamaged: keeps others from moving what is left of the log into the database.
  std::unique_ptr<ShmLock> no_checkpoints = nullptr;
};

// Compares the log's file, open as `wal` to be read and written, with what the shared memory says.
// If only frames are lost that were neither acknowledged nor moved into the database, the log goes
// on without them: the next one to read finds out what is left. If the database has all that the
// log had, the log is discarded. kUnknown: `acknowledged` is unknown, or of another log. kDamaged
// also if a lost frame may be one that a checkpoint was moving when it failed, or the database that
// has all of the log cannot be synced.
WalCheck examine_wal(sqlite3* connection, int wal, const std::optional<WalEnd>& acknowledged);

// Writes the log's file as it is, and syncs it. kLost: it no longer is as it was written.
// REQUIRES: nobody writes to it meanwhile
WalReading rewrite_wal(sqlite3* connection, int wal);

// Cuts off what a commit that has failed left behind the end of the log, which was `end` before it,
// and syncs that. Where bytes are missing that an older log has left in their place, the next
// recovery would find that commit to be whole. False: it may yet be found. REQUIRES: the connection
// has no transaction
bool cut_off_wal(sqlite3* connection, int wal, const WalEnd& end, std::uint32_t page_bytes);

}  // namespace counterd
