#include "daemon/notify.h"

#include <sys/socket.h>

#include <cstddef>
#include <string>

#include "common/environment.h"
#include "common/unique_fd.h"
#include "common/unix_socket.h"

namespace counterd {

void notify_systemd(std::string_view state) {
  const std::string path = environment("NOTIFY_SOCKET");
  const bool known_form = path.starts_with('/') || path.starts_with('@');
  if (!known_form || path.size() > kMaxSocketPath) return;
  sockaddr_un address = unix_address(path);
  if (path.starts_with('@')) address.sun_path[0] = '\0';  // the abstract namespace
  const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  sendto(socket.get(), state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
         reinterpret_cast<const sockaddr*>(&address), size);
}

}  // namespace counterd
