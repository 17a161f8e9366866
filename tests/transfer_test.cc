// Atomic batches on real processes: amounts move between counters, and nobody ever sees one that is
// on its way, lost or twice there, whatever dies.
#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <random>
#include <thread>

#include "tests/catch.h"
#include "tests/daemon_process.h"
#include "tests/http_socket.h"
#include "tests/redis_server.h"

namespace counterd {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int kCounters = 50;
constexpr int kMovers = 32;
constexpr int kReaders = 2;
constexpr std::int64_t kHeld = 100;  // by each counter at first

// COUNTERD_TEST_SECONDS makes it longer.
milliseconds duration() {
  const char* given = std::getenv("COUNTERD_TEST_SECONDS");
  return milliseconds(given != nullptr ? 1'000 * std::strtol(given, nullptr, 10) : 2'000);
}

std::string batch(const std::string& operations, const std::string& key = {}) {
  return request("POST", "/v1/batch", operations,
                 "Content-Type: application/json\r\n" +
                     (key.empty() ? "" : "Idempotency-Key: " + key + "\r\n"));
}

std::string operation(int counter, const std::string& what) {
  return R"({"name":"t)" + std::to_string(counter) + R"(",)" + what + "}";
}

std::string move_of(int from, int to, std::int64_t amount) {
  return R"({"atomic":true,"operations":[)" +
         operation(to, R"("op":"increment","by":)" + std::to_string(amount)) + "," +
         operation(from, R"("op":"increment","min":0,"by":)" + std::to_string(-amount)) + "]}";
}

std::string all_counters(const std::string& what) {
  std::string operations;
  for (int i = 0; i < kCounters; ++i) operations += operation(i, what) + ",";
  operations.back() = ']';
  return R"({"operations":[)" + operations + "}";
}

std::vector<std::int64_t> values_in(std::string_view body) {
  constexpr std::string_view kValue = "\"value\":";
  std::vector<std::int64_t> values;
  for (std::size_t at = body.find(kValue); at != body.npos; at = body.find(kValue, at + 1)) {
    std::from_chars(&body[at + kValue.size()], body.data() + body.size(), values.emplace_back());
  }
  return values;
}

struct Counts {
  std::atomic<long> moved{0}, refused{0}, lost{0}, other{0}, seen{0}, wrong{0};
};

// Moves by chance. A move whose answer was lost is asked for again under its key, half of them.
void move_on(const Endpoint& endpoint, unsigned seed, const std::atomic<bool>& more,
             Counts& counts) {
  std::mt19937 random(seed);
  std::optional<HttpSocket> client;
  std::string again;
  for (long number = 0; more; ++number) {
    if (!client) client.emplace(endpoint);
    if (again.empty()) {
      const std::string move =
          move_of(static_cast<int>(random() % kCounters), static_cast<int>(random() % kCounters),
                  1 + static_cast<std::int64_t>(random() % 60));
      const std::string key = std::to_string(seed) + "-" + std::to_string(number);
      again = batch(move, random() % 2 == 0 ? key : "");
    }
    const auto reply = client->ask(again);
    const bool has_key = again.find("Idempotency-Key") != again.npos;
    const bool is_unknown = !reply || reply->status == 503;
    if (!is_unknown || !has_key) again.clear();
    if (!reply) client.reset();
    ++(is_unknown             ? counts.lost
       : reply->status == 200 ? counts.moved
       : reply->status == 409 ? counts.refused
                              : counts.other);
  }
}

void look_on(const Endpoint& endpoint, const std::atomic<bool>& more, Counts& counts) {
  std::optional<HttpSocket> client;
  const std::string reports = batch(all_counters(R"("op":"report")"));
  while (more) {
    if (!client) client.emplace(endpoint);
    const auto reply = client->ask(reports);
    if (!reply || reply->status != 200) {
      client.reset();
      continue;
    }
    std::int64_t sum = 0;
    bool below = false;
    const std::vector<std::int64_t> values = values_in(reply->body);
    for (const std::int64_t value : values) {
      sum += value;
      below = below || value < 0;
    }
    ++counts.seen;
    if (values.size() != kCounters || sum != kCounters * kHeld || below) ++counts.wrong;
  }
}

void kill_workers(const DaemonProcess& daemon, const std::atomic<bool>& more) {
  for (std::size_t i = 0; more; ++i) {
    std::this_thread::sleep_for(milliseconds(100));
    const std::vector<pid_t> workers = daemon.worker_pids();
    if (!workers.empty()) kill(workers[i % workers.size()], SIGKILL);
  }
}

void transfers_keep_the_sum(const DaemonProcess& daemon) {
  {
    HttpSocket client(daemon.endpoint());
    const auto made =
        client.ask(batch(all_counters(R"("op":"reset","to":)" + std::to_string(kHeld))));
    REQUIRE(made);
    REQUIRE(made->status == 200);
  }
  Counts counts;
  std::atomic<bool> more = true;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kMovers; ++i) {
    threads.emplace_back([&, i] { move_on(daemon.endpoint(), i, more, counts); });
  }
  for (int i = 0; i < kReaders; ++i) {
    threads.emplace_back([&] { look_on(daemon.endpoint(), more, counts); });
  }
  threads.emplace_back([&] { kill_workers(daemon, more); });
  std::this_thread::sleep_for(duration());
  more = false;
  for (std::thread& thread : threads) thread.join();
  CAPTURE(counts.moved, counts.refused, counts.lost, counts.other, counts.seen);
  CHECK(counts.wrong == 0);
  CHECK(counts.other == 0);
  CHECK(counts.moved > 100);
  CHECK(counts.refused > 0);
  CHECK(counts.lost > 0);
  CHECK(counts.seen > 10);
  if (std::getenv("COUNTERD_TEST_SECONDS") != nullptr) {
    WARN("moved " << counts.moved << ", refused " << counts.refused << ", lost " << counts.lost
                  << ", other " << counts.other << ", looked " << counts.seen << ", wrong "
                  << counts.wrong);
  }
}

TEST_CASE("atomic transfers keep the sum and every bound while workers are killed, on sqlite") {
  transfers_keep_the_sum(DaemonProcess({"--workers", "4"}));
}

TEST_CASE("atomic transfers keep the sum and every bound while workers are killed, on redis") {
  const RedisServer redis;
  transfers_keep_the_sum(DaemonProcess({"--workers", "4", "--store", redis.url()}));
}

}  // namespace
}  // namespace counterd
