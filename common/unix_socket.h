// The addresses of Unix sockets, as the system calls take them.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <string_view>

namespace counterd {

// The longest path of a socket, in bytes: 107 (unix(7)).
inline constexpr std::size_t kMaxSocketPath = sizeof(sockaddr_un::sun_path) - 1;

// REQUIRES: `path` has at most kMaxSocketPath bytes
inline sockaddr_un unix_address(std::string_view path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, kMaxSocketPath);
  return address;
}

}  // namespace counterd
