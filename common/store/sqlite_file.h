// A database's file, as far as the file system goes: opened only where SQLite can share it safely,
// and checked again by each batch, because commits into a file that was deleted or replaced succeed
// silently. So do commits when that happens to the files that SQLite keeps beside it.
//
// All users of the database see each other, and which files are in use (file_signs.h): one that
// comes later would join other files if some were removed or replaced.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/error.h"
#include "common/store/file_signs.h"
#include "common/unique_fd.h"

namespace counterd {

struct FileIdentity {
  dev_t device = 0;
  std::uint64_t inode = 0;

  bool operator==(const FileIdentity&) const = default;
};

class SqliteFile {
 public:
  // `path` is where `given` leads to, and has no symbolic links. `descriptor`, for reading and
  // writing, is kept open: closing any descriptor of a database drops the locks that SQLite has on
  // it in this process. So this object is made before SQLite opens the file, and outlives its
  // connection.
  SqliteFile(std::string given, std::string path, const FileIdentity& identity,
             UniqueFd descriptor);

  const std::string& path() const { return path_; }
  int descriptor() const { return descriptor_.get(); }
  // The path of the write-ahead log.
  const std::string& wal_path() const { return companions_[0].path; }
  // Whether the log holds nothing, so that nothing in it is in doubt.
  bool wal_is_empty() const;

  // Whether others, if any, use the files that are there now. kUnavailable: they use another log or
  // shared memory; kConfig: another database was here, and its log still is (sqlite_owner.h).
  // REQUIRES: this object is not present, and has no connection
  Result<void> check_others() const;

  // kConfig, and what to do: one of the files beside the database is there, and is none that this
  // user may read and write, or one that another user may have put there; kUnavailable: that may be
  // so because it is just being made.
  Result<void> check_access() const;
  // The log, for `access` of open(2); none: errno says why.
  UniqueFd open_wal(int access) const;
  // Whether the log that is in use has fewer bytes than that, as far as it can be known.
  bool is_wal_shorter_than(std::uint64_t bytes) const;

  // kUnavailable, and the message says which file: it is no longer the same, or has gained a hard
  // link, or was emptied; or a symbolic link that led to the database leads to another file.
  Result<void> check() const;

  // From now on the files beside the database must stay the same ones; until leave() or the end of
  // this object, others see that they are in use. kUnavailable: they cannot be looked at.
  // REQUIRES: a connection has opened them
  Result<void> be_present();
  void leave();
  // Notes whose the log is (sqlite_owner.h), after it was begun. REQUIRES: be_present() was called
  void note_log() const;
  bool is_another_present() const;

  // Whether the database is in the system's memory (tmpfs), where no restart of it leaves anything.
  bool is_in_memory() const;
  // Whether nothing has been written to the database yet.
  bool is_blank() const;

  // Whether the database has no name any more.
  bool is_deleted() const;

  // Whether the log may be moved into the database for good: nobody else uses it, who would be kept
  // waiting, the database is neither deleted nor emptied, and nobody has put other files in the
  // places of the log and the shared memory. The database need not be in its place, nor they in
  // theirs: the connection has them open.
  bool may_empty_wal() const;

  // If the database is deleted and nobody else uses it, gives its log another name: else it would
  // be taken for that of the next database in this place, such as a backup, and spoil it. The name;
  // empty: nothing was done.
  std::string set_wal_of_deleted_aside() const;

 private:
  // A file that SQLite keeps beside a database in use.
  struct Companion {
    std::string path;
    Sign sign;  // that it is used with the database
    std::optional<FileIdentity> identity = {};

    bool is_in_place() const;  // the file at `path` is the one in use
  };

  Result<void> check_database(std::uint64_t least_bytes) const;
  Result<void> check_owner(int log) const;

  std::string given_;
  std::string path_;
  FileIdentity identity_;
  UniqueFd descriptor_;
  UniqueFd log_;                         // while this object is present
  std::array<Companion, 2> companions_;  // the log, and the memory that all its users share
};

// Opens the file, or creates it if `create`: for its owner alone, or for a group if the folder is.
// kConfig: SQLite could not share it safely, or strangers could hold its lock, and the message says
// what to do; or the file is missing or empty while its log is not. kUnavailable: a failure that
// may pass by itself.
Result<SqliteFile> open_sqlite_file(const std::string& path, bool create);

// The name of the network file system whose statfs(2) type is `type`; empty for a local one.
// SQLite's write-ahead log needs memory shared by all who use the file (sqlite.org/wal.html).
std::string_view network_file_system(long type);

}  // namespace counterd
