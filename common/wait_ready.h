// Waits for a descriptor, with a deadline.
#pragma once

#include <chrono>

namespace counterd {

// Until one of `events` of poll(2), POLLIN or POLLOUT, is so of `fd`, or it is at its end; false:
// not by `deadline`. A signal does not cut it short.
bool wait_ready(int fd, short events, std::chrono::steady_clock::time_point deadline);

}  // namespace counterd
