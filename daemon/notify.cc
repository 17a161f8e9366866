#include "daemon/notify.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <string>

#include "common/environment.h"
#include "common/number.h"
#include "common/unique_fd.h"
#include "common/unix_socket.h"

namespace counterd {

bool notify_systemd(std::string_view state, Urgency urgency) {
  const std::string path = environment("NOTIFY_SOCKET");
  const bool known_form = path.starts_with('/') || path.starts_with('@');
  if (!known_form || path.size() > kMaxSocketPath) return true;
  sockaddr_un address = unix_address(path);
  if (path.starts_with('@')) address.sun_path[0] = '\0';  // the abstract namespace
  const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  constexpr timeval kPatience{.tv_sec = 1, .tv_usec = 0};
  setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  const int flags = MSG_NOSIGNAL | (urgency == Urgency::kGivesUp ? MSG_DONTWAIT : 0);
  return sendto(socket.get(), state.data(), state.size(), flags,
                reinterpret_cast<const sockaddr*>(&address), size) >= 0;
}

std::optional<std::chrono::microseconds> watchdog_time() {
  const std::string pid = environment("WATCHDOG_PID");
  if (!pid.empty() && pid != std::to_string(getpid())) return std::nullopt;
  std::int64_t time = 0;
  if (!read_lenient(environment("WATCHDOG_USEC"), time) || time <= 0) return std::nullopt;
  constexpr std::chrono::microseconds kLeast = std::chrono::milliseconds(2);
  constexpr std::chrono::microseconds kMost = std::chrono::hours(24);
  return std::clamp(std::chrono::microseconds(time), kLeast, kMost);
}

}  // namespace counterd
