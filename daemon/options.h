// What an administrator can set: by flag, environment or configuration file, in this order.
#pragma once

#include <chrono>
#include <string>
#include <variant>
#include <vector>

#include "common/endpoint.h"
#include "common/error.h"
#include "common/limits.h"
#include "common/store/store.h"

namespace counterd {

struct DaemonOptions {
  int workers = 0;               // 1 to kMaxWorkers
  std::vector<Endpoint> listen;  // unless systemd hands over sockets
  StoreOptions store;
  std::vector<std::string> allowed_hosts;  // further names that Host may have
  bool allow_get_writes = false;
  int max_connections = kDefaultMaxConnections;  // of each worker
  std::chrono::milliseconds drain_timeout = kDefaultDrainTimeout;
  int ready_fd = -1;  // gets "ready URL\n" when the daemon serves; -1: none
};

// What determines how a daemon serves, whatever it was set by, as lines of a configuration file:
// two daemons with the same lines serve in the same way. The number of workers is not among them,
// because it changes.
std::vector<std::string> settings_of(const DaemonOptions& options);

// Reads the command line and what it refers to: the options of a daemon that is to run, with
// absolute paths, or the text that was asked for instead, by --help, --version or --check-config.
// kUsage, kConfig, and the message names the flag, the variable or the file at fault; kIo: the
// system lacks what making the state directory takes.
Result<std::variant<DaemonOptions, std::string>> read_options(int argc, const char* const* argv);

}  // namespace counterd
