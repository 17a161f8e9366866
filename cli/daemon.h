// What commands do with the daemon on this host, beyond one question on its control socket.
#pragma once

#include "cli/command.h"
#include "common/control.h"

namespace counterd {

// Tells the daemon how many workers there should be and waits until there are that many. kUnknown:
// there are not by the deadline.
Result<DaemonInfo> scale_daemon(const Globals& globals, int workers);

}  // namespace counterd
