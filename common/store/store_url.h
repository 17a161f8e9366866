// Where a store is.
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "common/error.h"

namespace counterd {

// For people.
inline constexpr std::string_view kStoreForms =
    "sqlite:PATH, redis://[user@]host[:port][/db] or redis+unix://[user@]PATH[?db=N]";

struct SqliteLocation {
  std::string path;
};

struct RedisLocation {
  std::string user;         // empty: the server's default user
  std::string host;         // empty: `socket_path` is used
  int port = 6379;          // 1 to 65535
  std::string socket_path;  // absolute
  int database = 0;         // 0 to 65535
};

using StoreLocation = std::variant<SqliteLocation, RedisLocation>;

// kConfig for anything else, and for a URL with a password in it, which is not repeated in the
// message: secrets belong in a file.
Result<StoreLocation> parse_store_url(std::string_view url);

std::string to_url(const SqliteLocation& location);

// The database counters.db in state_directory(), whose errors it returns.
Result<std::string> default_store_url();

}  // namespace counterd
