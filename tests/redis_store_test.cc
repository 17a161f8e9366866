// What the redis engine promises beyond the contract: how it logs in, what it says of the server's
// durability, and that a batch is applied exactly once whatever happens to its connection.
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "common/store/redis_scripts.h"
#include "common/timestamp.h"
#include "common/unique_fd.h"
#include "tests/catch.h"
#include "tests/redis_proxy.h"
#include "tests/redis_server.h"
#include "tests/steps.h"

namespace counterd {
namespace {

using Fault = RedisProxy::Fault;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::int64_t kBeyondDoubles = 9'007'199'254'740'993;  // 2^53 + 1

StoreOptions options_for(const std::string& url, milliseconds timeout = StoreOptions().timeout) {
  StoreOptions options;
  options.url = url;
  options.timeout = timeout;
  return options;
}

// A file with the password, for --redis-password-file.
std::string password_file(const RedisServer& server, const std::string& text) {
  const std::string path = server.directory() / "password";
  std::ofstream(path) << text;
  chmod(path.c_str(), 0600);
  return path;
}

// Of who logs in as `user`, if that is not empty, with what a file holds.
StoreOptions options_with_login(const RedisServer& server, const std::string& user = "",
                                const std::string& file = "correct\n") {
  StoreOptions options =
      options_for("redis+unix://" + (user.empty() ? "" : user + "@") + server.socket_path());
  options.redis_password_file = password_file(server, file);
  return options;
}

// The key of the one session that the server knows.
std::string session_key(const RedisServer& server) {
  return server.command({"KEYS", "counterd:s:*"});
}

void forget_session(const RedisServer& server) {
  server.command({"DEL", session_key(server)});
}

Error probe_error(Store& store) {
  const Result<void> probed = store.probe(patiently());
  if (probed) throw std::runtime_error("the store answered the probe");
  return probed.error();
}

// What most tests need: a server, and a store on it.
struct OneStore {
  const RedisServer server;
  const std::unique_ptr<Store> store = open_or_throw(options_for(server.url()));
};
#define ON_REDIS(name) TEST_CASE_METHOD(OneStore, name, "[redis]")

// The same, with a network between them that can fail.
struct StoreBehindProxy {
  const RedisServer server;
  RedisProxy proxy{server};
  const std::unique_ptr<Store> store = open_or_throw(options_for(proxy.url()));

