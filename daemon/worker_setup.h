// What the supervisor tells every worker: a file in memory that a worker starts with.
#pragma once

#include <chrono>
#include <cstddef>

#include "common/error.h"
#include "common/store/store.h"
#include "common/unique_fd.h"
#include "daemon/api.h"

namespace counterd {

// Without defaults, so that where it is made each of them must be given.
struct WorkerSetup {
  StoreOptions store;
  ApiOptions api;
  std::size_t max_connections;
  std::chrono::milliseconds drain_timeout;
};

// A file in memory that holds `setup`. kIo.
Result<UniqueFd> write_setup(const WorkerSetup& setup);

// What `file` holds. kUsage: nothing of this kind, because this process was not started by the
// supervisor.
Result<WorkerSetup> read_setup(const UniqueFd& file);

}  // namespace counterd
