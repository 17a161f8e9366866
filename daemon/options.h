// What an administrator can set: by flag, environment or configuration file, in this order.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "common/endpoint.h"
#include "common/error.h"
#include "common/store/store.h"

namespace counterd {

struct DaemonOptions {
  int workers = 0;               // 1 to kMaxWorkers
  std::vector<Endpoint> listen;  // unless systemd hands over sockets
  StoreOptions store;
  std::vector<std::string> allowed_hosts;  // further names that Host may have
  bool allow_get_writes = false;
  int max_connections = 0;  // of each worker
  std::chrono::milliseconds drain_timeout{0};
  int ready_fd = -1;        // gets "ready URL\n" when the daemon serves; -1: none
  bool check_only = false;  // --check-config
  // All of the above that determines how the daemon serves, whatever set it, as lines of a
  // configuration file: same lines, same daemon. Not the workers, whose number changes.
  std::vector<std::string> settings;
};

// What main() does when there is no daemon to run: the text to print and the exit status.
struct Finished {
  std::string text;
  int exit_status = 0;
};

// Reads the command line and what it refers to. Paths in the result are absolute. An Error has code
// kUsage or kConfig and names the flag, the variable or the file and line at fault.
Result<std::variant<DaemonOptions, Finished>> read_options(int argc, const char* const* argv);

}  // namespace counterd
