// A folder with room for one SQLite store, which any number of stores may be opened on.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include "common/store/store.h"
#include "tests/steps.h"
#include "tests/temporary_directory.h"

namespace counterd {

class SqlitePlace {
 public:
  static StoreOptions options_at(const std::string& path) {
    StoreOptions options;
    options.url = "sqlite:" + path;
    return options;
  }
  StoreOptions options(Sync sync = Sync::kFull) const {
    StoreOptions options = options_at(path());
    options.sync = sync;
    return options;
  }
  std::unique_ptr<Store> open(Sync sync = Sync::kFull) const {
    return open_or_throw(options(sync));
  }

  static constexpr const char* kEngine = "sqlite";
  std::string location() const { return path(); }  // as StoreStatus names it

  std::string path() const { return directory_ / "counters.db"; }
  std::string wal_path() const { return path() + "-wal"; }
  // 0 also where there is none.
  std::uintmax_t wal_size() const {
    std::error_code missing;
    const std::uintmax_t size = std::filesystem::file_size(wal_path(), missing);
    return missing ? 0 : size;
  }
  const TemporaryDirectory& directory() const { return directory_; }

 private:
  TemporaryDirectory directory_;
};

}  // namespace counterd
