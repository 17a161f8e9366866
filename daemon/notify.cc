#include "daemon/notify.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>

#include "common/environment.h"
#include "common/error.h"
#include "common/limits.h"
#include "common/number.h"
#include "common/unique_fd.h"
#include "common/unix_socket.h"

namespace counterd {
namespace {

using std::chrono::steady_clock;

// How soon a state that systemd has no room for is sent again.
constexpr std::chrono::milliseconds kRetryPause{100};

// False: there is no room for it now.
bool notify(std::string_view state) {
  const std::string path = environment("NOTIFY_SOCKET");
  const bool known_form = path.starts_with('/') || path.starts_with('@');
  if (!known_form || path.size() > kMaxSocketPath) return true;
  sockaddr_un address = unix_address(path);
  if (path.starts_with('@')) address.sun_path[0] = '\0';  // the abstract namespace
  const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  if (!socket) return !is_shortage(errno);
  const ssize_t sent = sendto(socket.get(), state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                              reinterpret_cast<const sockaddr*>(&address), size);
  return sent >= 0 || (errno != EAGAIN && !is_shortage(errno));
}

// The watchdog's time; nothing: systemd does not ask for it.
std::optional<std::chrono::microseconds> watchdog_time() {
  const std::string pid = environment("WATCHDOG_PID");
  if (!pid.empty() && pid != std::to_string(getpid())) return std::nullopt;
  std::int64_t time = 0;
  if (!read_lenient(environment("WATCHDOG_USEC"), time) || time <= 0) return std::nullopt;
  constexpr std::chrono::microseconds kLeast = std::chrono::milliseconds(2);
  constexpr std::chrono::microseconds kMost = std::chrono::hours(24);
  return std::clamp(std::chrono::microseconds(time), kLeast, kMost);
}

}  // namespace

SystemdNotifier::SystemdNotifier()
    : next_watchdog_(watchdog_time() ? steady_clock::now() : Time::max()) {}

void SystemdNotifier::tell(std::string state) {
  if (state == state_) return;
  state_ = std::move(state);
  next_state_ = steady_clock::now();
  send_due();
}

void SystemdNotifier::send_due() {
  const Time now = steady_clock::now();
  if (now >= next_state_) next_state_ = notify(state_) ? Time::max() : now + kRetryPause;
  if (now < next_watchdog_) return;
  const auto half = *watchdog_time() / 2;
  next_watchdog_ = now + (notify("WATCHDOG=1") ? half : half / 8);
}

Time SystemdNotifier::next_deadline() const {
  return std::min(next_state_, next_watchdog_);
}

}  // namespace counterd
