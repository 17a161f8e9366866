#include "common/store/store_url.h"

#include "common/endpoint.h"
#include "common/limits.h"
#include "common/number.h"
#include "common/quote.h"
#include "common/state_directory.h"

namespace counterd {
namespace {

constexpr std::string_view kSqlite = "sqlite:";

Error bad_url(std::string_view url, std::string_view why) {
  return {Code::kConfig, "store " + quote_without_secrets(url) + ": " + std::string(why) +
                             "; a store is " + std::string(kStoreForms)};
}

Result<int> parse_port_or_database(std::string_view text, std::string_view what, int least) {
  const Result<std::int64_t> number = parse_int64_within(text, what, least, 65'535);
  if (!number) {  // not shown: it may be the rest of a password
    return Error{Code::kConfig, "store: the " + std::string(what) +
                                    " must be a whole number from " + std::to_string(least) +
                                    " to 65535"};
  }
  return static_cast<int>(*number);
}

// Takes "user@" off the front of `rest`, in which it ends at `at`.
Result<std::string> take_user(std::string_view& rest, std::size_t at) {
  if (at == std::string_view::npos) return std::string();
  const std::string_view user = rest.substr(0, at);
  if (user.find(':') != std::string_view::npos) {
    return Error{Code::kConfig,
                 "store: a URL may not hold a password, which others could see; put it in a file "
                 "and name that with --redis-password-file"};
  }
  if (user.find_first_of("/?#") != std::string_view::npos) {  // a host's, and a password after it?
    return Error{Code::kConfig, "store: there is a '/', '?' or '#' in front of the '@' of a URL"};
  }
  rest.remove_prefix(at + 1);
  return std::string(user);
}

// "host", "host:port", "[v6]:port" into `location`.
Result<void> read_host_and_port(std::string_view url, std::string_view authority,
                                RedisLocation& location) {
  std::string_view port;
  if (authority.starts_with('[')) {
    const std::size_t end = authority.find(']');
    if (end == std::string_view::npos) return bad_url(url, "']' is missing");
    location.host = authority.substr(1, end - 1);
    port = authority.substr(end + 1);
  } else {
    const std::size_t colon = authority.find(':');
    location.host = authority.substr(0, colon);
    if (colon != std::string_view::npos) port = authority.substr(colon);
  }
  if (location.host.empty()) return bad_url(url, "the host is missing");
  if (!is_host(location.host)) return bad_url(url, "the host is neither a name nor an address");
  if (port.empty()) return {};
  if (!port.starts_with(':')) return bad_url(url, "the port begins with ':'");
  const Result<int> number = parse_port_or_database(port.substr(1), "port", 1);
  if (!number) return number.error();
  location.port = *number;
  return {};
}

Result<StoreLocation> parse_redis(std::string_view url, std::string_view rest) {
  RedisLocation location;
  const std::size_t slash =
      rest.find('/', rest.rfind('@') == std::string_view::npos ? 0 : rest.rfind('@'));
  std::string_view authority = rest.substr(0, slash);
  Result<std::string> user = take_user(authority, authority.rfind('@'));
  if (!user) return user.error();
  location.user = *user;
  if (const Result<void> read = read_host_and_port(url, authority, location); !read) {
    return read.error();
  }
  if (slash != std::string_view::npos && slash + 1 < rest.size()) {
    const Result<int> database = parse_port_or_database(rest.substr(slash + 1), "database", 0);
    if (!database) return database.error();
    location.database = *database;
  }
  return StoreLocation(location);
}

Result<StoreLocation> parse_redis_unix(std::string_view url, std::string_view rest) {
  RedisLocation location;
  if (!rest.starts_with('/')) {
    Result<std::string> user = take_user(rest, rest.find("@/"));
    if (!user) return user.error();
    location.user = *user;
  }
  const std::size_t query = rest.find('?');
  location.socket_path = rest.substr(0, query);
  if (!location.socket_path.starts_with('/')) return bad_url(url, "the path is not absolute");
  if (location.socket_path.size() > kMaxSocketPath) {
    return bad_url(url, "the path is longer than " + std::to_string(kMaxSocketPath) + " bytes");
  }
  if (query == std::string_view::npos) return StoreLocation(location);
  const std::string_view parameter = rest.substr(query + 1);
  if (!parameter.starts_with("db=")) return bad_url(url, "the only parameter is 'db'");
  const Result<int> database = parse_port_or_database(parameter.substr(3), "database", 0);
  if (!database) return database.error();
  location.database = *database;
  return StoreLocation(location);
}

}  // namespace

Result<StoreLocation> parse_store_url(std::string_view url) {
  const auto rest_after = [&](std::string_view scheme) { return url.substr(scheme.size()); };
  if (url.find('\0') != std::string_view::npos) return bad_url(url, "it has a NUL character");
  if (url.starts_with(kSqlite)) {
    const std::string_view path = rest_after(kSqlite);
    if (path.empty()) return bad_url(url, "the path is missing");
    return StoreLocation(SqliteLocation{std::string(path)});
  }
  if (url.starts_with("redis://")) return parse_redis(url, rest_after("redis://"));
  if (url.starts_with("redis+unix://")) return parse_redis_unix(url, rest_after("redis+unix://"));
  if (url.starts_with("rediss://")) {
    return bad_url(url, "there is no TLS to Redis; lead to it through a tunnel on this host");
  }
  return bad_url(url, "unknown scheme");
}

std::string to_url(const SqliteLocation& location) {
  return std::string(kSqlite) + location.path;
}

Result<std::string> default_store_url() {
  const Result<std::string> directory = state_directory();
  if (!directory) return directory.error();
  return to_url(SqliteLocation{*directory + "/counters.db"});
}

}  // namespace counterd
