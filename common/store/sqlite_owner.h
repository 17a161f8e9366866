// Which database a write-ahead log belongs to. SQLite puts what it finds in a log into the database
// beside it, whichever that is: a backup that is put in the place of a database whose processes
// were killed would become a mixture of the two, and no check of SQLite detects that.
//
// It is noted in an extended attribute of the log (xattr(7)), which names both files, so that a
// copy of the log in a new file says nothing: a snapshot that is put back has new files. Nothing
// syncs it, and not all file systems have such attributes: where there is none, nothing is known.
#pragma once

#include <cstdint>
#include <optional>

namespace counterd {

// What tells the file from any other, even one that has since got its number; nothing: not known.
std::optional<std::uint64_t> fingerprint_of(int file);

// Notes that the log belongs to the database. REQUIRES: it does
void note_owner(int wal, int database);

// What is written to the log from now on may be another's. REQUIRES: the log is empty
void forget_owner(int wal);

// Whether the log is known to belong to another database.
bool belongs_to_another(int wal, int database);

}  // namespace counterd
