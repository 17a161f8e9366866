// What SQLite's interface does not offer of its write-ahead log: a look at, and changes of, the
// memory that all share who have the database open (sqlite.org/walformat.html, 2). It lives as long
// as one of them does.
//
// And the doubt about the log, which all of them share there, in 4 bytes that the format leaves
// unused: how many syncs are under way or have failed. So whoever opens the database sees it, also
// if those that it came from have died, in the middle of a sync or right behind one.
//
// REQUIRES, for all: the connection has read the database, in WAL mode.
#pragma once

#include <sqlite3.h>

#include <cstdint>

namespace counterd {

// Where the log ends, in bytes; what its file has behind that belongs to nobody.
// REQUIRES: nobody writes to it meanwhile
std::int64_t end_of_log(sqlite3* connection);

// Makes the next checkpoint move all of the log, also what an earlier one has moved already.
// SQLITE_OK, or why not: SQLITE_BUSY while another program makes a checkpoint.
int move_again(sqlite3* connection);

// Syncs the database: a checkpoint does so only where it has moved all of the log. SQLITE_OK, or
// why not.
int sync_database(sqlite3* connection);

// A sync of the log or the database begins: from now on the log is in doubt, until end_sync() with
// what this returned. Where the sync fails, there is none.
std::uint32_t begin_sync(sqlite3_file* database);
void end_sync(sqlite3_file* database, std::uint32_t begun);

// Whether a sync is under way, or none of what has failed or was never ended is mended.
bool is_in_doubt(sqlite3* connection);
// From now on the log is in doubt.
void doubt_log(sqlite3* connection);
// Nothing is in doubt, but for syncs that begin from now on. REQUIRES: the turn is held, and all
// that the log holds is on the disk
void trust_log(sqlite3* connection);

}  // namespace counterd
