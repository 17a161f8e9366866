// A VFS for SQLite (sqlite.org/vfs.html): the system's own, except for eight things.
//
// What a checkpoint has moved is synced before anybody reads it from the database. SQLite itself
// does so only if all of the log was moved. After a checkpoint of a part, others could read pages
// from the database that are not on the disk yet, and are lost if the disk fails to write them. If
// the sync fails, everybody goes on reading these pages from the log.
//
// The database is synced once more before the log restarts, because the one that moved the last of
// it may be another program that does not sync (PRAGMA synchronous = OFF).
//
// What a transaction adds to the log goes to the file in one system call. SQLite itself writes each
// of its pages in two. Writes are gathered until SQLite syncs the log, and at the latest until it
// releases the lock under which the log is written; so nobody else ever writes where something is
// still gathered. SQLite announces a commit to others after its sync, so they find all of it in the
// file.
//
// A commit that would restart the log while anybody makes a checkpoint adds to it instead: the
// checkpoint may have read how long the log was, and would take what comes for moved (the WAL-reset
// bug, sqlite.org/wal.html). A connection may take the locks of the writer and of a
// checkpoint (sqlite_shm.h) again and again; the last release is the one that counts.
//
// The sync of a commit can be left until later, when another has the turn to write: the disk then
// gets what several have committed at once.
//
// Whoever begins to write first corrects what those have left in the shared memory who died while
// they wrote (clean_index() and correct_moved_frames() of sqlite_shm.h).
//
// A quota that is used up is told as a full disk, SQLITE_FULL, and not as an I/O error.
//
// Where another program keeps the locks of readers, SQLite sleeps between its attempts by itself,
// for up to 10 s in all. It does not beyond the deadline.
#pragma once

#include <sqlite3.h>

#include "common/deadline.h"

namespace counterd {

// The name of the VFS. What is declared below takes connections that use it.
const char* counterd_vfs();

// Until when SQLite may sleep in this thread, for any connection; a moment longer, so that what is
// free soon is obtained.
void limit_sleep(Deadline deadline);

// Whether what the connection adds to the log is gathered; at first it is. REQUIRES: PRAGMA
// synchronous is FULL where it is. Without the sync, others would be told of a commit that is not
// in the file yet.
void gather_writes(sqlite3* connection, bool gather);

// Whether commits of the connection, from now on, write their changes but leave them unsynced, for
// sync_wal(). The first bytes of a log that restarts are synced all the same: if the disk kept the
// old ones, what is written next could not be told from what it overwrites. REQUIRES: no checkpoint
// runs while commits are left unsynced
void leave_commits_unsynced(sqlite3* connection, bool leave);

// Syncs the log: all that anybody committed before is then on the disk. SQLITE_OK, or why not.
int sync_wal(sqlite3* connection);

// Syncs the database. SQLITE_OK, or why not.
int sync_database(sqlite3* connection);

// SQLITE_OK, or why what the latest checkpoint has moved could not be synced, so that it does not
// count as moved; SQLite does not tell that where it moved a part. Told once.
int take_checkpoint_failure(sqlite3* connection);

}  // namespace counterd
