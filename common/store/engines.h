// The engines, one for each kind of StoreLocation (store_url.h), and what they have in common. For
// common/store/ alone.
#pragma once

#include <chrono>
#include <memory>
#include <span>

#include "common/store/store.h"
#include "common/store/store_url.h"

namespace counterd {

Result<std::unique_ptr<Store>> open_engine(const SqliteLocation& location,
                                           const StoreOptions& options);
Result<std::unique_ptr<Store>> open_engine(const RedisLocation& location,
                                           const StoreOptions& options);

// For how long a store with these options keeps the key of the operation.
std::chrono::milliseconds key_lifetime_of(const Operation& operation, const StoreOptions& options);

// Applies the reports among `batch` by themselves, for a batch that was refused because of its
// changes.
void apply_reports(Store& store, std::span<Step> batch, Deadline deadline);

}  // namespace counterd
