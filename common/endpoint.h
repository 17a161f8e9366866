// Where a daemon listens and a client connects: HOST:PORT or unix:PATH.
#pragma once

#include <string>
#include <string_view>

#include "common/error.h"

namespace counterd {

struct Endpoint {
  std::string host;       // name or address without brackets; empty: `path` is used
  int port = 0;           // 0 to 65535; 0, only for listening: any free one
  std::string path = {};  // of a Unix socket, absolute

  bool is_unix() const { return !path.empty(); }
};

inline constexpr std::string_view kDefaultEndpoint = "127.0.0.1:4747";

// Whether `text` consists of what names and addresses are made of, an IPv6 zone included, so that
// it can be shown: anything else, such as '?', may be followed by what was never meant as a host.
bool is_host(std::string_view text);

// "127.0.0.1:4747", "[::1]:4747", "localhost:0", "unix:/run/x". kConfig for anything else; a
// relative path is made absolute, one too long for a socket address (107 bytes) is refused.
Result<Endpoint> parse_endpoint(std::string_view text);

// Where a client connects: the same, also as "http://HOST:PORT" with an optional slash after it.
// kConfig, also for port 0.
Result<Endpoint> parse_server(std::string_view text);

// HOST:PORT or unix:PATH, as parse_endpoint() reads it.
std::string to_string(const Endpoint& endpoint);

// The form that clients take: http://HOST:PORT or unix:PATH.
std::string to_url(const Endpoint& endpoint);

}  // namespace counterd
