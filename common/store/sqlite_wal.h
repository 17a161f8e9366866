// What SQLite's interface does not offer for its write-ahead log: reading and changing the memory
// shared by all that have the database open (sqlite.org/walformat.html, 2). It lives as long as any
// of them does.
//
// Also the doubt about the log, which they share there, in 4 bytes that the format leaves unused:
// how many syncs are under way or have failed. So whoever opens the database sees it, even if those
// that caused it have died, in the middle of a sync or right after one.
//
// REQUIRES, for all: the connection has read the database, in WAL mode.
#pragma once

#include <sqlite3.h>

#include <cstdint>

#include "common/store/sqlite_frames.h"

namespace counterd {

// What the log holds; what its file has beyond that belongs to nobody.
// REQUIRES: nobody writes to it meanwhile
LogIndex read_log_index(sqlite3* connection);

// If the file `log` does not hold what the shared memory says, makes the next one to read find out
// what it does hold, as after a crash: what was never synced is lost. May also be called before the
// connection has read anything. SQLITE_OK, or why not: SQLITE_BUSY while another program writes,
// SQLITE_IOERR if the file cannot be read.
int drop_lost_frames(sqlite3* connection, int log);

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

// Whether a sync is under way, or one that failed or never ended has not been mended.
bool is_in_doubt(sqlite3* connection);
// From now on the log is in doubt.
void doubt_log(sqlite3* connection);
// Nothing is in doubt, except for syncs that begin from now on. REQUIRES: the turn is held, and all
// that the log holds is on the disk
void trust_log(sqlite3* connection);

}  // namespace counterd
