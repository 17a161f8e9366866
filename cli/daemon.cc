#include "cli/daemon.h"

#include <algorithm>
#include <thread>

namespace counterd {

namespace {

// Draining workers still count; those that others have already replaced do not.
int count_workers(const DaemonInfo& info) {
  return static_cast<int>(std::count_if(
      info.workers.begin(), info.workers.end(),
      [](const WorkerInfo& worker) { return worker.state != WorkerState::kLeaving; }));
}

}  // namespace

bool is_served(const Endpoint& endpoint, Deadline deadline) {
  constexpr std::chrono::milliseconds kPatience{1'000};
  return counters_of_server(endpoint)
      ->status(std::min(deadline, std::chrono::steady_clock::now() + kPatience))
      .ok();
}

Result<DaemonInfo> ask(const Globals& globals, const ControlRequest& request,
                       UniqueFd* connection) {
  Result<DaemonInfo> info = ask_daemon(globals.server, request, globals.deadline, connection);
  const bool found = info || info.error().code != Code::kUnavailable;
  if (found || !is_served(globals.server, globals.deadline)) return info;
  return Error{Code::kForbidden,
               "a counterd answers at " + to_url(globals.server) +
                   ", but its control socket is not where this user's would be: ask on its host, "
                   "as its user or as root, with its XDG_RUNTIME_DIR or RUNTIME_DIRECTORY"};
}

Result<DaemonInfo> wait_for_workers(const Globals& globals, DaemonInfo info, int workers) {
  constexpr std::chrono::milliseconds kPause{10};
  constexpr int kMostFailures = 2;  // one answer can be lost; a live daemon gives the next
  int failures = 0;
  while (failures > 0 || !info.ready || count_workers(info) != workers) {
    if (std::chrono::steady_clock::now() + kPause >= globals.deadline) {
      return Error{Code::kUnknown, "the daemon shall have " + std::to_string(workers) +
                                       " workers that serve, but has not got there yet; see its "
                                       "log and: counterctl workers"};
    }
    std::this_thread::sleep_for(kPause);
    Result<DaemonInfo> now =
        ask_daemon(globals.server, {ControlCommand::kWorkers}, globals.deadline);
    failures = now ? 0 : failures + 1;
    if (failures == kMostFailures) {
      return Error{Code::kUnavailable, "the daemon has ended, and its log says why"};
    }
    if (now) info = std::move(*now);
  }
  return info;
}

Result<DaemonInfo> scale_daemon(const Globals& globals, int workers) {
  Result<DaemonInfo> info = ask(globals, {ControlCommand::kScale, workers});
  if (!info) return info;
  return wait_for_workers(globals, std::move(*info), workers);
}

}  // namespace counterd
