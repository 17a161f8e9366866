// Addresses of TCP, as the system calls take them, and looking up those of a name.
#pragma once

#include <sys/socket.h>

#include <string>
#include <vector>

#include "common/endpoint.h"

namespace counterd {

// With a port, and the scope of an IPv6 address.
struct TcpAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sa_family_t family() const { return storage.ss_family; }
  bool operator==(const TcpAddress& other) const;
};

// The addresses of a host in the order in which they are to be tried, each once, or why there are
// none (an error of getaddrinfo(3)).
struct TcpAddresses {
  std::vector<TcpAddress> found;
  int failure = 0;
};

// Those of the endpoint's host, with its port. Takes as long as the system's resolver does.
// REQUIRES: it is no Unix socket
TcpAddresses look_up(const Endpoint& endpoint);

// "192.0.2.1", "fe80::1%eth0"
std::string numeric_host(const TcpAddress& address);

}  // namespace counterd
