#include "common/deadline.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

namespace counterd {

bool wait_ready(int fd, short events, Deadline deadline) {
  using std::chrono::milliseconds;
  constexpr std::int64_t kLongestPoll = 60'000;  // ms; a deadline may be farther off than fits
  for (;;) {
    pollfd polled{.fd = fd, .events = events, .revents = 0};
    const auto left =
        std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    if (left <= 0) return false;
    const int ready =
        poll(&polled, 1, static_cast<int>(std::min<std::int64_t>(left, kLongestPoll)));
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
