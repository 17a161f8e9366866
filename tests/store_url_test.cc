#include "common/store/store_url.h"

#include <cstdlib>
#include <string>

#include "common/endpoint.h"
#include "common/quote.h"
#include "tests/catch.h"
#include "tests/temporary_directory.h"

namespace counterd {
namespace {

using namespace std::string_view_literals;

RedisLocation redis_at(std::string_view url) {
  const Result<StoreLocation> location = parse_store_url(url);
  if (!location) throw std::runtime_error(location.error().message);
  return std::get<RedisLocation>(*location);
}

std::string sqlite_at(std::string_view url) {
  const Result<StoreLocation> location = parse_store_url(url);
  if (!location) throw std::runtime_error(location.error().message);
  return std::get<SqliteLocation>(*location).path;
}

}  // namespace

TEST_CASE("an sqlite URL holds a path, taken as it is", "[store_url]") {
  CHECK(sqlite_at("sqlite:/var/lib/counterd/counters.db") == "/var/lib/counterd/counters.db");
  CHECK(sqlite_at("sqlite:counters.db") == "counters.db");
  CHECK(sqlite_at("sqlite:/a b?c#d%20:e@f") == "/a b?c#d%20:e@f");
}

TEST_CASE("a redis URL holds a host and may hold user, port and database", "[store_url]") {
  const RedisLocation plain = redis_at("redis://localhost");
  CHECK(plain.host == "localhost");
  CHECK(plain.port == 6379);
  CHECK(plain.database == 0);
  CHECK(plain.user.empty());
  CHECK(plain.socket_path.empty());

  const RedisLocation full = redis_at("redis://counter-user@redis.example.net:65535/65535");
  CHECK(full.user == "counter-user");
  CHECK(full.host == "redis.example.net");
  CHECK(full.port == 65535);
  CHECK(full.database == 65535);

  CHECK(redis_at("redis://h/").database == 0);
  CHECK(redis_at("redis://h/0").database == 0);
  CHECK(redis_at("redis://h/3").database == 3);
  CHECK(redis_at("redis://h:1/3").port == 1);
}

TEST_CASE("a redis URL takes IPv6 addresses in brackets", "[store_url]") {
  CHECK(redis_at("redis://[::1]").host == "::1");
  CHECK(redis_at("redis://[::1]").port == 6379);
  const RedisLocation full = redis_at("redis://u@[fe80::1%eth0]:7000/2");
  CHECK(full.user == "u");
  CHECK(full.host == "fe80::1%eth0");
  CHECK(full.port == 7000);
  CHECK(full.database == 2);
  for (const char* bad : {"redis://[::1", "redis://[]", "redis://[::1]7000",
                          "redis://[::1]:", "redis://::1", "redis://[::1]:x"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_store_url(bad));
  }
}

TEST_CASE("a redis+unix URL holds an absolute path and may hold user and database", "[store_url]") {
  const RedisLocation plain = redis_at("redis+unix:///run/redis/redis.sock");
  CHECK(plain.socket_path == "/run/redis/redis.sock");
  CHECK(plain.host.empty());
  CHECK(plain.database == 0);
  const RedisLocation full = redis_at("redis+unix://u@/run/r.sock?db=7");
  CHECK(full.user == "u");
  CHECK(full.socket_path == "/run/r.sock");
  CHECK(full.database == 7);
  CHECK(redis_at("redis+unix:///run/a@b:c.sock").socket_path == "/run/a@b:c.sock");
}

TEST_CASE("a URL that is not complete or not known is refused", "[store_url]") {
  for (const std::string_view bad : {""sv,
                                     "sqlite"sv,
                                     "sqlite:"sv,
                                     "redis"sv,
                                     "redis:"sv,
                                     "redis:/"sv,
                                     "redis://"sv,
                                     "redis://@"sv,
                                     "redis:///0"sv,
                                     "redis://:6379"sv,
                                     "redis://u@"sv,
                                     "redis://u@:6379"sv,
                                     "redis+unix:"sv,
                                     "redis+unix://"sv,
                                     "redis+unix://run/r.sock"sv,
                                     "redis+unix://?db=1"sv,
                                     "redis+unix://u@"sv,
                                     "redis+unix://u@run"sv,
                                     "redis+unix:///r?db"sv,
                                     "redis+unix:///r?"sv,
                                     "redis+unix:///r?db="sv,
                                     "redis+unix:///r?DB=1"sv,
                                     "redis+unix:///r?db=1&x=2"sv,
                                     "rediss://h"sv,
                                     "REDIS://h"sv,
                                     "Sqlite:/x"sv,
                                     "postgres://h/db"sv,
                                     "/var/lib/x.db"sv,
                                     "counters.db"sv,
                                     " sqlite:/x"sv,
                                     "memory:"sv,
                                     "sqlite:/x\0y"sv,
                                     "redis://h\0"sv}) {
    CAPTURE(quote_for_people(bad));
    const Result<StoreLocation> location = parse_store_url(bad);
    REQUIRE_FALSE(location);
    CHECK(location.error().code == Code::kConfig);
    CHECK_FALSE(location.error().message.empty());
  }
}

TEST_CASE("who asks for TLS is told that there is none", "[store_url]") {
  CHECK(parse_store_url("rediss://h:6380").error().message.find("TLS") != std::string::npos);
  CHECK(parse_store_url("redistls://h").error().message.find("TLS") == std::string::npos);
}

TEST_CASE("a host is a name or an address", "[store_url]") {
  for (const std::string_view bad : {"redis://a b"sv, "redis://a?"sv, "redis://a#b"sv,
                                     "redis://[::1?]"sv, "redis://a\nb"sv, "redis://\xff"sv}) {
    CAPTURE(quote_for_people(bad));
    CHECK_FALSE(parse_store_url(bad));
  }
  CHECK(redis_at("redis://redis_1.example-net").host == "redis_1.example-net");
}

TEST_CASE("ports and databases are numbers in their range", "[store_url]") {
  for (const std::string bad :
       {"0", "65536", "-1", "+1", "01", "1e3", "0x10", " 1", "1 ", "x", "99999999999999999999"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_store_url("redis://h:" + bad));
    CHECK_FALSE(parse_store_url("redis://[::1]:" + bad));
    if (bad == "0") continue;
    CHECK_FALSE(parse_store_url("redis://h/" + bad));
    CHECK_FALSE(parse_store_url("redis+unix:///r?db=" + bad));
  }
  CHECK_FALSE(parse_store_url("redis://h:"));
  CHECK_FALSE(parse_store_url("redis://h/1/2"));
}

TEST_CASE("a client may name a Unix socket as the daemon does", "[endpoint]") {
  for (const char* name : {"unix:/run/a.sock", "unix:///run/a.sock", "unix:/run//a.sock"}) {
    CAPTURE(name);
    const Result<Endpoint> endpoint = parse_endpoint(name);
    const Result<Endpoint> server = parse_server(name);
    REQUIRE(endpoint);
    REQUIRE(server);
    CHECK(endpoint->path == "/run/a.sock");
    CHECK(server->path == "/run/a.sock");
  }
}

TEST_CASE("no message repeats a password in what should be an address", "[endpoint]") {
  for (const char* bad :
       {"http://user:hunter2@host:4747", "http://user:hunter2@host", "https://:hunter2@host",
        "redis://user:hunter2@host/0", "user:hunter2@host", "user:hunter2@", "hunter2@host:4747",
        "http://host:4747?password=hunter2", "http://host/?password=hunter2"}) {
    CAPTURE(bad);
    const Result<Endpoint> server = parse_server(bad);
    REQUIRE_FALSE(server);
    CHECK(server.error().message.find("hunter2") == std::string::npos);
  }
}

TEST_CASE("a URL with a password is refused and the password is not repeated", "[store_url]") {
  for (const char* bad : {"redis://user:hunter2@host",
                          "redis://:hunter2@host:6379/0",
                          "redis://user:hunter2@",
                          "redis://user:hun/hunter2@host",
                          "redis://user:p@hunter2@host",
                          "redis://a@b:hunter2@host",
                          "redis+unix://user:hunter2@/run/r.sock",
                          "redis+unix://:hunter2@/run/r.sock?db=1",
                          "redis+unix://a@b:hunter2@/run/r.sock",
                          "redis+unix://user:hunter2@relative",
                          "rediss://user:hunter2@host",
                          "rediss://user:p@hunter2@host",
                          "REDIS://user:hunter2@host",
                          "valkey://:hunter2@host",
                          "postgres://user:hunter2@host/db",
                          "redis+unix:///run/r.sock?password=hunter2",
                          "redis://user:hunter2@host:99999",
                          "redis://host/0?password=hunter2",
                          "redis://host?password=hunter2",
                          "redis://user@host?password=hunter2",
                          "redis://host?password=hunter2@x"}) {
    CAPTURE(bad);
    const Result<StoreLocation> location = parse_store_url(bad);
    REQUIRE_FALSE(location);
    CHECK(location.error().code == Code::kConfig);
    CHECK(location.error().message.find("hunter2") == std::string::npos);
  }
  CHECK_FALSE(parse_store_url("redis://user:@host"));
  CHECK(parse_store_url("redis://user:x@host").error().message.find("--redis-password-file") !=
        std::string::npos);
}

TEST_CASE("a socket's path is as long as an address holds at most", "[store_url]") {
  CHECK(parse_store_url("redis+unix:///" + std::string(106, 'a')));
  CHECK_FALSE(parse_store_url("redis+unix:///" + std::string(107, 'a')));
}

TEST_CASE("a refused URL is shown without what could forge a line", "[store_url]") {
  const Result<StoreLocation> location = parse_store_url("x:\nroot\x1b[0m");
  REQUIRE_FALSE(location);
  CHECK(location.error().message.find('\n') == std::string::npos);
  CHECK(location.error().message.find('\x1b') == std::string::npos);
}

TEST_CASE("the default store is counters.db in the state directory", "[store_url]") {
  const TemporaryDirectory directory;
  setenv("STATE_DIRECTORY", (directory.path() + ":/second").c_str(), 1);
  const Result<std::string> url = default_store_url();
  unsetenv("STATE_DIRECTORY");
  REQUIRE(url);
  CHECK(*url == "sqlite:" + (directory / "counters.db"));
}

}  // namespace counterd
