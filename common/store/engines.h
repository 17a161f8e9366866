// The engines, for open_store() alone. A new one also needs its kind of URL (store_url.h).
#pragma once

#include <memory>

#include "common/store/store.h"
#include "common/store/store_url.h"

namespace counterd {

Result<std::unique_ptr<Store>> open_sqlite_store(const SqliteLocation& location,
                                                 const StoreOptions& options);
Result<std::unique_ptr<Store>> open_redis_store(const RedisLocation& location,
                                                const StoreOptions& options);

}  // namespace counterd
