// A VFS for SQLite (sqlite.org/vfs.html): the system's own, but what a transaction adds to the log
// goes to the file in one system call. SQLite writes each of its pages in two.
//
// What was written is gathered until SQLite syncs the log, and at the latest until it lets go of
// the lock under which the log is written; so nobody else ever writes where something is still
// gathered. SQLite tells others of a commit behind its sync, so they find all of it in the file.
#pragma once

namespace counterd {

// The name of the VFS; empty: the system's has to do.
// REQUIRES, of each connection that uses it: PRAGMA synchronous is FULL. Without the sync, others
// would be told of a commit that is not in the file yet.
const char* gathering_vfs();

}  // namespace counterd
