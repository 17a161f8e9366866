// What commands do with the daemon on this host.
#pragma once

#include "cli/command.h"
#include "common/control.h"

namespace counterd {

// Whether a daemon answers over HTTP. Another program that listens there may not answer at all, so
// waits for at most a second.
bool is_served(const Endpoint& endpoint, Deadline deadline);

// ask_daemon() of control.h. kForbidden also for a daemon that answers over HTTP, but has no
// control socket where this user looks for one.
Result<DaemonInfo> ask(const Globals& globals, const ControlRequest& request,
                       UniqueFd* connection = nullptr);

// Waits until the daemon has `workers` workers and all of them serve. kUnknown: not by the
// deadline; kUnavailable: it has ended.
Result<DaemonInfo> wait_for_workers(const Globals& globals, DaemonInfo info, int workers);

// Tells the daemon how many workers there should be, and waits for them.
Result<DaemonInfo> scale_daemon(const Globals& globals, int workers);

}  // namespace counterd
