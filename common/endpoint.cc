#include "common/endpoint.h"

#include <filesystem>

#include "common/limits.h"
#include "common/number.h"
#include "common/path.h"
#include "common/quote.h"

namespace counterd {
namespace {

constexpr std::string_view kUnix = "unix:";

Error bad_endpoint(std::string_view text, std::string_view why) {
  return {Code::kConfig, "address " + quote_without_secrets(text) + ": " + std::string(why) +
                             "; an address is HOST:PORT, [IPv6]:PORT or unix:PATH"};
}

Result<Endpoint> parse_path(std::string_view text) {
  const std::string_view path = text.substr(kUnix.size());
  if (path.empty()) return bad_endpoint(text, "the path is missing");
  if (path.find('\0') != std::string_view::npos)
    return bad_endpoint(text, "it has a NUL character");
  const Result<std::string> absolute = absolute_path(std::string(path));
  if (!absolute) return bad_endpoint(text, absolute.error().message);
  Endpoint endpoint;
  endpoint.path = std::filesystem::path(*absolute).lexically_normal();
  if (endpoint.path.size() > kMaxSocketPath) {
    return bad_endpoint(text,
                        "the path is longer than " + std::to_string(kMaxSocketPath) + " bytes");
  }
  return endpoint;
}

}  // namespace

bool is_host(std::string_view text) {
  constexpr std::string_view kCharacters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:%";
  return !text.empty() && text.find_first_not_of(kCharacters) == std::string_view::npos;
}

Result<Endpoint> parse_endpoint(std::string_view text) {
  if (text.starts_with(kUnix)) return parse_path(text);
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad_endpoint(text, "the port is missing");
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return bad_endpoint(text, "an IPv6 address needs brackets");
  }
  if (host.empty()) return bad_endpoint(text, "the host is missing");
  if (!is_host(host)) return bad_endpoint(text, "that is no host name");
  const Result<std::int64_t> port = parse_int64_within(text.substr(colon + 1), "port", 0, 65'535);
  if (!port) return bad_endpoint(text, "the port is no whole number from 0 to 65535");
  return Endpoint{std::string(host), static_cast<int>(*port)};
}

Result<Endpoint> parse_server(std::string_view text) {
  if (text.starts_with(kUnix)) return parse_path(text);
  std::string_view address = text;
  constexpr std::string_view kScheme = "http://";
  if (address.starts_with(kScheme)) {
    address.remove_prefix(kScheme.size());
    if (address.ends_with('/')) address.remove_suffix(1);
  }
  if (address.find("://") != std::string_view::npos) {
    return bad_endpoint(text, "of URLs, only http:// is known");
  }
  Result<Endpoint> endpoint = parse_endpoint(address);
  if (endpoint && !endpoint->is_unix() && endpoint->port == 0) {
    return bad_endpoint(text, "the port is 1 to 65535");
  }
  return endpoint;
}

std::string to_string(const Endpoint& endpoint) {
  if (endpoint.is_unix()) return std::string(kUnix) + endpoint.path;
  const bool brackets = endpoint.host.find(':') != std::string::npos;
  const std::string port = ":" + std::to_string(endpoint.port);
  return brackets ? "[" + endpoint.host + "]" + port : endpoint.host + port;
}

std::string to_url(const Endpoint& endpoint) {
  return endpoint.is_unix() ? to_string(endpoint) : "http://" + to_string(endpoint);
}

}  // namespace counterd
