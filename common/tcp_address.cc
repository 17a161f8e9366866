#include "common/tcp_address.h"

#include <netdb.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

namespace counterd {

bool TcpAddress::operator==(const TcpAddress& other) const {
  return size == other.size && std::memcmp(&storage, &other.storage, size) == 0;
}

TcpAddresses look_up(const Endpoint& endpoint) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int failure =
      getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &list);
  if (failure != 0) return {{}, failure};
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, freeaddrinfo);
  TcpAddresses addresses;
  for (const addrinfo* info = list; info != nullptr; info = info->ai_next) {
    TcpAddress address;
    std::memcpy(&address.storage, info->ai_addr, info->ai_addrlen);
    address.size = info->ai_addrlen;
    // /etc/hosts may name one on two lines.
    auto& known = addresses.found;
    if (std::ranges::find(known, address) == known.end()) known.push_back(address);
  }
  return addresses;
}

std::string numeric_host(const TcpAddress& address) {
  std::array<char, NI_MAXHOST> host{};
  getnameinfo(address.get(), address.size, host.data(), host.size(), nullptr, 0, NI_NUMERICHOST);
  return host.data();
}

}  // namespace counterd
