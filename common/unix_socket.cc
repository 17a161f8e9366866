#include "common/unix_socket.h"

#include <cerrno>
#include <thread>

namespace counterd {

sockaddr_un unix_address(std::string_view path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, kMaxSocketPath);
  return address;
}

UnixConnection connect_unix(std::string_view path, Deadline deadline) {
  constexpr std::chrono::milliseconds kPause{1};
  const sockaddr_un address = unix_address(path);
  for (;;) {
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) return {UniqueFd(), errno};
    if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
      return {std::move(socket), 0};
    }
    const int failure = errno;
    if (failure != EAGAIN || std::chrono::steady_clock::now() >= deadline) {
      return {UniqueFd(), failure};
    }
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace counterd
