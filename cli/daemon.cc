#include "cli/daemon.h"

#include <algorithm>
#include <thread>

#include "cli/server_option.h"

namespace counterd {

namespace {

// Those that are draining still count; those whose place another one has taken do not.
int count_workers(const DaemonInfo& info) {
  return static_cast<int>(std::ranges::count_if(
      info.workers, [](WorkerState state) { return state != WorkerState::kLeaving; },
      &WorkerInfo::state));
}

}  // namespace

bool is_served(const Endpoint& endpoint, Deadline deadline) {
  constexpr std::chrono::milliseconds kPatience{1'000};
  return counters_of_server(endpoint)
      ->status(std::min(deadline, std::chrono::steady_clock::now() + kPatience))
      .ok();
}

Result<UniqueFd> connect_to_daemon(const Globals& globals) {
  Result<UniqueFd> daemon = find_daemon(globals.server, globals.deadline);
  const bool is_missing = !daemon && daemon.error().code == Code::kUnavailable;
  if (!is_missing || !is_served(globals.server, globals.deadline)) return daemon;
  return Error{Code::kForbidden,
               "a counterd answers at " + to_url(globals.server) +
                   ", but its control socket is not where this user's would be: ask on its host, "
                   "as its user or as root, with its XDG_RUNTIME_DIR or RUNTIME_DIRECTORY"};
}

Result<DaemonInfo> ask(const Globals& globals, const ControlRequest& request) {
  const Result<UniqueFd> daemon = connect_to_daemon(globals);
  if (!daemon) return daemon.error();
  return ask_daemon(*daemon, request, globals.deadline);
}

Result<DaemonInfo> wait_until(const Globals& globals, DaemonInfo info,
                              const std::function<bool(const DaemonInfo&)>& done,
                              const std::string& what) {
  constexpr std::chrono::milliseconds kPause{10};
  constexpr int kMostFailures = 2;  // one answer can be lost; a live daemon gives the next
  int failures = 0;
  while (failures > 0 || !done(info)) {
    if (std::chrono::steady_clock::now() + kPause >= globals.deadline) {
      return Error{Code::kUnknown, "the daemon (pid " + std::to_string(info.pid) + ") " + what +
                                       " yet; see its log and: counterctl workers" +
                                       server_option(globals.server)};
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

std::string count_of_workers(int workers) {
  return std::to_string(workers) + (workers == 1 ? " worker" : " workers");
}

Result<DaemonInfo> scale_daemon(const Globals& globals, int workers) {
  Result<DaemonInfo> info = ask(globals, {ControlCommand::kScale, workers});
  if (!info) return info;
  const auto is_done = [workers](const DaemonInfo& now) {
    return now.wanted != workers || (now.ready && count_workers(now) == workers);
  };
  info = wait_until(globals, std::move(*info), is_done,
                    "does not have " + count_of_workers(workers) + " ready");
  if (!info || info->wanted == workers) return info;
  return Error{Code::kUnavailable,
               "the daemon (pid " + std::to_string(info->pid) + ") is to have " +
                   count_of_workers(info->wanted) +
                   " by now: another command has set that, or there is no room for more, as its "
                   "log says"};
}

}  // namespace counterd
