#include "cli/command.h"
#include "cli/daemon.h"

namespace counterd {
namespace {

using std::chrono::steady_clock;

Result<void> stop(const Globals& globals) {
  const Result<UniqueFd> daemon = connect_to_daemon(globals);
  if (!daemon) return daemon.error();
  // The daemon finishes what is in flight, which its --drain-timeout bounds.
  constexpr std::chrono::seconds kPatience{30};
  const Deadline ended = globals.timeout_given ? globals.deadline : steady_clock::now() + kPatience;
  const Result<DaemonInfo> info = ask_daemon(*daemon, {ControlCommand::kStop}, globals.deadline);
  if (!info) {
    constexpr std::chrono::milliseconds kMoment{100};
    const bool has_ended = info.error().code == Code::kUnavailable &&
                           wait_for_end(*daemon, steady_clock::now() + kMoment);
    return has_ended ? Result<void>() : info.error();  // somebody else has told it to
  }
  if (wait_for_end(*daemon, ended)) return {};
  return Error{Code::kUnknown, "the daemon (pid " + std::to_string(info->pid) +
                                   ") has been told to end and has not ended yet"};
}

}  // namespace

Run add_stop(CLI::App&) {
  return stop;
}

}  // namespace counterd
