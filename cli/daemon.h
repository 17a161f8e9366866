// What commands do with the daemon on this host.
#pragma once

#include <functional>
#include <string>

#include "cli/command.h"
#include "common/control_socket.h"

namespace counterd {

// Whether a daemon answers over HTTP. Another program that listens there may not answer at all, so
// waits for at most a second.
bool is_served(const Endpoint& endpoint, Deadline deadline);

// find_daemon() of control_socket.h. kForbidden also for a daemon that answers over HTTP, but has
// no control socket where this user looks for one.
Result<UniqueFd> connect_to_daemon(const Globals& globals);

// Connects, and asks one question: ask_daemon() of control_socket.h.
Result<DaemonInfo> ask(const Globals& globals, const ControlRequest& request);

// Asks the daemon that has said `info` until `done`. kUnknown: not by the deadline; the message is
// "the daemon (pid N) `what` yet". kUnavailable: it has ended.
Result<DaemonInfo> wait_until(const Globals& globals, DaemonInfo info,
                              const std::function<bool(const DaemonInfo&)>& done,
                              const std::string& what);

// "1 worker", "2 workers"
std::string count_of_workers(int workers);

// Tells the daemon how many workers there should be, and waits until so many serve.
Result<DaemonInfo> scale_daemon(const Globals& globals, int workers);

}  // namespace counterd
