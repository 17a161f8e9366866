#include "cli/command.h"
#include "cli/daemon.h"

namespace counterd {

Run add_stop(CLI::App&) {
  return [](const Globals& globals) -> Result<void> {
    // The daemon finishes what is in flight, which its --drain-timeout bounds.
    constexpr std::chrono::seconds kPatience{30};
    const Result<UniqueFd> daemon = connect_to_daemon(globals);
    if (!daemon) return daemon.error();
    const Result<DaemonInfo> info = ask_daemon(*daemon, {ControlCommand::kStop}, globals.deadline);
    if (!info) return info.error();
    const Deadline end =
        globals.timeout_given ? globals.deadline : std::chrono::steady_clock::now() + kPatience;
    if (wait_for_end(*daemon, end)) return {};
    return Error{Code::kUnknown, "the daemon (pid " + std::to_string(info->pid) +
                                     ") has been told to end and has not ended yet"};
  };
}

}  // namespace counterd
