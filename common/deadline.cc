#include "common/deadline.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>

namespace counterd {

int milliseconds_until(Time time) {
  constexpr std::chrono::milliseconds kLongest{60'000};
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(time - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp(left, left.zero(), kLongest).count());
}

bool wait_ready(int fd, short events, Deadline deadline) {
  for (;;) {
    pollfd polled{.fd = fd, .events = events, .revents = 0};
    const int left = milliseconds_until(deadline);
    if (left == 0) return false;
    const int ready = poll(&polled, 1, left);
    if (ready > 0) return true;
    // A signal says nothing about the descriptor.
    if (ready < 0 && errno != EINTR) return false;
  }
}

bool is_readable(int fd) {
  pollfd polled{.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&polled, 1, 0) > 0;
}

}  // namespace counterd
