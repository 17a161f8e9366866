// A VFS for SQLite (sqlite.org/vfs.html): the system's own, but what a transaction adds to the log
// goes to the file in one system call. SQLite writes each of its pages in two.
//
// What was written is gathered until SQLite syncs the log, and at the latest until it lets go of
// the lock under which the log is written; so nobody else ever writes where something is still
// gathered. SQLite tells others of a commit behind its sync, so they find all of it in the file.
//
// The sync of a commit can be left to later, when the turn to write is another's: the disk is given
// what several have committed at once.
#pragma once

#include <sqlite3.h>

namespace counterd {

// The name of the VFS.
// REQUIRES, of each connection that uses it: PRAGMA synchronous is FULL. Without the sync, others
// would be told of a commit that is not in the file yet.
const char* gathering_vfs();

// Whether commits of the connection, from now on, write their changes and leave them unsynced, for
// sync_log(). The first bytes of a log that begins anew are synced all the same: behind them as
// they were, what is written next could not be told from what it is written over. REQUIRES: no
// checkpoint runs while they do
void leave_commits_unsynced(sqlite3* connection, bool leave);

// Syncs the log: what anybody has committed before is on the disk. SQLITE_OK, or why not.
int sync_log(sqlite3* connection);

}  // namespace counterd
