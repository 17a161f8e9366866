#include "cli/daemon.h"

#include <thread>

namespace counterd {

Result<DaemonInfo> scale_daemon(const Globals& globals, int workers) {
  constexpr std::chrono::milliseconds kPause{10};
  Result<DaemonInfo> info = ask_daemon(globals.server, {"scale", workers}, globals.deadline);
  if (!info) return info;
  while (!info || !info->ready || static_cast<int>(info->workers.size()) != workers) {
    if (std::chrono::steady_clock::now() + kPause >= globals.deadline) {
      return Error{Code::kUnknown, "the daemon shall have " + std::to_string(workers) +
                                       " workers, but has not got there yet; see: counterctl "
                                       "workers"};
    }
    std::this_thread::sleep_for(kPause);
    info = ask_daemon(globals.server, {"workers"}, globals.deadline);
  }
  return info;
}

}  // namespace counterd
