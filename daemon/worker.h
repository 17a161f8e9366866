// A worker: a process that serves requests and holds no state of its own. The supervisor starts it
// (worker_process.h).
//
// SIGTERM, and the end of the lifeline, make it drain: it takes no more connections, finishes what
// it has been asked, then exits with 0. It exits with 78 if only another configuration can help,
// with 69 if its store cannot be opened for now, with 74 if the system lacks what it needs to
// start.
#pragma once

#include "common/error.h"

namespace counterd {

// Runs a worker process from start to end. kUsage: it was not started by start_worker(); kIo: there
// are too few threads or descriptors; errors of open_store().
Result<void> run_worker(int slot, int sockets);

}  // namespace counterd
