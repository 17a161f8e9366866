// A worker: a process that serves requests and holds no state of its own.
//
// It is started by the supervisor as `counterd worker SLOT SOCKETS`, with these descriptors: its
// setup (a file in memory), its lifeline (a socket to the supervisor: the worker sends kReadyWord
// when it serves and its store answers, kLeavingWord when it drains; its end means that the
// supervisor is gone), its listening sockets. SIGTERM, and the end of the lifeline, make it drain:
// it takes no more connections, finishes what it has been asked, then exits with 0. It exits with
// 78 if only another configuration can help, with 69 if its store cannot be opened for now.
#pragma once

#include <sys/types.h>

#include <vector>

#include "common/error.h"
#include "common/store/store.h"
#include "common/unique_fd.h"
#include "daemon/api.h"

namespace counterd {

struct WorkerSetup {
  StoreOptions store;
  ApiOptions api;
  std::size_t max_connections = 0;
  std::chrono::milliseconds drain_timeout{0};
};

// A file in memory that holds `setup`. kIo.
Result<UniqueFd> write_setup(const WorkerSetup& setup);

struct WorkerProcess {
  pid_t pid = 0;
  UniqueFd lifeline;  // carries its words, without blocking; its end: the worker has ended
};

// Starts a worker from the program image `binary`. `sockets` are its listening sockets. kIo.
Result<WorkerProcess> start_worker(const UniqueFd& binary, const UniqueFd& setup, std::size_t slot,
                                   const std::vector<int>& sockets);

// What a worker tells its supervisor.
inline constexpr char kReadyWord = 'r';
inline constexpr char kLeavingWord = 'l';

// Runs a worker process from start to end. kUsage: it was not started by start_worker(); errors of
// open_store().
Result<void> run_worker(int slot, int sockets);

}  // namespace counterd
