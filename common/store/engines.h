// The engines, for open_store() alone: one for each kind of StoreLocation (store_url.h).
#pragma once

#include <memory>

#include "common/store/store.h"
#include "common/store/store_url.h"

namespace counterd {

Result<std::unique_ptr<Store>> open_engine(const SqliteLocation& location,
                                           const StoreOptions& options);
Result<std::unique_ptr<Store>> open_engine(const RedisLocation& location,
                                           const StoreOptions& options);

}  // namespace counterd
