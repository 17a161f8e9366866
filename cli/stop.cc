#include "cli/command.h"
#include "cli/daemon.h"

namespace counterd {

Run add_stop(CLI::App&) {
  return [](const Globals& globals) -> Result<void> {
    // The daemon finishes what is in flight, which its --drain-timeout bounds.
    constexpr std::chrono::seconds kPatience{30};
    const Result<UniqueFd> daemon = connect_to_daemon(globals);
    if (!daemon) return daemon.error();
    return stop_daemon(
        *daemon, globals.deadline,
        globals.timeout_given ? globals.deadline : std::chrono::steady_clock::now() + kPatience);
  };
}

}  // namespace counterd
