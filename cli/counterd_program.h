// The program counterd, as counterctl runs it: to ask for its settings, and as a daemon.
//
// REQUIRES of all who run it: SIGCHLD is not ignored, which would lose how it ended.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "common/deadline.h"
#include "common/endpoint.h"
#include "common/error.h"

namespace counterd {

// What counterd makes of its flags, environment and files, as lines of a configuration file: only
// counterd knows. Without the number of workers, which changes. kConfig, kUsage: it refuses them,
// and the message has what it says; kUnavailable: it ended otherwise, or not by the deadline; kIo:
// no process could be started, or the system failed it.
Result<std::vector<std::string>> settings_of(std::vector<std::string> flags, Deadline deadline);

// The first address of a daemon with these settings. kUsage: there is none.
Result<Endpoint> endpoint_of(const std::vector<std::string>& settings);

struct Started {
  pid_t pid = 0;
  std::string url;
};

// Starts a daemon, in a session of its own, that has nothing of this process open and appends to
// the log; waits until it is ready. `workers`: 0 for as many as counterd would start. kUnknown: it
// was started, and is not ready by the deadline; otherwise, why it ended or was not started.
Result<Started> start_daemon(const std::vector<std::string>& flags, int workers,
                             const std::string& log_path, Deadline deadline);

}  // namespace counterd
