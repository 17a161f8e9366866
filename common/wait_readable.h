// Waits for a descriptor, with a deadline.
#pragma once

#include <chrono>

namespace counterd {

// Until `fd` is readable or at its end; false: not by `deadline`. A signal does not cut it short.
bool wait_readable(int fd, std::chrono::steady_clock::time_point deadline);

}  // namespace counterd
