// The counters that a command works on: a server's, over HTTP, or a store's, without a daemon.
#pragma once

#include <memory>
#include <string>

#include "common/endpoint.h"
#include "common/error.h"
#include "common/operation.h"
#include "common/store/store.h"

namespace counterd {

struct CountersStatus {
  std::string place;    // where the answer came from
  std::string version;  // of what answered
  Result<StoreStatus> store;
};

class Counters {
 public:
  virtual ~Counters() = default;

  // Applies the step's operation by `deadline`, and fills in its outcome; never fails but in that.
  // On a store the operation then names the time zones that were meant (resolve_timezones()).
  virtual void apply(Step& step, Deadline deadline) = 0;
  // Errors: as Store::probe(), or what a daemon answers.
  virtual Result<ListPage> list(const ListQuery& query, Deadline deadline) = 0;
  // Errors: as list(). If a daemon answers whose store does not, only the `store` of the result is
  // an Error.
  virtual Result<CountersStatus> status(Deadline deadline) = 0;
};

// The counters of a running daemon. Never fails: what is wrong shows up in the first call.
std::unique_ptr<Counters> counters_of_server(const Endpoint& server);

// The counters of a store, used by this process itself, with the same engine code and locks as a
// daemon. Errors: as open_store() of store.h.
Result<std::unique_ptr<Counters>> counters_of_store(const StoreOptions& options);

}  // namespace counterd
