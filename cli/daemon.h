// What commands do with the daemon of this host, beyond one question on its control socket.
#pragma once

#include "cli/command.h"
#include "common/control.h"

namespace counterd {

// Tells the daemon how many workers there shall be and waits until they are there. kUnknown: they
// are not there by the deadline.
Result<DaemonInfo> scale_daemon(const Globals& globals, int workers);

}  // namespace counterd
