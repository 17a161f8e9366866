// The parser of store URLs: what it accepts can be written again, and no password gets through it
// or into its messages.
#include "common/store/store_url.h"

#include "tests/fuzz/fuzz.h"

using namespace counterd;

namespace {

constexpr std::string_view kSecret = "hunter2";

std::string written(const SqliteLocation& location) {
  return "sqlite:" + location.path;
}

std::string written(const RedisLocation& location) {
  const std::string user = location.user.empty() ? "" : location.user + "@";
  const std::string database = std::to_string(location.database);
  if (location.host.empty()) {
    return "redis+unix://" + user + location.socket_path + "?db=" + database;
  }
  const bool v6 = location.host.find(':') != std::string::npos;
  const std::string host = v6 ? "[" + location.host + "]" : location.host;
  return "redis://" + user + host + ":" + std::to_string(location.port) + "/" + database;
}

bool same(const SqliteLocation& a, const SqliteLocation& b) {
  return a.path == b.path;
}

bool same(const RedisLocation& a, const RedisLocation& b) {
  return a.user == b.user && a.host == b.host && a.port == b.port &&
         a.socket_path == b.socket_path && a.database == b.database;
}

void expect_good(const SqliteLocation& location) {
  EXPECT(!location.path.empty());
}

void expect_good(const RedisLocation& location) {
  EXPECT(location.host.empty() != location.socket_path.empty());
  EXPECT(location.host.find_first_of("/?#@ ") == std::string::npos);
  for (const char c : location.host) EXPECT(c > ' ' && c < 0x7f);
  EXPECT(location.socket_path.empty() || location.socket_path.front() == '/');
  EXPECT(location.user.find_first_of(":/?#") == std::string::npos);
  EXPECT(location.port >= 1 && location.port <= 65'535);
  EXPECT(location.database >= 0 && location.database <= 65'535);
}

void try_url(std::string_view url) {
  const Result<StoreLocation> location = parse_store_url(url);
  if (!location) {
    EXPECT(location.error().code == Code::kConfig);
    expect_message(location.error());
    return;
  }
  EXPECT(url.find('\0') == std::string_view::npos);
  std::visit(
      [](const auto& read) {
        expect_good(read);
        const Result<StoreLocation> again = parse_store_url(written(read));
        EXPECT(again);
        EXPECT(same(read, std::get<std::remove_cvref_t<decltype(read)>>(*again)));
      },
      *location);
}

// `url` has a password in a place for one.
void try_secret(const std::string& url) {
  const Result<StoreLocation> location = parse_store_url(url);
  EXPECT(!location);
  EXPECT(location.error().message.find(kSecret) == std::string::npos);
}

// The lines of `text` are what stands around a password.
void try_with_secret(std::string_view text) {
  const std::size_t line = text.find('\n');
  if (line == std::string_view::npos) return;
  const std::string before(text.substr(0, line));
  const std::string after(text.substr(line + 1));
  const std::string secret(kSecret);
  try_secret("redis://" + before + ":" + secret + "@" + after);
  try_secret("redis://" + before + "?password=" + secret + after);
  // Behind a slash a path has begun, where ':' and '@' are like any other character.
  if (before.find('/') == std::string::npos) {
    try_secret("redis+unix://" + before + ":" + secret + "@/" + after);
  }
  try_secret("redis+unix:///" + before + "?password=" + secret + after);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text(data, size);
  try_url(text);
  if (text.find(kSecret) == std::string_view::npos) try_with_secret(text);
  return 0;
}
