// A worker: a process that serves requests and holds no state of its own. The supervisor starts it
// (worker_process.h).
//
// SIGTERM, and the end of the lifeline, make it drain: it takes no more connections, finishes what
// it has been asked, then exits with 0. It exits with 78 if only another configuration can help,
// with 69 if its store cannot be opened for now, with 74 if the system lacks what it needs to
// start. The supervisor logs why it cannot: the next worker may say the same.
#pragma once

namespace counterd {

// Runs a worker process from start to end; returns its exit status.
int run_worker(int slot, int sockets);

}  // namespace counterd
