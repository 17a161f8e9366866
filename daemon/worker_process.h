// A worker as its supervisor sees it: how it is started, and what it says.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <vector>

#include "common/error.h"
#include "common/unique_fd.h"

namespace counterd {

// The descriptors that a worker starts with: its setup (worker_setup.h); its lifeline, which is a
// socket whose other end the supervisor has, so that each of them notices when the other is gone;
// its listening sockets; and, after these, its program.
inline constexpr int kSetupFd = 3;
inline constexpr int kLifelineFd = 4;
inline constexpr int kFirstSocketFd = 5;

// What a worker says by the lifeline: that it serves and its store answers; that it drains; that it
// cannot start, and why, which is the rest of what it says.
inline constexpr char kReadyWord = 'r';
inline constexpr char kLeavingWord = 'l';
inline constexpr char kFailedWord = 'f';

struct WorkerProcess {
  pid_t pid = 0;
  UniqueFd lifeline;  // does not block
};

// Starts a worker, as `counterd worker SLOT SOCKETS`, from the program image `binary`. `sockets`
// are its listening sockets. kIo.
Result<WorkerProcess> start_worker(const UniqueFd& binary, const UniqueFd& setup, std::size_t slot,
                                   const std::vector<int>& sockets);

// Tells the supervisor why this worker cannot start, by the worker's end of its lifeline. The
// supervisor logs it, and knows whether it has just done so.
void tell_failure(int lifeline, const Error& error);

}  // namespace counterd
