#include "cli/daemon.h"

#include <algorithm>
#include <thread>

namespace counterd {

namespace {

// Draining workers still count; those that others have already replaced do not.
int count_workers(const DaemonInfo& info) {
  return static_cast<int>(
      std::count_if(info.workers.begin(), info.workers.end(),
                    [](const WorkerInfo& worker) { return worker.state != kLeavingState; }));
}

}  // namespace

Result<DaemonInfo> scale_daemon(const Globals& globals, int workers) {
  constexpr std::chrono::milliseconds kPause{10};
  constexpr int kMostFailures = 2;  // one answer can be lost; a live daemon gives the next
  int failures = 0;
  Result<DaemonInfo> info = ask_daemon(globals.server, {"scale", workers}, globals.deadline);
  if (!info) return info;
  while (!info || !info->ready || count_workers(*info) != workers) {
    if (std::chrono::steady_clock::now() + kPause >= globals.deadline) {
      return Error{Code::kUnknown, "the daemon shall have " + std::to_string(workers) +
                                       " workers, but has not got there yet; see its log and: "
                                       "counterctl workers"};
    }
    std::this_thread::sleep_for(kPause);
    info = ask_daemon(globals.server, {"workers"}, globals.deadline);
    failures = info ? 0 : failures + 1;
    if (failures == kMostFailures) {
      return Error{Code::kUnavailable, "the daemon has ended, and its log says why"};
    }
  }
  return info;
}

}  // namespace counterd
