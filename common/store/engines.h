// The engines, for open_store() alone: a new engine is one .cc and one line here.
#pragma once

#include <memory>

#include "common/store/store.h"
#include "common/store/store_url.h"

namespace counterd {

Result<std::unique_ptr<Store>> open_sqlite_store(const SqliteLocation& location,
                                                 const StoreOptions& options);
Result<std::unique_ptr<Store>> open_redis_store(const RedisLocation& location,
                                                const StoreOptions& options);

// The name of the network file system whose statfs(2) type is `type`; empty for a local one.
// SQLite's write-ahead log needs memory shared by all who use the file (sqlite.org/wal.html).
std::string_view network_file_system(long type);

}  // namespace counterd
