#include "cli/command.h"
#include "cli/daemon.h"

namespace counterd {
namespace {

using std::chrono::steady_clock;

// Where `daemon` has not answered: somebody else may have told it to end.
Result<void> may_have_ended(const UniqueFd& daemon, const Error& error) {
  constexpr std::chrono::milliseconds kMoment{100};
  if (error.code != Code::kUnavailable) return error;
  if (wait_for_end(daemon, steady_clock::now() + kMoment) == DaemonEnd::kComplete) return {};
  return Error{Code::kUnknown,
               "the daemon has closed the control socket without an answer: it was killed, or this "
               "command has been paused for too long; run it again"};
}

Result<void> stop(const Globals& globals) {
  const Result<UniqueFd> daemon = connect_to_daemon(globals);
  if (!daemon) return daemon.error();
  // The daemon finishes what is in flight, which its --drain-timeout bounds.
  constexpr std::chrono::seconds kPatience{30};
  const Deadline ended = globals.timeout_given ? globals.deadline : steady_clock::now() + kPatience;
  const Result<DaemonInfo> info = ask_daemon(*daemon, {ControlCommand::kStop}, globals.deadline);
  if (!info) return may_have_ended(*daemon, info.error());
  const std::string who = "the daemon (pid " + std::to_string(info->pid) + ") ";
  switch (wait_for_end(*daemon, ended)) {
    case DaemonEnd::kComplete:
      return {};
    case DaemonEnd::kUnknown:
      return Error{Code::kUnknown, who +
                                       "was killed before its workers had ended: they finish the "
                                       "requests they have, for up to its --drain-timeout"};
    case DaemonEnd::kNotYet:
      break;
  }
  return Error{Code::kUnknown, who + "has been told to end and has not ended yet"};
}

}  // namespace

Run add_stop(CLI::App&) {
  return stop;
}

}  // namespace counterd