  // The outcome of an increment that is applied, and whose answers are lost until `meanwhile` has
  // been called.
  Outcome increment_without_answer(const std::function<void()>& meanwhile,
                                   Deadline deadline = patiently()) {
    REQUIRE_FALSE(value_of(*store, "a").has_value());  // and the server knows the script
    proxy.arm(Fault::kCutBeforeReply, 1'000);
    std::thread other([&] {
      if (!proxy.wait_for_faults()) return;
      meanwhile();
      proxy.arm(Fault::kNone);
    });
    Outcome outcome = run_one(*store, increment_of("a"), deadline);
    other.join();
    return outcome;
  }
};
#define BEHIND_PROXY(name) TEST_CASE_METHOD(StoreBehindProxy, name, "[redis]")

}  // namespace

TEST_CASE("Redis is reached by TCP and by a Unix socket, and both are the same store", "[redis]") {
  const RedisServer server({}, RedisServer::Tcp::kYes);
  const auto by_tcp = open_or_throw(options_for(server.tcp_url()));
  const auto by_socket = open_or_throw(options_for(server.url()));
  CHECK(run_one(*by_tcp, increment_of("a", kBeyondDoubles)).value == kBeyondDoubles);
  CHECK(run_one(*by_socket, increment_of("a")).value == kBeyondDoubles + 1);
  CHECK(value_of(*by_tcp, "a") == kBeyondDoubles + 1);
  CHECK(by_tcp->status().location == "127.0.0.1:" + std::to_string(server.port()) + " database 0");
  CHECK(by_socket->status().location == server.socket_path() + " database 0");
}

TEST_CASE("opening a Redis store does not need the server", "[redis]") {
  RedisServer server;
  server.stop();
  const auto store = open_or_throw(options_for(server.url()));
  CHECK(store->status().engine == "redis");
  CHECK(probe_error(*store).code == Code::kUnavailable);
  server.start();
  CHECK(store->probe(patiently()).ok());
}

TEST_CASE("the default user logs in with the password of the file's first line", "[redis]") {
  const RedisServer server({"--requirepass", "correct horse"});
  const char* file = GENERATE("correct horse", "correct horse\n", "correct horse\r\n",
                              "correct horse\nsecond line\n");
  const auto store = open_or_throw(options_with_login(server, "", file));
  CHECK(store->probe(patiently()).ok());
  CHECK(run_one(*store, increment_of("a")).value == 1);
}

TEST_CASE("a wrong password is a wrong configuration and stays secret", "[redis]") {
  const RedisServer server({"--requirepass", "correct"});
  const auto store = open_or_throw(options_with_login(server, "", "hunter2\n"));
  const Error error = probe_error(*store);
  check_error(error, Code::kConfig, "--redis-password-file");
  CHECK_FALSE(contains(error.message, "hunter2"));
  const Outcome outcome = run_one(*store, increment_of("a"));
  CHECK(outcome.code == Code::kUnavailable);
  CHECK_FALSE(contains(outcome.detail, "hunter2"));
  CHECK(server.command({"EXISTS", "counterd:c:a"}, {"AUTH", "correct"}) == "0");
}

TEST_CASE("a password that is changed at the server and in its file is used without a restart",
          "[redis]") {
  const RedisServer server({"--requirepass", "before"});
  const StoreOptions options = options_with_login(server, "", "before\n");
  const auto store = open_or_throw(options);
  CHECK(run_one(*store, increment_of("a")).value == 1);
  server.command({"CONFIG", "SET", "requirepass", "after"}, {"AUTH", "before"});
  server.command({"CLIENT", "KILL", "TYPE", "normal"}, {"AUTH", "after"});
  CHECK(probe_error(*store).code == Code::kConfig);
  password_file(server, "after\n");
  CHECK(run_one(*store, increment_of("a")).value == 2);
  std::filesystem::remove(options.redis_password_file);
  server.command({"CLIENT", "KILL", "TYPE", "normal"}, {"AUTH", "after"});
  CHECK(run_one(*store, increment_of("a")).value == 3);
}

TEST_CASE("a password can come from a pipe, which has it once", "[redis]") {
  const RedisServer server({"--requirepass", "correct"});
  int ends[2] = {-1, -1};
  REQUIRE(pipe(ends) == 0);
  const UniqueFd output(ends[0]);
  const UniqueFd input(ends[1]);
  REQUIRE(write(input.get(), "correct\n", 8) == 8);
  StoreOptions options = options_for(server.url());
  options.redis_password_file = "/dev/fd/" + std::to_string(output.get());
  const auto store = open_or_throw(options);
  CHECK(run_one(*store, increment_of("a")).value == 1);
  server.command({"CLIENT", "KILL", "TYPE", "normal"}, {"AUTH", "correct"});
  CHECK(run_one(*store, increment_of("a")).value == 2);
}

TEST_CASE("a password that is missing or not asked for is a wrong configuration", "[redis]") {
  const RedisServer guarded({"--requirepass", "correct"});
  for (const char* database : {"", "?db=3"}) {
    check_error(probe_error(*open_or_throw(options_for(guarded.url() + database))), Code::kConfig,
                "--redis-password-file");
  }
  const RedisServer open;
  const Error error = probe_error(*open_or_throw(options_with_login(open, "", "hunter2\n")));
  CHECK(error.code == Code::kConfig);
  CHECK_FALSE(contains(error.message, "hunter2"));
}

ON_REDIS("Redis itself ends a counter, and its name is forgotten with later ones") {
  std::vector<Step> steps = many(30, [](const std::string& number) {
    return ending_in(milliseconds(20), increment_of(number));
  });
  steps.push_back(ending_in(std::chrono::hours(1), increment_of("stays")));
  steps.push_back(increment_of("plain"));
  run(*store, std::move(steps));
  const long left = std::stol(server.command({"PTTL", "counterd:c:stays"}));
  CHECK(left > 3'500'000);
  CHECK(left <= 3'600'000);
  CHECK(server.command({"PTTL", "counterd:c:plain"}) == "-1");
  CHECK(becomes_true([&] { return server.command({"EXISTS", "counterd:c:29"}) == "0"; }));
  CHECK(server.command({"ZCARD", "counterd:names"}) == "32");
  run_one(*store, increment_of("29"));  // begun anew, without an end
  for (int i = 0; i < 3; ++i) {
    run_one(*store, ending_in(std::chrono::hours(1), increment_of("other")));
  }
  CHECK(server.command({"ZRANGE", "counterd:names", "0", "-1"}) == "29\nother\nplain\nstays");
  CHECK(server.command({"ZRANGE", "counterd:ends", "0", "-1"}) == "stays\nother");
  CHECK(value_of(*store, "29") == 1);
  run(*store, {delete_of("stays"), increment_of("stays")});
  CHECK(server.command({"PTTL", "counterd:c:stays"}) == "-1");
  run_one(*store, delete_of("stays"));
  CHECK(server.command({"ZRANGE", "counterd:ends", "0", "-1"}) == "other");
}

ON_REDIS("names of counters that end while others are made are forgotten") {
  for (int i = 0; i < 2'000; ++i) {
    run_one(*store, ending_in(std::chrono::milliseconds(3), increment_of("n" + std::to_string(i))));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  for (int i = 0; i < 100; ++i) {
    run_one(*store, ending_in(std::chrono::hours(1), increment_of("stays")));
  }
  CHECK(server.command({"ZRANGE", "counterd:names", "0", "-1"}) == "stays");
  CHECK(server.command({"ZRANGE", "counterd:ends", "0", "-1"}) == "stays");
}

ON_REDIS("names of counters that have ended are forgotten also by changes without an end") {
  for (int i = 0; i < 10; ++i) {
    run_one(*store, ending_in(std::chrono::milliseconds(3), increment_of("n" + std::to_string(i))));
  }
  run_one(*store, ending_in(std::chrono::hours(1), increment_of("stays")));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  run_one(*store, increment_of("stays"));
  CHECK(server.command({"ZRANGE", "counterd:names", "0", "-1"}) == "stays");
}

ON_REDIS("names of counters that have ended are forgotten where no counter has an end any more") {
  run(*store, many(500, [](const std::string& number) {
    return ending_in(milliseconds(3), increment_of("n" + number));
  }));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  for (int i = 0; i < 100; ++i) run_one(*store, increment_of("plain"));
  CHECK(server.command({"ZRANGE", "counterd:names", "0", "-1"}) == "plain");
  CHECK(server.command({"ZCARD", "counterd:ends"}) == "0");
}

ON_REDIS("a counter with an end that somebody has given another type stops no other") {
  run_one(*store, ending_in(std::chrono::milliseconds(3), increment_of("a")));
  server.command({"SET", "counterd:c:a", "text"});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(run_one(*store, ending_in(std::chrono::hours(1), increment_of("b"))).value == 1);
  CHECK(run_one(*store, increment_of("a")).code == Code::kUnavailable);
}

ON_REDIS("a counter that is made anew when its end is looked for keeps its new end") {
  run_one(*store, ending_in(milliseconds(1), increment_of("a")));
  std::this_thread::sleep_for(milliseconds(5));
  CHECK(run_one(*store, ending_in(std::chrono::hours(1), increment_of("a"))).value == 1);
  CHECK(server.command({"ZCARD", "counterd:ends"}) == "1");
}

ON_REDIS("keys that have expired are not listed for ever") {
  run(*store, many(100, [](const std::string& number) {
    return keyed(increment_of("a"), number, milliseconds(1));
  }));
  std::this_thread::sleep_for(milliseconds(5));
  for (int i = 100; i < 110; ++i) run_one(*store, keyed(increment_of("a"), std::to_string(i)));
  CHECK(server.command({"ZCARD", "counterd:keys"}) == "10");
}

TEST_CASE("where Redis denies an end, nothing is changed", "[redis]") {
  const RedisServer server;
  server.command({"ACL", "SETUSER", "alice", "on", ">correct", "~*", "+@all", "-pexpireat"});
  const auto store = open_or_throw(options_with_login(server, "alice"));
  const Outcome outcome = run_one(*store, ending_in(std::chrono::hours(1), increment_of("a")));
  CHECK(outcome.code == Code::kUnavailable);
  CHECK(server.command({"EXISTS", "counterd:c:a"}) == "0");
  CHECK(run_one(*store, increment_of("a")).value == 1);
}

TEST_CASE("a user of the server's ACL logs in with name and password", "[redis]") {
  const TemporaryDirectory directory;
  const std::string acl = directory / "users.acl";
  std::ofstream(acl) << "user default off\n"
                     << "user alice on >correct ~counterd:* +@all -@dangerous +config|get\n";
  const RedisServer server({"--aclfile", acl});
  StoreOptions options = options_with_login(server, "alice");
  const auto store = open_or_throw(options);
  REQUIRE(store->probe(patiently()));
  // Within her keys alone: the ones that numbers beyond 2^53 need are among them.
  CHECK(run_one(*store, increment_of("a", kBeyondDoubles)).value == kBeyondDoubles);
  CHECK(run_one(*store, increment_of("a", kBeyondDoubles)).value == 2 * kBeyondDoubles);
  CHECK(value_of(*store, "a") == 2 * kBeyondDoubles);
  const std::vector<Step> others = {ending_in(std::chrono::hours(1), increment_of("t")),
                                    per(Period::kDay, increment_of("w")), reset_of("t", 5),
                                    keyed(increment_of("k"), "key"), delete_of("w")};
  for (const Outcome& outcome : run(*store, others)) CHECK(outcome.code == Code::kOk);
  CHECK(store->list({"", "", 10}, patiently())->rows.size() == 3);
  CHECK_FALSE(contains(store->status().durability, "unverified"));

  options.url = "redis+unix://bob@" + server.socket_path();
  CHECK(probe_error(*open_or_throw(options)).code == Code::kConfig);
}

TEST_CASE("a user may not touch what the ACL denies, and is told so", "[redis]") {
  const RedisServer server;
  server.command({"ACL", "SETUSER", "alice", "on", ">correct", "~elsewhere:*", "+@all"});
  StoreOptions options = options_with_login(server, "alice");
  const auto store = open_or_throw(options);
  const Outcome outcome = run_one(*store, increment_of("a"));
  CHECK(outcome.code == Code::kUnavailable);
  CHECK_FALSE(outcome.detail.empty());
  CHECK(server.command({"KEYS", "*"}).empty());
  options.redis_prefix = "elsewhere:";
  CHECK(run_one(*open_or_throw(options), increment_of("a")).value == 1);
}

TEST_CASE("a batch of which the user may not do all is refused before any of it", "[redis]") {
  const RedisServer server;
  const std::vector<Step> steps = {increment_of("b"), keyed(increment_of("a"), "key"),
                                   ending_in(milliseconds(60'000), increment_of("b")),
                                   delete_of("a")};
  const std::vector<std::vector<const char*>> needs = {
      {"-hset", "-zadd", "-set"},
      {"-hset", "-zadd", "-set", "-zrangebyscore"},
      {"-hset", "-zadd", "-set", "-pexpireat", "-zrangebyscore"},
      {"-zrem", "-del", "-set"}};
  StoreOptions options = options_with_login(server, "alice");
  for (std::size_t i = 0; i < steps.size(); ++i) {
    for (const char* denied : needs[i]) {
      CAPTURE(i, denied);
      server.command({"FLUSHALL"});
      server.command({"ACL", "SETUSER", "alice", "reset", "on", ">correct", "~*", "+@all"});
      const auto store = open_or_throw(options);
      run_one(*store, increment_of("a"));
      server.command({"ACL", "SETUSER", "alice", denied});
      const Outcome outcome = run_one(*store, steps[i]);
      CHECK(outcome.code == Code::kUnavailable);
      CHECK(server.command({"EXISTS", "counterd:c:b"}) == "0");
      CHECK(server.command({"HGET", "counterd:c:a", "v"}) == "1");
    }
  }
}

TEST_CASE("a batch that may not touch one of its keys is refused before any of it", "[redis]") {
  const RedisServer server;
  const std::vector<const char*> keys = {"~counterd:c:b",   "~counterd:names", "~counterd:s:*",
                                         "~counterd:k:b/*", "~counterd:keys",  "~counterd:ends"};
  StoreOptions options = options_with_login(server, "alice");
  for (const std::string denied : keys) {
    CAPTURE(denied);
    std::vector<std::string> user = {"ACL", "SETUSER",  "alice", "reset",
                                     "on",  ">correct", "+@all", "%R~*"};
    for (const char* key : keys) {
      if (key != denied) user.emplace_back(key);
    }
    server.command(user);
    const Step step = ending_in(milliseconds(60'000), increment_of("b", kBeyondDoubles));
    const auto store = open_or_throw(options);
    CHECK(run_one(*store, keyed(step, "key")).code == Code::kUnavailable);
    CHECK(server.command({"EXISTS", "counterd:c:b", "counterd:names", "counterd:k:b/key",
                          "counterd:keys", "counterd:ends"}) == "0");
  }
}

ON_REDIS("times that are none fail what would tell them, and nothing else") {
  const Step daily = per(Period::kDay, increment_of("bad"));
  struct Case {
    std::vector<std::string> times;
    Step step;
  };
  for (const auto& [times, step] :
       {Case{{"c", "yesterday"}, report_of("bad")},
        Case{{"u", "99999999999999999999"}, report_of("bad")},
        Case{{"e", "abc", "w", "day UTC"}, daily}, Case{{"e", "abc", "w", "month UTC"}, daily}}) {
    CAPTURE(times);
    server.command({"FLUSHALL"});
    std::vector<std::string> made = {"HSET", "counterd:c:bad", "v", "1"};
    made.insert(made.end(), times.begin(), times.end());
    server.command(made);
    const auto outcomes = run(*store, std::vector<Step>{increment_of("good"), step, all_of({step}),
                                                        keyed(each_of({daily, step}), "key")});
    CHECK(outcomes[0].value == 1);
    CHECK(outcomes[1].code == Code::kUnavailable);
    CHECK(contains(outcomes[1].detail, "counter bad"));
    CHECK(contains(outcomes[1].detail, "times"));
    for (const Outcome& group : {outcomes[2], outcomes[3]}) {
      CHECK(group.code == Code::kUnavailable);
      CHECK(contains(group.detail, "one of the batch's counters"));
    }
    CHECK(server.command({"HGET", "counterd:c:bad", "v"}) == "1");
    CHECK(server.command({"KEYS", "counterd:k:*"}).empty());
    // What mends it is told as ever.
    const auto mended = run(*store, std::vector<Step>{delete_of("bad"), daily, report_of("bad")});
    CHECK(mended[1].value == 1);
    CHECK(mended[2].code == Code::kOk);
  }
}

ON_REDIS("an end that is none does no harm where another window is refused") {
  server.command({"HSET", "counterd:c:bad", "v", "1", "e", "abc", "w", "day UTC"});
  const Step renewed = ending_in(std::chrono::hours(1), increment_of("bad"), true);
  const auto outcomes = run(*store, std::vector<Step>{increment_of("good"), renewed});
  CHECK(outcomes[0].value == 1);
  CHECK(outcomes[1].code == Code::kOtherWindow);
}

ON_REDIS("a window that somebody has written does no harm") {
  const Step daily = per(Period::kDay, increment_of("bad"));
  const std::vector<Step> batch = {increment_of("good"), daily};

  server.command({"HSET", "counterd:c:bad", "v", "1", "w", std::string(100'000, 'x')});
  auto outcomes = run(*store, batch);
  CHECK(outcomes[0].value == 1);
  CHECK(outcomes[1].code == Code::kOtherWindow);
  CHECK(outcomes[1].window.size() < 100);  // it is repeated in messages

  // One that would end the line that tells of it.
  server.command({"HSET", "counterd:c:bad", "w", "day UTC\nk 7 - 0 0 0"});
  outcomes = run(*store, batch);
  CHECK(outcomes[0].value == 2);
  CHECK(outcomes[1].code == Code::kOtherWindow);
  CHECK(outcomes[1].window == "day UTC?k 7 - 0 0 0");
}

ON_REDIS("a counter whose end is none counts, is listed, and can be deleted") {
  run_one(*store, increment_of("bad"));
  server.command({"HSET", "counterd:c:bad", "e", "abc"});
  CHECK(run_one(*store, increment_of("bad")).value == 2);
  CHECK(store->list({"", "", 10}, patiently())->rows.size() == 1);
  CHECK(run_one(*store, delete_of("bad")).previous == 2);
  CHECK(server.command({"EXISTS", "counterd:c:bad"}) == "0");
}

ON_REDIS("in the millisecond that a counter ends in, for which Redis keeps it, it is missing") {
  const Step daily = ending_in(std::chrono::hours(24), increment_of("a"));
  run_one(*store, daily);
  server.command({"HSET", "counterd:c:a", "e", std::to_string(unix_now_ms())});
  CHECK(run_one(*store, report_of("a")).code == Code::kMissing);
  CHECK(run_one(*store, delete_of("a")).code == Code::kMissing);
  CHECK(store->list({"", "", 10}, patiently())->rows.empty());
  CHECK(run_one(*store, daily).value == 1);
  CHECK(std::stol(server.command({"PTTL", "counterd:c:a"})) > 86'000'000);
  server.command({"HSET", "counterd:c:a", "e", std::to_string(unix_now_ms())});
  CHECK(run_one(*store, increment_of("a")).value == 1);
  CHECK(run_one(*store, report_of("a")).expires_at_ms == 0);
  CHECK(server.command({"PTTL", "counterd:c:a"}) == "-1");
  CHECK(server.command({"ZCARD", "counterd:ends"}) == "0");
}

ON_REDIS("a name that is none is not listed") {
  server.command({"ZADD", "counterd:names", "0", "web:e\nfake"});
  server.command({"HSET", "counterd:c:web:e\nfake", "v", "1"});
  const Result<ListPage> page = store->list({"", "", 10}, patiently());
  REQUIRE_FALSE(page);
  CHECK(page.error().code == Code::kUnavailable);
}

ON_REDIS("a name that is none does not say where a list goes on") {
  server.command({"ZADD", "counterd:names", "0", "a\"b", "0", "b"});
  const Result<ListPage> page = store->list({"", "", 1}, patiently());
  REQUIRE_FALSE(page);
  CHECK(page.error().code == Code::kUnavailable);
}

TEST_CASE("a server that refuses changes as a replica is connected to anew", "[redis]") {
  const RedisServer server;
  const char* serves_stale_data = GENERATE("yes", "no");  // or refuses reports in words of its own
  server.command({"CONFIG", "SET", "replica-serve-stale-data", serves_stale_data});
  const auto connections = [&] { return server.command({"CLIENT", "LIST", "TYPE", "NORMAL"}); };
  const auto is_alone = [&] {
    return !contains(connections(), "cmd=set") && !contains(connections(), "cmd=evalsha");
  };
  std::int64_t value = 0;
  for (const bool first : {true, false}) {  // its first command differs from all others
    CAPTURE(first);
    const auto store = open_or_throw(options_for(server.url()));
    if (!first) REQUIRE(run_one(*store, increment_of("a")).value == ++value);
    if (!first) REQUIRE_FALSE(is_alone());
    server.command({"REPLICAOF", "127.0.0.1", "1"});
    CHECK(run_one(*store, increment_of("a")).code == Code::kUnavailable);
    CHECK(becomes_true(is_alone));
    server.command({"REPLICAOF", "NO", "ONE"});
    CHECK(run_one(*store, increment_of("a")).value == ++value);
  }
}

TEST_CASE("a password is not repeated, whatever the server says of it", "[redis]") {
  const RedisServer server({"--rename-command", "AUTH", ""});
  const int more = GENERATE(0, 200);  // of a long one it repeats a part
  const std::string file = "hunter2" + std::string(more, 'x') + "\n";
  const Error error = probe_error(*open_or_throw(options_with_login(server, "alice", file)));
  check_error(error, Code::kConfig, "password");
  CHECK_FALSE(contains(error.message, "hunter2"));
}

TEST_CASE("a key that is kept again when it has ended is counted among those that are known",
          "[redis]") {
  const RedisServer server;
  StoreOptions options = options_for(server.url());
  options.max_keys = 1;
  const auto store = open_or_throw(options);
  run_one(*store, keyed(increment_of("a"), "1", milliseconds(1)));
  std::this_thread::sleep_for(milliseconds(20));
  CHECK(run_one(*store, keyed(increment_of("a"), "1")).value == 2);
  CHECK(run_one(*store, keyed(increment_of("a"), "2")).code == Code::kTooManyKeys);
}

TEST_CASE("a server without memory to spare refuses a batch also where keys have ended",
          "[redis]") {
  const RedisServer server({"--maxmemory-policy", "noeviction"});
  const auto store = open_or_throw(options_for(server.url()));
  run_one(*store, keyed(increment_of("a"), "1", milliseconds(1)));
  std::this_thread::sleep_for(milliseconds(20));
  server.command({"CONFIG", "SET", "maxmemory", "1"});
  CHECK(run_one(*store, keyed(increment_of("a"), "2")).code == Code::kUnavailable);
  server.command({"CONFIG", "SET", "maxmemory", "0"});
  CHECK(run_one(*store, keyed(increment_of("a"), "2")).value == 2);
  CHECK(server.command({"ZCARD", "counterd:keys"}) == "1");
}

TEST_CASE("a server without memory to spare refuses a batch also where counters have ended",
          "[redis]") {
  const RedisServer server({"--maxmemory-policy", "noeviction"});
  const auto store = open_or_throw(options_for(server.url()));
  run_one(*store, increment_of("a"));
  run_one(*store, ending_in(std::chrono::hours(1), increment_of("stays")));
  run_one(*store, ending_in(milliseconds(1), increment_of("ends")));
  std::this_thread::sleep_for(milliseconds(20));
  server.command({"CONFIG", "SET", "maxmemory", "1"});
  CHECK(run_one(*store, increment_of("stays")).code == Code::kUnavailable);
  CHECK(run(*store, {delete_of("a"), increment_of("stays")})[0].code == Code::kUnavailable);
  CHECK(run_one(*store, delete_of("a")).code == Code::kOk);
  server.command({"CONFIG", "SET", "maxmemory", "0"});
  CHECK(run_one(*store, increment_of("stays")).value == 2);
}

ON_REDIS("a server without memory to spare refuses counters with an end too") {
  run_one(*store, increment_of("a"));
  server.command({"CONFIG", "SET", "maxmemory", "1"});
  const Outcome outcome = run_one(*store, ending_in(milliseconds(60'000), increment_of("b")));
  CHECK(outcome.code == Code::kUnavailable);
  CHECK(server.command({"EXISTS", "counterd:c:b"}) == "0");
}

ON_REDIS("a counter made by hand, without its times, counts") {
  server.command({"HSET", "counterd:c:a", "v", "100"});
  const auto outcomes = run(*store, {increment_of("b"), increment_of("a")});
  CHECK(outcomes[0].value == 1);
  CHECK(outcomes[1].value == 101);
}

ON_REDIS("a list goes on after names whose counters are gone") {
  run_one(*store, increment_of("a"));
  run_one(*store, increment_of("b"));
  server.command({"DEL", "counterd:c:a"});
  Result<ListPage> page = store->list({"", "", 1}, patiently());
  REQUIRE(page);
  CHECK(page->rows.empty());
  CHECK(page->next == "a");
  page = store->list({"", page->next, 1}, patiently());
  REQUIRE(page);
  REQUIRE(page->rows.size() == 1);
  CHECK(page->rows[0].name == "b");
  CHECK(page->next.empty());
}

TEST_CASE("too many clients of the server pass by themselves", "[redis]") {
  const RedisServer server;
  const StoreOptions options = options_with_login(server, "default");
  server.command({"CONFIG", "SET", "requirepass", "correct"});
  server.command({"CONFIG", "SET", "maxclients", "1"}, {"AUTH", "correct"});
  const auto holder = open_or_throw(options);
  REQUIRE(holder->probe(patiently()));
  CHECK(probe_error(*open_or_throw(options)).code == Code::kUnavailable);
}

// Two commands are sent at once; the first answer is an error, and ends the connection.
TEST_CASE("a server that ends the connection while it is logged in to is heard", "[redis]") {
  const RedisServer server({}, RedisServer::Tcp::kYes);
  const auto holder = open_or_throw(options_for(server.tcp_url()));
  server.command({"CONFIG", "SET", "maxclients", "1"});
  REQUIRE(holder->probe(patiently()));
  CHECK(contains(probe_error(*open_or_throw(options_for(server.tcp_url() + "/1"))).message,
                 "max number of clients reached"));
}

TEST_CASE("a connection on which no answer comes is given up for another in time", "[redis]") {
  const RedisServer server;
  RedisProxy proxy(server);
  const auto store = open_or_throw(options_for(proxy.url(), milliseconds(2'000)));
  REQUIRE(run_one(*store, increment_of("a")).value == 1);
  proxy.arm(Fault::kSwallow);
  const Outcome outcome = run_one(*store, increment_of("a"));
  CHECK(outcome.code == Code::kOk);
  CHECK(outcome.value == 2);
  proxy.arm(Fault::kSwallow);
  CHECK(value_of(*store, "a") == 2);
}

TEST_CASE("what is told and asked first takes no trip of its own each", "[redis]") {
  const RedisServer server({"--requirepass", "correct"});
  RedisProxy proxy(server);
  StoreOptions options = options_for(proxy.url() + "?db=1");
  options.redis_password_file = password_file(server, "correct\n");
  const auto store = open_or_throw(options);
  CHECK(run_one(*store, increment_of("a")).value == 1);
  // One trip to log in, and others for the settings, the session, and the script: it is not known,
  // it is loaded, it is run.
  CHECK(proxy.trips() == 6);
}

TEST_CASE("a change is made over a link on which to connect takes longer than an answer may",
          "[redis]") {
  const RedisServer server;
  const RedisProxy proxy(server, milliseconds(200));
  const auto store = open_or_throw(options_for(proxy.url(), milliseconds(3'900)));
  CHECK(run_one(*store, increment_of("a")).value == 1);
}

TEST_CASE("a connection that is lost is made anew for a change, even if most of its time goes by",
          "[redis]") {
  const RedisServer server;
  RedisProxy proxy(server, milliseconds(200));
  const auto store = open_or_throw(options_for(proxy.url(), milliseconds(1'900)));
  REQUIRE_FALSE(value_of(*store, "a").has_value());  // and the server knows the script
  REQUIRE(run_one(*store, increment_of("a")).value == 1);
  server.command({"CLIENT", "KILL", "TYPE", "normal"});
  REQUIRE(proxy.wait_until_idle());
  CHECK(run_one(*store, increment_of("a")).value == 2);
}

TEST_CASE("a server that is slow with its answers is waited for longer and longer", "[redis]") {
  const RedisServer server;
  RedisProxy proxy(server);
  const auto store = open_or_throw(
      options_for(proxy.url(), milliseconds(3'000)));  // of which the first attempt has 750
  REQUIRE(run_one(*store, increment_of("a")).value == 1);
  proxy.arm(Fault::kComeLate, 1'000);
  CHECK(run_one(*store, increment_of("a")).value == 2);
}

TEST_CASE("many attempts that fail at once take no time from later ones", "[redis]") {
  const RedisServer server;
  RedisProxy proxy(server);
  const auto store = open_or_throw(options_for(proxy.url(), milliseconds(20'000)));
  REQUIRE(run_one(*store, increment_of("a")).value == 1);
  proxy.arm(Fault::kCutBeforeRequest, 70);  // one every 100 ms
  CHECK(run_one(*store, increment_of("a")).value == 2);
}

ON_REDIS("changes that have waited for too long are not sent") {
  const Result<void> late = store->take_turn(after(milliseconds(-1)));
  REQUIRE_FALSE(late);
  CHECK(late.error().code == Code::kOverloaded);
  CHECK(store->take_turn(after(milliseconds(1'000))));
}

BEHIND_PROXY("a batch that the server broke off in the middle is unknown") {
  proxy.arm(Fault::kBreakOff);
  const Outcome outcome = run_one(*store, increment_of("a"));
  CHECK(outcome.code == Code::kUnknown);
  CHECK(contains(outcome.detail, "PARTIAL"));
  CHECK(proxy.faults_seen() == 1);
}

BEHIND_PROXY("a change whose answer makes no sense is unknown") {
  const Outcome outcome = increment_without_answer([&] {
    const std::string session = session_key(server);
    const std::string known = server.command({"GET", session});
    server.command(
        {"SET", session, known.substr(0, known.find('\n')) + "\nk is no outcome\n", "KEEPTTL"});
  });
  CHECK(outcome.code == Code::kUnknown);
  CHECK(contains(outcome.detail, "cannot be understood"));
}

// As where a virtual machine is set back to a snapshot, or two go on from one.
ON_REDIS("what another one has counted in the same session is not taken for one's own") {
  REQUIRE(run_one(*store, increment_of("a")).value == 1);
  const std::string number = GENERATE("2", "3");  // of its latest batch; the next one here is 2
  server.command({"SET", session_key(server), number + "\nk 7 - 0 0 0\n", "KEEPTTL"});
  CHECK(run_one(*store, increment_of("a")).value == 2);
  CHECK(run_one(*store, increment_of("a")).value == 3);
  CHECK(value_of(*store, "a") == 3);
}

TEST_CASE("an answer that comes twice is not taken for the next one, too", "[redis]") {
  const RedisServer server;
  RedisProxy proxy(server);
  const auto store = open_or_throw(options_for(proxy.url()));
  CHECK(run_one(*store, increment_of("a")).value == 1);
  proxy.arm(RedisProxy::Fault::kComeTwice);
  CHECK(run_one(*store, increment_of("a")).value == 2);
  CHECK(run_one(*store, increment_of("a")).value == 3);
  CHECK(proxy.faults_seen() == 1);
}

TEST_CASE("a batch of which a write fails after others is unknown", "[redis]") {
  const RedisServer server;
  StoreOptions options = options_for(server.url());
  options.key_lifetime = milliseconds(0);  // which the server refuses, when it has the counter
  const auto store = open_or_throw(options);
  const Outcome outcome = run_one(*store, keyed(increment_of("a"), "k"));
  CHECK(outcome.code == Code::kUnknown);
  CHECK(contains(outcome.detail, "PARTIAL"));
  CHECK(value_of(*store, "a") == 1);
}

TEST_CASE("a copy of a batch that was broken off is not applied after the next one", "[redis]") {
  const RedisServer server;
  RedisProxy proxy(server);
  StoreOptions options = options_for(proxy.url());
  options.key_lifetime = milliseconds(0);  // as above
  const auto store = open_or_throw(options);
  REQUIRE(run_one(*store, increment_of("a")).value == 1);
  proxy.arm(Fault::kHoldRequest);
  CHECK(run_one(*store, keyed(increment_of("a"), "k")).code == Code::kUnknown);
  CHECK(run_one(*store, increment_of("a")).value == 3);
  CHECK(proxy.release_held().starts_with("-STALE"));
  CHECK(value_of(*store, "a") == 3);
}

TEST_CASE("a server that is too old refuses a batch before any of it", "[redis]") {
  const RedisServer server;
  server.command({"SET", "p:s:session", "0\n", "PX", "60000"});
  const std::string old = "local redis = {call = redis.call, error_reply = redis.error_reply}\n";
  const std::string reply =
      server.command({"EVAL", old + std::string(kApplyScript), "0", "p:", "session", "1", "1", "10",
                      "", "0", "0", "name", "i", "a", "1", "1"});
  CHECK(contains(reply, "Redis 6.0 or later"));
  CHECK(server.command({"EXISTS", "p:c:a"}) == "0");
}

// The script as Redis 6 runs it, which cannot be asked what a user may do, if it refuses `command`
// in these words.
std::string on_redis_6(const std::string& command, const std::string& words) {
  return "local real = redis\n"
         "local redis = {error_reply = real.error_reply, pcall = real.pcall, setresp = "
         "real.setresp}\n"
         "redis.call = function(...)\n"
         "  if (...) == '" +
         command + "' then error('@user_script: 7: " + words +
         "', 0) end\n"
         "  return real.call(...)\n"
         "end\n" +
         std::string(kApplyScript);
}

TEST_CASE("a batch of which the user may not do all is refused before any of it by Redis 6, too",
          "[redis]") {
  const RedisServer server;
  for (const char* denied :
       {"ZADD", "ZREM", "HSET", "HDEL", "PERSIST", "PEXPIREAT", "DEL", "SET"}) {
    CAPTURE(denied);
    server.command({"FLUSHALL"});
    server.command({"SET", "p:s:session", "0\n", "PX", "60000"});
    server.command({"ZADD", "p:names", "0", "a", "0", "b", "0", "c"});
    server.command({"ZADD", "p:ends", "9999999999999", "a"});
    for (const char* name : {"p:c:a", "p:c:b", "p:c:c"}) {
      server.command({"HSET", name, "v", "1", "c", "1", "u", "1"});
    }
    server.command({"HSET", "p:c:a", "e", "9999999999999"});
    const auto state = [&] {
      std::string all = server.command({"DBSIZE"});
      for (const char* key : {"p:s:session", "p:names", "p:ends", "p:c:a", "p:c:b", "p:c:c"}) {
        all += server.command({"DUMP", key});
      }
      return all;
    };
    const std::string before = state();
    const auto apply = [&](const std::string& script) {
      return server.command({"EVAL",    script, "0", "p:",
                             "session", "1",    "1", "10",
                             "",        "0",    "0", "name",
                             "d",       "a",    "0", "1",  // and its end
                             "i",       "a",    "1", "1",  // anew, without one
                             "d",       "b",    "0", "1",  //
                             "b",       "c",    "1", "0 - - r 60000 r",
                             "1",  //
                             "I",       "d",    "1", "key",
                             "60000"});
    };
    const std::string reply = apply(on_redis_6(denied, "The user can\\'t run this command"));
    CHECK(reply.starts_with("The user can't run this command"));
    CHECK(contains(reply, denied));
    CHECK(state() == before);
    CHECK(contains(apply(on_redis_6("", "")), "k 2 "));
    CHECK(server.command({"EXISTS", "p:c:b"}) == "0");
  }
}

TEST_CASE("what refuses all writes is told in the words of the server by Redis 6, too", "[redis]") {
  const RedisServer server;
  server.command({"SET", "p:s:session", "0\n", "PX", "60000"});
  const std::string reply =
      server.command({"EVAL", on_redis_6("ZADD", "-READONLY it is a replica"), "0", "p:", "session",
                      "1", "1", "10", "", "0", "0", "name", "i", "a", "1", "1"});
  CHECK(reply.starts_with("READONLY"));
}

BEHIND_PROXY("a batch whose session the server has forgotten is unknown, and not applied again") {
  // As if its clock were set forward by hours.
  const Outcome outcome = increment_without_answer([&] { forget_session(server); });
  CHECK(outcome.code == Code::kUnknown);
  CHECK(contains(outcome.detail, "FORGOTTEN"));
  CHECK(server.command({"HGET", "counterd:c:a", "v"}) == "1");
  CHECK(run_one(*store, increment_of("a")).value == 2);
}

BEHIND_PROXY("the first batch of a session is applied by its copy if it never arrived") {
  proxy.arm(Fault::kCutBeforeRequest);
  CHECK(run_one(*store, increment_of("a")).value == 1);
}

TEST_CASE("a user without a password, and a password file without one, are refused", "[redis]") {
  const RedisServer server;
  const auto code_of = [](const StoreOptions& options) {
    const Result<std::unique_ptr<Store>> store = open_store(options);
    return store ? Code::kOk : store.error().code;
  };
  CHECK(code_of(options_for("redis+unix://alice@" + server.socket_path())) == Code::kConfig);
  StoreOptions options = options_for(server.url());
  options.redis_password_file = server.directory() / "missing";
  CHECK(code_of(options) == Code::kConfig);
  for (const char* text : {"", "\n", "\nsecond line\n"}) {
    options.redis_password_file = password_file(server, text);
    CHECK(code_of(options) == Code::kConfig);
  }
}

TEST_CASE("a shortage of descriptors that keeps the password from being read passes by itself",
          "[redis]") {
  const RedisServer server;
  StoreOptions options = options_for(server.url());
  // First with descriptors: a sanitizer needs some where it meets a type for the first time.
  options.redis_password_file = server.directory() / "missing";
  REQUIRE(!open_store(options));
  options.redis_password_file = password_file(server, "correct\n");
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  rlimit none = before;
  none.rlim_cur = 0;
  setrlimit(RLIMIT_NOFILE, &none);
  const Result<std::unique_ptr<Store>> store = open_store(options);
  setrlimit(RLIMIT_NOFILE, &before);
  REQUIRE(!store);
  CHECK(store.error().code == Code::kUnavailable);
}

TEST_CASE("databases of one server are different stores", "[redis]") {
  const RedisServer server({}, RedisServer::Tcp::kYes);
  const auto zero = open_or_throw(options_for(server.url()));
  const auto three = open_or_throw(options_for(server.url() + "?db=3"));
  const auto three_by_tcp = open_or_throw(options_for(server.tcp_url() + "/3"));
  CHECK(run_one(*zero, increment_of("a", 5)).value == 5);
  CHECK(run_one(*three, increment_of("a", 7)).value == 7);
  CHECK(value_of(*three_by_tcp, "a") == 7);
  CHECK(value_of(*zero, "a") == 5);
  CHECK(contains(three->status().location, "database 3"));
}

TEST_CASE("a database that the server does not have is a wrong configuration", "[redis]") {
  const RedisServer server;
  const auto store = open_or_throw(options_for(server.url() + "?db=16"));
  check_error(probe_error(*store), Code::kConfig, "database");
}

// A node of a cluster of two, whose other one never answers. "{counterd}:" is in slot 5841.
TEST_CASE("a node of a cluster that has other keys is told from the one to name", "[redis]") {
  const TemporaryDirectory directory;
  const std::string nodes = directory / "nodes.conf";
  std::ofstream(nodes) << std::string(40, 'a') << " 127.0.0.1:0@0 myself,master - 0 0 1 connected "
                       << "0-5840\n"
                       << std::string(40, 'b') << " 127.0.0.1:1@1 master - 0 0 2 connected "
                       << "5841-16383\nvars currentEpoch 2 lastVoteEpoch 0\n";
  // The port that nodes talk by cannot be left out: on an address that is this process's own.
  const std::string own = "127." + std::to_string(1 + getpid() / 65'536 % 254) + "." +
                          std::to_string(getpid() / 256 % 256) + "." +
                          std::to_string(getpid() % 256);
  const RedisServer server({"--cluster-enabled", "yes", "--cluster-config-file", nodes,
                            "--cluster-node-timeout", "3600000", "--cluster-port", "7000", "--bind",
                            own});
  REQUIRE(becomes_true([&] {
    return contains(server.command({"CLUSTER", "INFO"}), "cluster_state:ok");
  }));
  StoreOptions options = options_for(server.url());
  options.redis_prefix = "{counterd}:";
  const auto store = open_or_throw(options);
  for (const Step& step : {increment_of("a"), report_of("a")}) {
    const Outcome outcome = run_one(*store, step);
    CHECK(outcome.code == Code::kUnavailable);
    CHECK(contains(outcome.detail, "name the node"));
    CHECK(contains(outcome.detail, "hash tag"));
  }
  CHECK(contains(probe_error(*store).message, "name the node"));
}

TEST_CASE("prefixes keep two stores of one database apart", "[redis]") {
  const RedisServer server;
  StoreOptions options = options_for(server.url());
  const auto first = open_or_throw(options);
  options.redis_prefix = "other:";
  const auto second = open_or_throw(options);
  run_one(*first, increment_of("a", 5));
  run_one(*second, increment_of("b", 7));
  CHECK_FALSE(value_of(*first, "b").has_value());
  CHECK_FALSE(value_of(*second, "a").has_value());
  const Result<ListPage> page = second->list({"", "", 10}, patiently());
  REQUIRE(page);
  REQUIRE(page->rows.size() == 1);
  CHECK(page->rows[0].name == "b");
  CHECK(server.command({"EXISTS", "counterd:c:a", "other:c:b"}) == "2");
}

TEST_CASE("status says what the server's settings make durable", "[redis]") {
  struct Case {
    std::vector<std::string> arguments;
    const char* phrase;
    bool durable;
  };
  const std::vector<std::string> always = {"--appendonly", "yes", "--appendfsync", "always"};
  const auto always_and = [&](const std::string& name, const std::string& value) {
    std::vector<std::string> arguments = always;
    arguments.insert(arguments.end(), {name, value});
    return arguments;
  };
  for (const Case& kind :
       {Case{{}, "appendonly no", false},
        Case{{"--appendonly", "yes"}, "appendfsync everysec", false},
        Case{{"--appendonly", "yes", "--appendfsync", "no"}, "appendfsync no", false},
        Case{always, "every change survives a crash of processes, system or power", true},
        Case{always_and("--no-appendfsync-on-rewrite", "yes"), "rewrite", false},
        Case{always_and("--maxmemory-policy", "volatile-ttl"),
             "full, counters with an end can be lost", false},
        Case{always_and("--maxmemory-policy", "allkeys-lru"), "full, counters can be lost",
             false}}) {
    CAPTURE(kind.phrase);
    const RedisServer server(kind.arguments);
    StoreOptions options = options_for(server.url());
    const auto store = open_or_throw(options);
    REQUIRE(store->probe(patiently()));
    CHECK(contains(store->status().durability, kind.phrase));
    const bool evicts = contains(kind.phrase, "full");
    CHECK(contains(store->status().durability, "sent again be counted twice") == evicts);

    options.require_durable = true;
    const auto strict = open_or_throw(options);
    const Result<void> probed = strict->probe(patiently());
    CHECK(probed.ok() == kind.durable);
    CHECK((run_one(*strict, increment_of("a")).code == Code::kOk) == kind.durable);
    if (probed) continue;
    check_error(probed.error(), Code::kConfig, kind.phrase);
    CHECK(contains(probed.error().message, "--require-durable"));
    CHECK(server.command({"EXISTS", "counterd:c:a"}) == "0");
  }
}

TEST_CASE("where CONFIG is denied the durability is unverified and not enough", "[redis]") {
  const RedisServer server({"--appendonly", "yes", "--appendfsync", "always"});
  server.command({"ACL", "SETUSER", "alice", "on", ">correct", "~*", "+@all", "-config"});
  StoreOptions options = options_with_login(server, "alice");
  const auto store = open_or_throw(options);
  REQUIRE(store->probe(patiently()));
  CHECK(contains(store->status().durability, "unverified"));
  CHECK(run_one(*store, increment_of("a")).value == 1);
  options.require_durable = true;
  CHECK(probe_error(*open_or_throw(options)).code == Code::kConfig);
}

TEST_CASE("a server that denies CONFIG in words of its own is used, its durability unverified",
          "[redis]") {
  const RedisServer server(
      {"--rename-command", "CONFIG", "", "--rename-command", "ECHO", "CONFIG"});
  REQUIRE(server.command({"CONFIG", "GET", "appendonly"}).starts_with("ERR wrong number"));
  const auto store = open_or_throw(options_for(server.url()));
  REQUIRE(store->probe(patiently()));
  CHECK(contains(store->status().durability, "unverified"));
  CHECK(run_one(*store, increment_of("a")).value == 1);
}

TEST_CASE("a store that loses its connection looks at the durability again", "[redis]") {
  const RedisServer server({"--appendonly", "yes", "--appendfsync", "always"});
  StoreOptions options = options_for(server.url());
  options.require_durable = true;
  const auto store = open_or_throw(options);
  REQUIRE(store->probe(patiently()));
  server.command({"CONFIG", "SET", "appendfsync", "everysec"});
  server.command({"CLIENT", "KILL", "TYPE", "normal"});
  CHECK(probe_error(*store).code == Code::kConfig);
}

TEST_CASE("a probe sees settings that have become less durable, and no change is made then",
          "[redis]") {
  const RedisServer server({"--appendonly", "yes", "--appendfsync", "always"});
  StoreOptions options = options_for(server.url());
  const auto store = open_or_throw(options);
  options.require_durable = true;
  const auto strict = open_or_throw(options);
  CHECK(run_one(*strict, increment_of("a")).value == 1);
  REQUIRE(store->probe(patiently()));
  server.command({"CONFIG", "SET", "appendfsync", "everysec"});
  CHECK(store->probe(patiently()));
  CHECK(contains(store->status().durability, "appendfsync everysec"));
  CHECK(probe_error(*strict).code == Code::kConfig);
  CHECK(run_one(*strict, increment_of("a")).code == Code::kUnavailable);
  server.command({"CONFIG", "SET", "appendfsync", "always"});
  CHECK(run_one(*strict, increment_of("a")).value == 2);
}

TEST_CASE("a replica that takes changes is not durable", "[redis]") {
  const RedisServer server({"--appendonly", "yes", "--appendfsync", "always"});
  StoreOptions options = options_for(server.url());
  const auto store = open_or_throw(options);
  options.require_durable = true;
  const auto strict = open_or_throw(options);
  server.command({"REPLICAOF", "127.0.0.1", "1"});
  CHECK(strict->probe(patiently()));  // it refuses changes itself, for as long as it is one
  server.command({"CONFIG", "SET", "replica-read-only", "no"});
  CHECK(store->probe(patiently()));
  CHECK(contains(store->status().durability, "replica-read-only no"));
  CHECK(contains(probe_error(*strict).message, "replica-read-only no"));
  CHECK(run_one(*strict, increment_of("a")).code == Code::kUnavailable);
  server.command({"REPLICAOF", "NO", "ONE"});
  CHECK(run_one(*strict, increment_of("a")).value == 1);
}

TEST_CASE("scripts are called what the server calls them", "[redis]") {
  const RedisServer server;
  CHECK(server.command({"SCRIPT", "LOAD", std::string(kApplyScript)}) == kApplyName);
  CHECK(server.command({"SCRIPT", "LOAD", std::string(kListScript)}) == kListName);
}

ON_REDIS("a server that forgot the scripts is given them again") {
  for (int i = 1; i <= 3; ++i) {
    CHECK(run_one(*store, increment_of("a")).value == i);
    CHECK(store->list({"", "", 10}, patiently())->rows.size() == 1);
    server.command({"SCRIPT", "FLUSH"});
  }
  CHECK(value_of(*store, "a") == 3);
}

TEST_CASE("a server that syncs every write loses nothing when it is killed between batches",
          "[redis]") {
  RedisServer server({"--appendonly", "yes", "--appendfsync", "always"});
  const auto store = open_or_throw(options_for(server.url()));
  for (int i = 1; i <= 3; ++i) {
    REQUIRE(run_one(*store, increment_of("a")).value == 2 * i - 1);
    server.kill();
    server.start();
    REQUIRE(run_one(*store, increment_of("a")).value == 2 * i);
  }
}

ON_REDIS("a connection that the server has closed meanwhile is made anew") {
  const auto close_it = [&] { server.command({"CLIENT", "KILL", "TYPE", "normal"}); };
  CHECK(run_one(*store, increment_of("a")).value == 1);
  close_it();
  CHECK(run_one(*store, increment_of("a")).value == 2);
  close_it();
  CHECK(run_one(*store, report_of("a")).value == 2);
  close_it();
  CHECK(store->list({"", "", 10}, patiently()).ok());
  close_it();
  CHECK(store->probe(patiently()).ok());
}

TEST_CASE("a server that comes back within the deadline is used without an error", "[redis]") {
  RedisServer server({"--appendonly", "yes", "--appendfsync", "always"});
  RedisProxy proxy(server);
  const auto store = open_or_throw(options_for(proxy.url()));
  REQUIRE(run_one(*store, increment_of("a")).value == 1);
  // The batch is cut off first, so that it is in the middle of its attempts when the server goes.
  proxy.arm(Fault::kCutBeforeRequest);
  Outcome outcome;
  std::thread other([&] { outcome = run_one(*store, increment_of("a")); });
  CHECK(proxy.wait_for_faults());
  server.restart();
  other.join();
  CHECK(outcome.code == Code::kOk);
  CHECK(outcome.value == 2);
  CHECK(value_of(*store, "a") == 2);
}

TEST_CASE("while the server is away batches fail at once, and later work by themselves",
          "[redis]") {
  RedisServer server({"--appendonly", "yes", "--appendfsync", "always"}, RedisServer::Tcp::kYes);
  server.stop();
  for (const std::string& url : {server.url(), server.tcp_url()}) {
    const auto store = open_or_throw(options_for(url));
    for (int i = 0; i < 3; ++i) {
      const milliseconds took = time_of([&] {
        const std::vector<Outcome> outcomes = run(*store, {increment_of("a"), report_of("a")});
        CHECK(outcomes[0].code == Code::kUnavailable);
        CHECK(outcomes[1].code == Code::kUnavailable);
        CHECK(contains(outcomes[0].detail, "Redis at "));
      });
      CHECK(took < milliseconds(1'000));
      CHECK(run_one(*store, report_of("a")).code == Code::kUnavailable);
      CHECK(store->list({"", "", 10}, patiently()).error().code == Code::kUnavailable);
      CHECK(probe_error(*store).code == Code::kUnavailable);
    }
    server.start();
    CHECK(run_one(*store, increment_of(url)).value == 1);
    CHECK(store->probe(patiently()).ok());
    server.stop();
  }
}

TEST_CASE("a server that goes away under an open store is never answered for", "[redis]") {
  RedisServer server({"--appendonly", "yes", "--appendfsync", "always"});
  const auto store = open_or_throw(options_for(server.url()));
  REQUIRE(run_one(*store, increment_of("a")).value == 1);
  server.stop();
  // The first batch meets the old connection, so it may be told to be unknown.
  const Code first = run_one(*store, increment_of("a"), after(milliseconds(200))).code;
  CHECK((first == Code::kUnavailable || first == Code::kUnknown));
  CHECK(run_one(*store, increment_of("a"), after(milliseconds(200))).code == Code::kUnavailable);
  server.start();
  CHECK(run_one(*store, increment_of("a")).value == 2);
}

BEHIND_PROXY("a server that is paused and goes on in time applies the batch once") {
  REQUIRE(run_one(*store, increment_of("a", 0)).value == 0);  // so that it is connected
  for (int i = 1; i <= 5; ++i) {
    proxy.arm(Fault::kTellWhenForwarded);
    server.pause();
    Outcome outcome;
    std::thread other([&] { outcome = run_one(*store, increment_of("a", kBeyondDoubles)); });
    CHECK(proxy.wait_for_faults());  // the batch waits in the server's socket
    server.resume();
    other.join();
    CHECK(outcome.code == Code::kOk);
    CHECK(outcome.value == i * kBeyondDoubles);
  }
}

ON_REDIS("a server that is paused beyond the deadline leaves the batch unknown, never doubled") {
  std::int64_t before = 0;
  for (int round = 0; round < 5; ++round) {
    REQUIRE(run_one(*store, increment_of("a")).value == before + 1);
    ++before;
    server.pause();
    Outcome outcome;
    const milliseconds took = time_of([&] {
      const std::vector<Outcome> outcomes =
          run(*store, {increment_of("a"), report_of("a")}, after(milliseconds(150)));
      outcome = outcomes[0];
      CHECK(outcomes[1].code == Code::kUnavailable);  // a report is never unknown
    });
    CHECK(outcome.code == Code::kUnknown);
    CHECK(took < milliseconds(1'150));
    // The next one finds no connection and gets none: nothing of it has gone out.
    CHECK(run_one(*store, increment_of("a"), after(milliseconds(50))).code == Code::kUnavailable);
    server.resume();
    const Outcome next = run_one(*store, increment_of("a"));
    REQUIRE(next.code == Code::kOk);
    CHECK(next.value >= before + 1);
    CHECK(next.value <= before + 2);  // the unknown one, once at most
    before = next.value;
    // A copy that was still on its way has been refused, or counted above.
    server.command({"PING"});
    CHECK(value_of(*store, "a") == before);
  }
}

TEST_CASE("a store's own timeout ends a batch before a later deadline", "[redis]") {
  const RedisServer server;
  const auto store = open_or_throw(options_for(server.url(), milliseconds(100)));
  REQUIRE(run_one(*store, increment_of("a")).value == 1);
  server.pause();
  const milliseconds took =
      time_of([&] { CHECK(run_one(*store, increment_of("a")).code == Code::kUnknown); });
  server.resume();
  CHECK(took < milliseconds(1'100));
}

BEHIND_PROXY("a batch whose connection is cut is answered and applied exactly once") {
  const RedisProxy::Fault fault =
      GENERATE(Fault::kCutBeforeRequest, Fault::kCutAfterRequest, Fault::kCutBeforeReply);
  CAPTURE(static_cast<int>(fault));
  std::int64_t expected = kBeyondDoubles;
  run_one(*store, reset_of("a", expected));
  for (int i = 1; i <= 20; ++i) {
    const int cuts = 1 + i % 3;
    proxy.arm(fault, cuts);
    const std::vector<Outcome> outcomes =
        run(*store, {increment_of("a"), increment_of("b"), reset_of("c", i), report_of("a"),
                     increment_of("made"), delete_of("made"), report_of("missing")});
    CHECK(proxy.faults_seen() == cuts);
    ++expected;
    REQUIRE(outcomes[0].code == Code::kOk);
    CHECK(outcomes[0].value == expected);
    CHECK(outcomes[1].value == i);
    CHECK(outcomes[2].value == i);
    CHECK(outcomes[2].previous.has_value() == (i > 1));
    CHECK(outcomes[2].previous.value_or(0) == i - 1);
    CHECK(outcomes[3].value == expected);
    CHECK(outcomes[4].value == 1);
    CHECK(outcomes[5].code == Code::kOk);
    CHECK(outcomes[6].code == Code::kMissing);
    CHECK(value_of(*store, "a") == expected);
  }
}

BEHIND_PROXY("a copy of a batch that was stuck on its way is not applied late") {
  REQUIRE(run_one(*store, increment_of("a")).value == 1);

  // It comes while its second copy is the latest batch: answered as that one was.
  proxy.arm(Fault::kHoldRequest);
  CHECK(run_one(*store, increment_of("a")).value == 2);
  const std::string again = proxy.release_held();
  CHECK(contains(again, "k 2 "));
  CHECK(value_of(*store, "a") == 2);

  // It comes after later batches: refused.
  proxy.arm(Fault::kHoldRequest);
  CHECK(run_one(*store, increment_of("a")).value == 3);
  CHECK(run_one(*store, increment_of("a")).value == 4);
  const std::string late = proxy.release_held();
  CHECK(late.starts_with("-STALE"));
  CHECK(value_of(*store, "a") == 4);
}

BEHIND_PROXY("a copy of a batch that was stuck on its way is not applied to a forgotten session") {
  REQUIRE(run_one(*store, increment_of("a")).value == 1);
  proxy.arm(Fault::kHoldRequest);
  CHECK(run_one(*store, increment_of("a")).value == 2);
  forget_session(server);
  SECTION("before the next batch") {}
  SECTION("nor after it") {
    CHECK(run_one(*store, increment_of("b")).value == 1);
  }
  CHECK(proxy.release_held().starts_with("-FORGOTTEN"));
  CHECK(value_of(*store, "a") == 2);
  CHECK(run_one(*store, increment_of("a")).value == 3);
}

BEHIND_PROXY("what made a session known, and was stuck on its way, does not make it known again") {
  REQUIRE(run_one(*store, increment_of("a")).value == 1);
  forget_session(server);
  proxy.arm(Fault::kHoldRequest, 1, "SET");
  REQUIRE(run_one(*store, increment_of("a")).value == 2);
  const std::string session = session_key(server);
  forget_session(server);
  REQUIRE(proxy.release_held() == "+OK\r\n");
  CHECK(server.command({"EXISTS", session}) == "0");
}

BEHIND_PROXY("what made a session known, and comes once more, does not set it back") {
  proxy.arm(Fault::kHoldCopy, 1, "SET");
  REQUIRE(run_one(*store, increment_of("a")).value == 1);
  const std::string session = session_key(server);
  const std::string before = server.command({"GET", session});
  proxy.release_held();
  CHECK(server.command({"GET", session}) == before);
}

BEHIND_PROXY("a batch given up as unknown is not applied after later ones") {
  REQUIRE(run_one(*store, increment_of("a")).value == 1);
  // Every copy of it is lost, the last one only stuck.
  proxy.arm(Fault::kHoldRequest, 1'000);
  CHECK(run_one(*store, increment_of("a"), after(milliseconds(100))).code == Code::kUnknown);
  proxy.arm(Fault::kNone, 0);
  CHECK(run_one(*store, increment_of("a")).value == 2);
  CHECK(proxy.release_held().starts_with("-STALE"));
  CHECK(value_of(*store, "a") == 2);
}

BEHIND_PROXY("a batch given up as unknown is not applied after its deadline") {
  const auto begun = steady_clock::now();
  REQUIRE(run_one(*store, increment_of("a")).value == 1);
  const auto took = steady_clock::now() - begun;
  proxy.arm(Fault::kHoldRequest, 1'000);
  const Deadline deadline = after(milliseconds(200));
  CHECK(run_one(*store, increment_of("a"), deadline).code == Code::kUnknown);
  proxy.arm(Fault::kNone, 0);
  std::this_thread::sleep_until(deadline + took + milliseconds(2));
  CHECK(proxy.release_held().starts_with("-LATE"));
  CHECK(value_of(*store, "a") == 1);
  CHECK(run_one(*store, increment_of("a")).value == 2);
}

ON_REDIS("a copy that a stopped server gets to when its key is forgotten is not applied") {
  const Step step = keyed(increment_of("a"), "key", milliseconds(300));
  REQUIRE(run_one(*store, step).value == 1);
  server.pause();
  CHECK(run_one(*store, step, after(milliseconds(100))).code == Code::kUnknown);
  std::this_thread::sleep_for(milliseconds(400));
  server.resume();
  CHECK(value_of(*open_or_throw(options_for(server.url())), "a") == 1);
  CHECK(run_one(*store, increment_of("a")).value == 2);
}

BEHIND_PROXY("a batch given up as unknown is not applied later, though its worker has been idle") {
  REQUIRE(run_one(*store, increment_of("a")).value == 1);
  const std::string session = session_key(server);
  proxy.arm(Fault::kHoldRequest, 1'000);
  CHECK(run_one(*store, increment_of("a"), after(milliseconds(200))).code == Code::kUnknown);
  proxy.arm(Fault::kNone, 0);
  // As if half an hour had gone by; the next batch makes a session known, and is refused.
  server.command({"PEXPIRE", session, "1800000"});
  server.command({"SET", "counterd:names", "text"});
  CHECK(run_one(*store, increment_of("b")).code == Code::kUnavailable);
  server.command({"DEL", "counterd:names"});
  CHECK(proxy.release_held().starts_with("-LATE"));
  CHECK(value_of(*store, "a") == 1);
}

BEHIND_PROXY("a batch given up as unknown is not applied late after one whose answer was lost") {
  const auto begun = steady_clock::now();
  REQUIRE(run_one(*store, increment_of("a")).value == 1);
  const auto took = steady_clock::now() - begun;
  std::this_thread::sleep_for(10 * took + std::chrono::seconds(1));
  // It is applied, and no answer comes.
  proxy.arm(Fault::kCutBeforeReply, 1'000);
  CHECK(run_one(*store, increment_of("a"), after(milliseconds(200))).code == Code::kUnknown);
  proxy.arm(Fault::kHoldRequest, 1'000);
  const Deadline deadline = after(milliseconds(200));
  CHECK(run_one(*store, increment_of("a"), deadline).code == Code::kUnknown);
  proxy.arm(Fault::kNone, 0);
  std::this_thread::sleep_until(deadline + took + milliseconds(2));
  CHECK(proxy.release_held().starts_with("-LATE"));
  CHECK(value_of(*store, "a") == 2);
}

BEHIND_PROXY("a batch whose first copy is lost is applied after one whose answer was slow") {
  proxy.arm(Fault::kComeLate);
  CHECK(run_one(*store, increment_of("a")).value == 1);
  proxy.arm(Fault::kHoldRequest);
  CHECK(run_one(*store, increment_of("a"), after(milliseconds(900))).value == 2);
}

ON_REDIS("a batch that is late by the server's clock alone is applied") {
  REQUIRE(run_one(*store, increment_of("a")).value == 1);
  // As if the clock were set forward.
  server.command({"PEXPIRE", session_key(server), "1800000"});
  CHECK(run_one(*store, increment_of("a")).value == 2);
}

BEHIND_PROXY("a batch of reports whose connection is cut is unavailable, and the next one works") {
  run_one(*store, increment_of("a", 5));
  for (int i = 0; i < 5; ++i) {
    proxy.arm(Fault::kCutBeforeReply);
    const Code code = run_one(*store, report_of("a")).code;
    CHECK((code == Code::kUnavailable || code == Code::kOk));
    proxy.arm(Fault::kNone, 0);
    CHECK(value_of(*store, "a") == 5);
  }
}

TEST_CASE("two stores whose connections are cut again and again lose and double nothing",
          "[redis]") {
  constexpr int kBatches = 150;
  const RedisServer server;
  RedisProxy proxy(server);
  std::atomic<bool> stop{false};
  std::atomic<int> failures{0};
  std::atomic<int> batches{0};
  std::vector<std::thread> threads;
  for (int number = 0; number < 2; ++number) {
    threads.emplace_back([&] {
      try {
        const auto store = open_or_throw(options_for(proxy.url()));
        for (int i = 0; i < kBatches; ++i) {
          for (const Outcome& outcome :
               run(*store, {increment_of("a", kBeyondDoubles), increment_of("b")})) {
            if (outcome.code != Code::kOk) ++failures;
          }
          ++batches;
        }
      } catch (...) {
        ++failures;
      }
    });
  }
  std::thread vandal([&] {
    constexpr std::array kFaults = {Fault::kCutAfterRequest, Fault::kCutBeforeReply,
                                    Fault::kCutBeforeRequest};
    for (std::size_t i = 0; !stop; ++i) {
      const int before = batches;
      proxy.arm(kFaults[i % kFaults.size()]);
      // Not every attempt, or no batch would ever be through.
      while (!stop && (proxy.faults_seen() == 0 || batches == before)) {
        std::this_thread::sleep_for(std::chrono::microseconds(100));
      }
    }
  });
  for (std::thread& thread : threads) thread.join();
  stop = true;
  vandal.join();
  CHECK(failures == 0);
  const auto store = open_or_throw(options_for(server.url()));
  CHECK(value_of(*store, "b") == 2 * kBatches);
  CHECK(value_of(*store, "a") == 2 * kBatches * kBeyondDoubles);
}

ON_REDIS("a key of another type in a counter's place fails what asks for it, and nothing else") {
  server.command({"SET", "counterd:c:bad", "text"});
  const std::vector<Outcome> outcomes =
      run(*store, {increment_of("good"), increment_of("bad"), delete_of("bad"), reset_of("bad", 1),
                   increment_of("good")});
  CHECK(outcomes[0].value == 1);
  for (const Outcome& outcome : {outcomes[1], outcomes[2], outcomes[3]}) {
    CHECK(outcome.code == Code::kUnavailable);
    CHECK(contains(outcome.detail, "no 64-bit number"));
    CHECK(contains(outcome.detail, "counter bad"));
  }
  CHECK(outcomes[4].value == 2);
  CHECK(server.command({"GET", "counterd:c:bad"}) == "text");
  CHECK(run_one(*store, report_of("bad")).code == Code::kUnavailable);
}

ON_REDIS("a batch of a client fails as a whole if one of its counters is none, and keeps no key") {
  server.command({"SET", "counterd:c:bad", "text"});
  const std::vector<Step> members = {increment_of("good"), increment_of("bad")};
  for (const Step& group : {keyed(each_of(members), "key"), all_of(members)}) {
    const std::vector<Outcome> outcomes = run(*store, {increment_of("other"), group});
    CHECK(outcomes[0].code == Code::kOk);
    CHECK(outcomes[1].code == Code::kUnavailable);
    CHECK(contains(outcomes[1].detail, "one of the batch's counters"));
    CHECK_FALSE(value_of(*store, "good").has_value());
  }
  // Without a key, and not atomic, it is nothing but its members.
  const Outcome apart = run_one(*store, each_of(members));
  CHECK(apart.members.at(0).value == 1);
  CHECK(apart.members.at(1).code == Code::kUnavailable);
  CHECK(contains(apart.members[1].detail, "counter bad"));
  server.command({"DEL", "counterd:c:bad"});
  const Outcome again = run_one(*store, keyed(each_of(members), "key"));
  CHECK_FALSE(again.replayed);
  CHECK(again.members.at(0).value == 2);
}

ON_REDIS("a list says which of its counters is none") {
  run(*store, {increment_of("a"), increment_of("bad"), increment_of("c")});
  server.command({"HSET", "counterd:c:bad", "v", "1.5"});
  const Result<ListPage> of_value = store->list({"", "", 10}, patiently());
  REQUIRE_FALSE(of_value);
  CHECK(contains(of_value.error().message, "counter bad"));
  server.command({"SET", "counterd:c:bad", "1"});
  const Result<ListPage> of_type = store->list({"", "", 10}, patiently());
  REQUIRE_FALSE(of_type);
  CHECK(contains(of_type.error().message, "counter bad"));
}

ON_REDIS("a list of names in another type's key fails the batch and changes nothing") {
  run(*store, {increment_of("a"), increment_of("b")});
  server.command({"SET", "counterd:names", "text"});
  CHECK(run_one(*store, increment_of("fresh")).code == Code::kUnavailable);
  CHECK(server.command({"EXISTS", "counterd:c:fresh"}) == "0");
  // Also where a write comes before the one that the list would refuse.
  for (const Outcome& outcome : run(*store, {increment_of("a"), delete_of("b")})) {
    CHECK(outcome.code == Code::kUnavailable);
  }
  CHECK(server.command({"HGET", "counterd:c:a", "v"}) == "1");
  CHECK(store->list({"", "", 10}, patiently()).error().code == Code::kUnavailable);
}

ON_REDIS("a stored value that is no counter's fails what asks for it, and nothing else") {
  const std::string value =
      GENERATE("abc", "", "1.5", "1e3", " 1", "1 ", "+1", "0x10", "--1", "-", "nan",
               "9223372036854775808", "-9223372036854775809", "99999999999999999999999");
  CAPTURE(value);
  server.command({"HSET", "counterd:c:bad", "v", value, "c", "1", "u", "1"});
  const std::vector<Outcome> outcomes =
      run(*store, {increment_of("good"), increment_of("bad"), report_of("good")});
  CHECK(outcomes[0].code == Code::kOk);
  CHECK(outcomes[1].code == Code::kUnavailable);
  CHECK(contains(outcomes[1].detail, "no 64-bit number"));
  CHECK(outcomes[2].value == 1);
  CHECK(server.command({"HGET", "counterd:c:bad", "v"}) == value);
  CHECK(run_one(*store, report_of("bad")).code == Code::kUnavailable);
}

ON_REDIS("a value that people wrote in another form is the number that it means") {
  const std::int64_t big = std::int64_t{1} << 60;
  for (const auto& [text, value] :
       {std::pair("007", 7), std::pair("-007", -7), std::pair("-0", 0), std::pair("000", 0)}) {
    CAPTURE(text);
    const auto write = [&, text = text] { server.command({"HSET", "counterd:c:a", "v", text}); };
    write();
    CHECK(run_one(*store, increment_of("a", big)).value == value + big);
    write();
    const Outcome clamped = run_one(*store, within(increment_of("a", big), {}, 4 * big, true));
    CHECK(clamped.value == value + big);
    CHECK(clamped.previous == value);
    write();
    const std::vector<Outcome> alike =
        run(*store, {within(increment_of("a", big), 0, {}), within(increment_of("a", big), 0, {})});
    CHECK(alike[0].value == value + big);
    CHECK(alike[1].value == value + 2 * big);
  }
}

TEST_CASE("a check writes nothing, however large its numbers", "[redis]") {
  const RedisServer server({"--maxmemory-policy", "noeviction"});
  const auto store = open_or_throw(options_for(server.url()));
  run_one(*store, increment_of("a", kBeyondDoubles));
  server.command({"CONFIG", "SET", "maxmemory", "1"});
  const auto check = [&](std::int64_t by) {
    return run_one(*store, checking(within(increment_of("a", by), {}, kBeyondDoubles + 5))).code;
  };
  CHECK(check(5) == Code::kOk);
  CHECK(check(6) == Code::kBeyondBound);
}

// What the server refuses was not applied, whether it refuses all commands or only writes.
void check_refused(Store& store, const std::string& reason) {
  const std::vector<Outcome> outcomes =
      run(store, {increment_of("a"), keyed(increment_of("b"), "key"), delete_of("a")});
  for (const Outcome& outcome : outcomes) {
    CHECK(outcome.code == Code::kUnavailable);
    CHECK(contains(outcome.detail, reason));
  }
}

ON_REDIS("a replica refuses changes whole, and reports are read from it") {
  REQUIRE(run_one(*store, increment_of("a", 5)).value == 5);
  server.command({"REPLICAOF", "127.0.0.1", "1"});
  check_refused(*store, "READONLY");
  CHECK(value_of(*store, "a") == 5);
  // Without the master's data it answers nothing at all, also not to who comes anew.
  server.command({"CONFIG", "SET", "replica-serve-stale-data", "no"});
  check_refused(*store, "MASTERDOWN");
  CHECK(run_one(*store, report_of("a")).code == Code::kUnavailable);
  const auto late = open_or_throw(options_for(server.url()));
  CHECK(contains(probe_error(*late).message, "MASTERDOWN"));
  check_refused(*late, "MASTERDOWN");
  server.command({"REPLICAOF", "NO", "ONE"});
  CHECK(run_one(*store, increment_of("a")).value == 6);
  CHECK(run_one(*late, keyed(increment_of("b"), "key")).value == 1);
}

TEST_CASE("a server that cannot save refuses changes whole", "[redis]") {
  const RedisServer server({"--save", "3600 1"});
  const auto store = open_or_throw(options_for(server.url()));
  REQUIRE(run_one(*store, increment_of("a", 5)).value == 5);
  // A folder in the place of the file: saving fails from now on.
  std::filesystem::create_directories(server.directory() / "dump.rdb/file");
  server.command({"BGSAVE"});
  REQUIRE(becomes_true([&] {
    return contains(server.command({"INFO", "persistence"}), "rdb_last_bgsave_status:err");
  }));
  check_refused(*store, "MISCONF");
  CHECK(value_of(*store, "a") == 5);
  CHECK(store->probe(patiently()));
  const auto late = open_or_throw(options_for(server.url()));
  CHECK(late->probe(patiently()));
  CHECK(value_of(*late, "a") == 5);
  check_refused(*late, "MISCONF");
  std::filesystem::remove_all(server.directory() / "dump.rdb");
  server.command({"CONFIG", "SET", "stop-writes-on-bgsave-error", "no"});
  CHECK(run_one(*store, increment_of("a")).value == 6);
}

TEST_CASE("a server that is busy with a script of others refuses batches whole", "[redis]") {
  const RedisServer server({"--busy-reply-threshold", "10"});
  const auto store = open_or_throw(options_for(server.url()));
  REQUIRE(run_one(*store, increment_of("a", 5)).value == 5);
  // Ends by itself, if nobody ends it.
  std::jthread other([&] { server.command({"EVAL", "for i = 1, 300000000 do end", "0"}); });
  const bool busy = becomes_true([&] { return contains(server.command({"PING"}), "BUSY"); });
  if (busy) {
    check_refused(*store, "BUSY");
    check_refused(*open_or_throw(options_for(server.url())), "BUSY");
  }
  server.command({"SCRIPT", "KILL"});
  other.join();
  REQUIRE(busy);
  CHECK(run_one(*store, increment_of("a")).value == 6);
}

TEST_CASE("a batch whose script is killed was not applied", "[redis]") {
  const RedisServer server({"--busy-reply-threshold", "1"});
  const auto store = open_or_throw(options_for(server.url()));
  std::vector<Step> batch = increments_of_many(20'000, "c");
  std::jthread killer([&](const std::stop_token& over) {
    while (!over.stop_requested()) server.command({"SCRIPT", "KILL"});
  });
  int applied = 0;
  int killed = 0;
  const Deadline end = after(std::chrono::seconds(20));
  while ((killed == 0 || applied == 0) && steady_clock::now() < end) {
    if (killed > 0) killer.request_stop();
    run_batch(*store, batch, patiently());
    const Outcome& outcome = batch.front().outcome;
    if (outcome.code == Code::kOk) {
      ++applied;
      continue;
    }
    REQUIRE(outcome.code == Code::kUnavailable);
    CHECK(contains(outcome.detail, "killed"));
    ++killed;
  }
  CHECK(killed > 0);
  REQUIRE(applied > 0);
  CHECK(value_of(*store, "c0") == applied);
  CHECK(value_of(*store, "c19999") == applied);
}

TEST_CASE("a server that loads its data is waited for by asking again", "[redis]") {
  const RedisServer server({"--enable-debug-command", "yes"});
  const auto store = open_or_throw(options_for(server.url()));
  run(*store, increments_of_many(300, "c"));
  REQUIRE(run_one(*store, increment_of("a", 5)).value == 5);
  server.command({"CONFIG", "SET", "loading-process-events-interval-bytes", "1024"});
  server.command({"CONFIG", "SET", "key-load-delay", "1000"});
  std::jthread reload([&] { server.command({"DEBUG", "RELOAD"}); });
  const bool loading = becomes_true([&] { return contains(server.command({"PING"}), "LOADING"); });
  if (loading) {
    check_refused(*store, "LOADING");
    CHECK(contains(probe_error(*open_or_throw(options_for(server.url()))).message, "LOADING"));
  }
  reload.join();
  REQUIRE(loading);
  CHECK(run_one(*store, increment_of("a")).value == 6);
}

TEST_CASE("a server without memory to spare refuses the batch whole", "[redis]") {
  const RedisServer server({"--maxmemory-policy", "noeviction"});
  const auto store = open_or_throw(options_for(server.url()));
  run_one(*store, increment_of("a", kBeyondDoubles));
  server.command({"CONFIG", "SET", "maxmemory", "1"});
  for (const std::int64_t by : {std::int64_t{1}, -kBeyondDoubles}) {
    const std::vector<Outcome> outcomes =
        run(*store, {increment_of("b"), report_of("a"), increment_of("a", by)});
    CHECK(outcomes[0].code == Code::kUnavailable);
    CHECK(outcomes[1].value == kBeyondDoubles);  // reports go on
    CHECK(outcomes[2].code == Code::kUnavailable);
    CHECK(contains(outcomes[0].detail, "OOM"));
  }
  server.command({"CONFIG", "SET", "maxmemory", "0"});
  CHECK(value_of(*store, "a") == kBeyondDoubles);
  CHECK_FALSE(value_of(*store, "b").has_value());
  CHECK(run_one(*store, increment_of("a")).value == kBeyondDoubles + 1);
}

TEST_CASE("a store that is closed in good order leaves no key but its counters'", "[redis]") {
  const RedisServer server;
  {
    const auto store = open_or_throw(options_for(server.url()));
    run(*store, {increment_of("a"), increment_of("b", kBeyondDoubles)});
    run(*store, {increment_of("b", kBeyondDoubles), delete_of("a"), report_of("b")});
    CHECK_FALSE(session_key(server).empty());
  }
  CHECK(session_key(server).empty());
  CHECK(server.command({"EXISTS", "counterd:c:b", "counterd:names"}) == "2");
  CHECK(server.command({"DBSIZE"}) == "2");
}

ON_REDIS("reports leave no key") {
  run(*store, {report_of("a"), report_of("b")});
  CHECK(server.command({"DBSIZE"}) == "0");
}

ON_REDIS("counters that end while their batch is applied leave nothing behind") {
  run(*store, many(900, [](const std::string& number) {
    return ending_in(milliseconds(1), increment_of("c" + number));
  }));
  CHECK(becomes_true([&] { return server.command({"KEYS", "counterd:c:*"}).empty(); }));
}

ON_REDIS("one key for a session is all that batches leave, and it expires") {
  for (int i = 0; i < 50; ++i) run_one(*store, increment_of("a"));
  const std::string key = session_key(server);
  REQUIRE(key.starts_with("counterd:s:"));
  CHECK_FALSE(contains(key, "\n"));
  const long lifetime_ms = std::stol(server.command({"PTTL", key}));
  CHECK(lifetime_ms > 0);
  CHECK(lifetime_ms <= 3'600'000);
}

TEST_CASE("a copy of a batch that was stuck on its way is not applied after its store is closed",
          "[redis]") {
  const RedisServer server;
  RedisProxy proxy(server);
  {
    const auto store = open_or_throw(options_for(proxy.url()));
    proxy.arm(Fault::kHoldRequest);
    REQUIRE(run_one(*store, increment_of("a")).value == 1);
  }
  CHECK(proxy.release_held().starts_with("-FORGOTTEN"));
  CHECK(server.command({"HGET", "counterd:c:a", "v"}) == "1");
}

BEHIND_PROXY("a session that was forgotten is made known again") {
  CHECK(increment_without_answer([&] { forget_session(server); }).code == Code::kUnknown);
  SECTION("for the copies of the next batch") {
    proxy.arm(Fault::kCutBeforeRequest);
    CHECK(run_one(*store, increment_of("a")).value == 2);
  }
  SECTION("but not for those of the one before") {
    proxy.arm(Fault::kSwallow, 1'000);
    CHECK(run_one(*store, increment_of("a"), after(milliseconds(300))).code == Code::kUnknown);
    CHECK(server.command({"GET", session_key(server)}) == "1\n");
    proxy.arm(Fault::kNone);
  }
}

BEHIND_PROXY("a batch is unknown whose first copy was applied and whose next ones are refused") {
  const Outcome outcome = increment_without_answer(
      [&] {
        server.command({"ACL", "SETUSER", "default", "-evalsha"});
      },
      after(milliseconds(1'000)));
  server.command({"ACL", "SETUSER", "default", "+evalsha"});
  INFO(outcome.detail);
  CHECK(outcome.code == Code::kUnknown);
  CHECK(contains(outcome.detail, "NOPERM"));
  CHECK(run_one(*store, increment_of("a")).value == 2);
}

TEST_CASE("a batch that was given up as unknown is not applied after its store is closed",
          "[redis]") {
  const RedisServer server;
  RedisProxy proxy(server);
  {
    const auto store = open_or_throw(options_for(proxy.url()));
    REQUIRE(run_one(*store, increment_of("a")).value == 1);
    proxy.arm(Fault::kHoldRequest, 1'000);
    REQUIRE(run_one(*store, increment_of("a"), after(milliseconds(100))).code == Code::kUnknown);
    proxy.arm(Fault::kNone, 0);
    REQUIRE(run_one(*store, increment_of("a")).value == 2);
  }
  CHECK(proxy.release_held().starts_with("-FORGOTTEN"));
  CHECK(server.command({"HGET", "counterd:c:a", "v"}) == "2");
}

}  // namespace counterd
