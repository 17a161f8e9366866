// A database's file, as far as the file system goes: opened only where SQLite can share it safely,
// and looked at again by each batch, because commits into a file that was deleted or replaced
// succeed without a word. So they do where that happens to the files that SQLite keeps beside it.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/error.h"
#include "common/unique_fd.h"

namespace counterd {

struct FileIdentity {
  dev_t device = 0;
  std::uint64_t inode = 0;

  bool operator==(const FileIdentity&) const = default;
};

class SqliteFile {
 public:
  // `path` is without symbolic links.
  SqliteFile(std::string path, const FileIdentity& identity);

  const std::string& path() const { return path_; }
  // The path of the write-ahead log.
  const std::string& log_path() const { return companions_[0].path; }
  // Whether the log holds nothing, so that nothing in it is in doubt.
  bool log_is_empty() const;

  // From now on the files beside the database are to stay what they are.
  // REQUIRES: a connection has opened them
  void remember_companions();
  // kUnavailable, and the message says which file: it is not the same any more, or has got a hard
  // link.
  Result<void> check() const;

 private:
  // A file that SQLite keeps beside a database in use.
  struct Companion {
    std::string path;
    std::optional<FileIdentity> identity = {};
  };

  std::string path_;
  FileIdentity identity_;
  std::array<Companion, 2> companions_;  // the log, and the memory that all who use it share
};

// What to say where a file that SQLite keeps beside the database is not the one in use.
Error part_is_lost(const std::string& path);

struct OpenedFile {
  SqliteFile file;
  UniqueFd descriptor;  // for reading and writing
};

// Opens the file, or makes it if `create`: for its owner alone, or for a group where the folder is.
// kConfig: SQLite could not share it safely, or strangers could hold its lock, and the message says
// what to do; or the file is missing or empty while its log is not. kUnavailable: what may pass by
// itself.
Result<OpenedFile> open_sqlite_file(const std::string& path, bool create);

// The name of the network file system whose statfs(2) type is `type`; empty for a local one.
// SQLite's write-ahead log needs memory shared by all who use the file (sqlite.org/wal.html).
std::string_view network_file_system(long type);

}  // namespace counterd
