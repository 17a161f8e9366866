// The server as a client on the wire sees it: a real daemon, raw bytes.
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>
#include <thread>
#include <vector>

#include "common/limits.h"
#include "common/unique_fd.h"
#include "tests/catch.h"
#include "tests/daemon_process.h"
#include "tests/http_socket.h"
#include "tests/redis_server.h"
#include "tests/steps.h"

namespace counterd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

std::string increment(const std::string& fields = {}) {
  return request("POST", "/v1/counters/a/increment", {}, fields);
}

// By 4, with a body of 4 bytes that waits for 100.
std::string expecting_increment() {
  return request("POST", "/v1/counters/a/increment", "by=4",
                 "Expect: 100-continue\r\nContent-Type: application/x-www-form-urlencoded\r\n");
}

// As long as one may be; no batch, once all of it is there.
std::string largest_request() {
  return request("POST", "/v1/batch", std::string(kMaxBodyBytes, ' '),
                 "Content-Type: application/json\r\n");
}

std::string value_of_a(const DaemonProcess& daemon) {
  HttpSocket client(daemon.endpoint());
  const auto reply = client.ask(request("GET", "/v1/counters/a", {}, "Accept: text/plain\r\n"));
  return reply ? reply->body : "no reply";
}

// A sanitizer's own memory stands beside the program's and says nothing about it.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kMemoryIsOurs = false;
#else
constexpr bool kMemoryIsOurs = true;
#endif

// A number in /proc/PID/status; `field` is its name with the colon.
long status_of(pid_t pid, std::string_view field) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field)) return std::stol(line.substr(field.size()));
  }
  return 0;
}

// Resident memory in KiB.
long resident(pid_t pid) {
  return status_of(pid, "VmRSS:");
}

// Of the processor, in hundredths of a second.
long ticks_of(pid_t pid) {
  const std::string text = contents_of("/proc/" + std::to_string(pid) + "/stat");
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::vector<std::string> words((std::istream_iterator<std::string>(fields)), {});
  return std::stol(words.at(11)) + std::stol(words.at(12));
}

long threads_of(pid_t pid) {
  return status_of(pid, "Threads:");
}

// Whether a daemon that has got SIGTERM ends, and no worker has to be killed for it.
bool ends_in_good_order(DaemonProcess& daemon) {
  return daemon.wait_for_end() == 0 &&
         daemon.log().find("has not ended in time") == std::string::npos;
}

// What most tests need: a daemon with one worker, and a client of it.
struct OneWorker {
  const DaemonProcess daemon{{"--workers", "1"}};
  HttpSocket client{daemon.endpoint()};
};
#define WITH_ONE_WORKER(name) TEST_CASE_METHOD(OneWorker, name)

// Keeps the daemon's workers from applying anything, as long as it lives.
class HeldDatabase {
 public:
  explicit HeldDatabase(const DaemonProcess& daemon)
      : database_(open((daemon.directory() / "counters.db").c_str(), O_RDONLY | O_CLOEXEC)) {
    REQUIRE(flock(database_.get(), LOCK_EX) == 0);
  }
  void let_go() { database_.reset(); }

 private:
  UniqueFd database_;
};

WITH_ONE_WORKER("requests in one write are answered in their order, on one connection") {
  std::string bytes;
  for (int i = 0; i < 500; ++i) bytes += increment() + request("GET", "/livez");
  REQUIRE(client.send(bytes));
  for (int i = 1; i <= 500; ++i) {
    const auto counted = client.receive();
    REQUIRE(counted);
    CHECK(counted->body == "{\"name\":\"a\",\"value\":" + std::to_string(i) + ",\"applied\":1}\n");
    const auto live = client.receive();
    REQUIRE(live);
    CHECK(live->body == "{\"live\":true}\n");
  }
}

WITH_ONE_WORKER("a pipeline sees its own changes") {
  REQUIRE(client.send(increment() + request("GET", "/v1/counters") +
                      request("DELETE", "/v1/counters/a") + request("GET", "/v1/counters/a")));
  CHECK(client.receive()->status == 200);
  CHECK(client.receive()->body == "{\"counters\":[{\"name\":\"a\",\"value\":1}],\"next\":null}\n");
  CHECK(client.receive()->status == 200);
  CHECK(client.receive()->status == 404);
}

WITH_ONE_WORKER("a pipeline sees its own changes also after an answer that it had to wait for") {
  const std::string batch =
      request("POST", "/v1/batch", R"({"operations":[{"op":"increment","name":"b"}]})",
              "Content-Type: application/json\r\n");
  REQUIRE(client.send(batch + increment() + request("GET", "/v1/counters")));
  CHECK(client.receive()->status == 200);
  CHECK(client.receive()->status == 200);
  CHECK(
      client.receive()->body ==
      "{\"counters\":[{\"name\":\"a\",\"value\":1},{\"name\":\"b\",\"value\":1}],\"next\":null}\n");
}

WITH_ONE_WORKER("batches in one write are answered in their order, whole") {
  std::string operations;
  for (int i = 0; i < 500; ++i) operations += R"({"op":"increment","name":"a"},)";
  const std::string body =
      R"({"operations":[)" + operations + R"({"op":"delete","name":"missing"}]})";
  const std::string batch =
      request("POST", "/v1/batch", body, "Content-Type: application/json\r\n");
  REQUIRE(client.send(batch + increment() + batch));
  const auto first = client.receive();
  REQUIRE(first);
  CHECK(first->status == 200);
  CHECK(first->body.starts_with(R"({"outcomes":[{"name":"a","value":1,"applied":1},)"));
  CHECK(first->body.find(R"("value":500,)") != std::string::npos);
  CHECK(first->body.ends_with(R"("detail":"counter missing does not exist"}]})"
                              "\n"));
  const auto single = client.receive();
  REQUIRE(single);
  CHECK(single->body == "{\"name\":\"a\",\"value\":501,\"applied\":1}\n");
  const auto second = client.receive();
  REQUIRE(second);
  CHECK(second->body.starts_with(R"({"outcomes":[{"name":"a","value":502,"applied":1},)"));
  CHECK(value_of_a(daemon) == "1001\n");
}

WITH_ONE_WORKER("an empty line before a request, as after a body, is no request") {
  REQUIRE(client.send("\r\n" + increment() + "\r\n" + increment() + "\r"));
  REQUIRE(client.receive());
  REQUIRE(client.receive());
  REQUIRE(client.send("\n" + increment()));
  const auto last = client.receive();
  REQUIRE(last);
  CHECK(last->status == 200);
  CHECK(!last->closes());
  CHECK(value_of_a(daemon) == "3\n");
}

WITH_ONE_WORKER("a request may come in any pieces") {
  const std::string bytes = request("POST", "/v1/counters/a/increment", R"({"by":5})",
                                    "Content-Type: application/json\r\n");
  for (const char byte : bytes) REQUIRE(client.send({&byte, 1}));
  CHECK(client.receive()->status == 200);
  for (const char byte : bytes + bytes) REQUIRE(client.send({&byte, 1}));
  CHECK(client.receive()->body.find("\"value\":10") != std::string::npos);
  CHECK(client.receive()->body.find("\"value\":15") != std::string::npos);
}

TEST_CASE("a refused request gets its error, then the end of the connection, and changes nothing") {
  const DaemonProcess daemon({"--workers", "1"});
  struct Bad {
    std::string bytes;
    int status;
  };
  const std::string line = "POST /v1/counters/a/increment HTTP/1.1\r\nHost: localhost\r\n";
  const std::vector<Bad> all = {
      {line + "Transfer-Encoding: chunked\r\n\r\n5\r\nby=10\r\n0\r\n\r\n", 411},
      {line + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nby=10", 400},
      {line + "Content-Length: x\r\n\r\n", 400},
      {"POST /v1/counters/a/increment HTTP/1.1\r\n\r\n", 400},
      {line + "Host: localhost\r\n\r\n", 400},
      {line + "A: b\nC: d\r\n\r\n", 400},
      {line + "A: b\rC\r\n\r\n", 400},
      {line + std::string("A: \0\r\n\r\n", 8), 400},
      {line + "A : b\r\n\r\n", 400},
      {line + "A: b\r\n c\r\n\r\n", 400},
      {line + "Content-Encoding: gzip\r\n\r\n", 415},
      {line + "Content-Type: multipart/form-data; boundary=" + std::string(8'000, 'x') + "\r\n\r\n",
       415},
      {line + "Expect: 200-ok\r\n\r\n", 417},
      {line + "Content-Length: 1048577\r\n\r\n" + std::string(200'000, 'x'), 413},
      {"POST /v1/counters/a/increment?" + std::string(16 * 1024, 'x') + " HTTP/1.1\r\n", 414},
      {line + "A: " + std::string(17 * 1024, 'x') + "\r\n\r\n", 431},
      {"POST /v1/counters/a/increment HTTP/3.0\r\nHost: localhost\r\n\r\n", 505},
  };
  for (const Bad& bad : all) {
    INFO(bad.bytes.substr(0, 100));
    HttpSocket client(daemon.endpoint());
    REQUIRE(client.send(bad.bytes));
    const auto reply = client.receive();
    REQUIRE(reply);
    CHECK(reply->status == bad.status);
    CHECK(reply->closes());
    CHECK(reply->fields.at("content-type") == "application/problem+json");
    CHECK(client.ends());
  }
  CHECK(value_of_a(daemon).find("\"status\":404") != std::string::npos);
}

WITH_ONE_WORKER("a client that sends all of a body that is too large, and slowly, gets its error") {
  constexpr std::size_t kPart = 8 << 20;
  constexpr int kParts = 3;
  REQUIRE(
      client.send("POST /v1/counters/a/increment HTTP/1.1\r\nHost: localhost\r\nContent-Length: " +
                  std::to_string(kParts * kPart) + "\r\n\r\n"));
  for (int i = 0; i < kParts; ++i) {
    REQUIRE(client.send(std::string(kPart, 'x')));
    std::this_thread::sleep_for(milliseconds(1'200));
  }
  const auto reply = client.receive();
  REQUIRE(reply);
  CHECK(reply->status == 413);
  CHECK(client.ends());
}

WITH_ONE_WORKER("a bad name, number or parameter on the wire gets its error and changes nothing") {
  for (const std::string target :
       {"/v1/counters//increment", "/v1/counters/..%2Fx/increment", "/v1/counters/a%2Fb/increment",
        "/v1/counters/a%00/increment", "/v1/counters/%C3%A9/increment",
        "/v1/counters/a/increment?by=010", "/v1/counters/a/increment?by=9223372036854775808",
        "/v1/counters/a/increment?by=1&by=2", "/v1/counters/a/increment?most=1",
        "/increment?by="}) {
    INFO(target);
    const auto reply = client.ask(request("POST", target));
    REQUIRE(reply);
    CHECK(reply->status == 400);
    CHECK(!reply->closes());
  }
  CHECK(
      client.ask(request("POST", "/v1/counters/" + std::string(129, 'a') + "/increment"))->status ==
      400);
  CHECK(client.ask(request("PATCH", "/v1/counters/a"))->status == 405);
  CHECK(client.ask(request("POST", "/nowhere"))->status == 404);
  CHECK(client.ask(request("GET", "/v1/counters"))->body == "{\"counters\":[],\"next\":null}\n");
}

TEST_CASE("16 KiB of Range are dropped, on every method") {
  const DaemonProcess daemon({"--workers", "1"});
  for (const std::string method : {"GET", "POST", "DELETE"}) {
    HttpSocket client(daemon.endpoint());
    std::string ranges = "Range: bytes=0-0";
    while (ranges.size() < 15 * 1024) ranges += ",0-0";
    const std::string target =
        method == "POST" ? "/v1/counters/a/increment" : std::string("/v1/counters/a");
    REQUIRE(client.ask(request("POST", "/v1/counters/a/increment")));
    const auto reply = client.ask(request(method, target, {}, ranges + "\r\n"));
    REQUIRE(reply);
    CHECK(reply->status == 200);
  }
}

WITH_ONE_WORKER("100-continue is answered before each body, and only if it is still to come") {
  const std::string whole = expecting_increment();
  for (const char* value : {"\"value\":4,", "\"value\":8,"}) {
    REQUIRE(client.send(whole.substr(0, whole.size() - 4)));
    const auto reply = client.receive(seconds(2));
    REQUIRE(reply);
    CHECK(reply->status == 100);
    REQUIRE(client.send("by=4"));
    CHECK(contains(client.receive()->body, value));
  }
  CHECK(client.ask(whole)->status == 200);
}

WITH_ONE_WORKER("100-continue is answered after the answers to what came before it") {
  const std::string whole = expecting_increment();
  REQUIRE(client.send(increment() + whole.substr(0, whole.size() - 4)));
  CHECK(client.receive()->status == 200);
  CHECK(client.receive()->status == 100);
  REQUIRE(client.send("by=4"));
  CHECK(client.receive()->body.find("\"value\":5,") != std::string::npos);
}

TEST_CASE("requests that have been answered free their share of the memory for unfinished ones") {
  const DaemonProcess daemon({"--workers", "1"});
  const std::string large = largest_request();
  std::vector<HttpSocket> idle;
  for (std::size_t held = 0; held <= kMaxBufferedBytes; held += large.size()) {
    REQUIRE(idle.emplace_back(daemon.endpoint()).ask(large)->status == 400);
  }
  HttpSocket client(daemon.endpoint());
  const std::string whole = increment();
  REQUIRE(client.send(whole.substr(0, 10)));
  CHECK(client.receive_some(milliseconds(100)).empty());
  REQUIRE(client.send(whole.substr(10)));
  CHECK(client.receive()->status == 200);
}

TEST_CASE("where unfinished requests take too much memory, the oldest of them is cut off") {
  const DaemonProcess daemon({"--workers", "1"});
  const std::string whole = largest_request();
  const std::string part = whole.substr(0, whole.size() - 1);
  std::vector<HttpSocket> clients;
  for (std::size_t held = 0; held <= kMaxBufferedBytes; held += part.size()) {
    REQUIRE(clients.emplace_back(daemon.endpoint()).send(part));
  }
  CHECK(clients.front().receive()->status == 503);
  CHECK(clients.front().ends());
  HttpSocket other(daemon.endpoint());
  CHECK(other.ask(increment())->status == 200);
  REQUIRE(clients.back().send(" "));
  CHECK(clients.back().receive()->status == 400);  // for what it says
  // And again: the one that is the oldest by now.
  for (int i = 0; i < 3; ++i) REQUIRE(clients.emplace_back(daemon.endpoint()).send(part));
  CHECK(clients[1].receive()->status == 503);
}

TEST_CASE("little is held of what comes behind a request that waits for the store") {
  const DaemonProcess daemon({"--workers", "1"});
  HeldDatabase database(daemon);
  const std::string behind = largest_request().substr(0, 65'000);
  std::vector<HttpSocket> waiting;
  for (int i = 0; i < 500; ++i) {
    REQUIRE(waiting.emplace_back(daemon.endpoint()).send(increment() + behind));
  }
  HttpSocket other(daemon.endpoint());
  REQUIRE(other.ask(request("GET", "/livez")));  // those before have been read
  constexpr long kMost = 28 * 1024;
  if (kMemoryIsOurs) CHECK(resident(daemon.worker_pids().at(0)) <= kMost);
  database.let_go();
}

// A batch of 1,000 operations on missing counters, which are refused at length.
std::string batch_of_refusals() {
  std::string body = R"({"operations":[)";
  for (int i = 0; i < 1'000; ++i) {
    body += std::string(i == 0 ? "" : ",") + R"({"op":"increment","max":-1,"name":")" +
            std::string(124, 'x') + std::to_string(i) + R"("})";
  }
  return request("POST", "/v1/batch", body + "]}", "Content-Type: application/json\r\n");
}

TEST_CASE("where replies that nobody takes need too much memory, the oldest of them is cut off") {
  const TemporaryDirectory directory;
  // What the kernel has taken of a reply can be read at once, where it is no network.
  const DaemonProcess daemon({"--workers", "1", "--listen", "unix:" + (directory / "http.sock")});
  const std::string batch = batch_of_refusals();
  HttpSocket other(daemon.endpoint());
  const auto whole = other.ask(batch);
  REQUIRE(whole);
  REQUIRE(whole->status == 200);
  std::vector<HttpSocket> deaf;
  for (std::size_t held = 0; held <= kMaxBufferedBytes; held += whole->body.size()) {
    REQUIRE(deaf.emplace_back(daemon.endpoint()).send(batch));
    pollfd begins{.fd = deaf.back().fd(), .events = POLLIN, .revents = 0};
    REQUIRE(poll(&begins, 1, 20'000) == 1);
  }
  CHECK_FALSE(deaf.front().receive());
  CHECK(deaf.back().receive());
  CHECK(other.ask(increment())->status == 200);

  // And nearly all of it is given back to the system once they are gone.
  deaf.clear();
  constexpr long kMost = 24 * 1024;
  for (int i = 0; i < 100 && resident(daemon.worker_pids().at(0)) > kMost; ++i) {
    std::this_thread::sleep_for(milliseconds(100));
  }
  if (kMemoryIsOurs) CHECK(resident(daemon.worker_pids().at(0)) <= kMost);
}

TEST_CASE("a connection keeps no room of a large reply that is sent") {
  const DaemonProcess daemon({"--workers", "1"});
  const std::string batch = batch_of_refusals();
  std::vector<HttpSocket> idle;
  for (int i = 0; i < 100; ++i) REQUIRE(idle.emplace_back(daemon.endpoint()).ask(batch));
  constexpr long kMost = 24 * 1024;
  if (kMemoryIsOurs) CHECK(resident(daemon.worker_pids().at(0)) <= kMost);
}

WITH_ONE_WORKER("HEAD tells a length and sends no body, HTTP/1.0 closes unless it asks not to") {
  REQUIRE(client.send(request("HEAD", "/livez")));
  const auto head = client.receive(seconds(10), true);
  CHECK(head->fields.at("content-length") == "14");
  CHECK(client.ask(request("GET", "/livez"))->body.size() == 14);
  const auto kept =
      client.ask("GET /livez HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n");
  REQUIRE(kept);
  CHECK(kept->fields.at("connection") == "keep-alive");
  CHECK(client.ask("GET /livez HTTP/1.0\r\nHost: localhost\r\n\r\n")->closes());
  CHECK(client.ends());
}

WITH_ONE_WORKER("what comes after a request that ends the connection is not done") {
  REQUIRE(client.send(increment("Connection: close\r\n") + increment()));
  const auto reply = client.receive();
  REQUIRE(reply);
  CHECK(reply->closes());
  CHECK(client.ends());
  CHECK(value_of_a(daemon) == "1\n");
}

WITH_ONE_WORKER("a client that ends its side after a request gets its reply") {
  REQUIRE(client.send(increment()));
  client.end_sending();
  CHECK(client.receive()->status == 200);
  CHECK(client.ends());
}

WITH_ONE_WORKER("a body of the largest size is read, one byte more is refused at its head") {
  const std::string spaces(kMaxBodyBytes - 2, ' ');
  const auto reply = client.ask(request("POST", "/v1/counters/a/increment", "{" + spaces + "}",
                                        "Content-Type: application/json\r\n"));
  REQUIRE(reply);
  CHECK(reply->status == 200);
  REQUIRE(client.send("POST /v1/batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: " +
                      std::to_string(kMaxBodyBytes + 1) + "\r\n\r\n"));
  CHECK(client.receive()->status == 413);
}

TEST_CASE("a byte a second and replies that nobody reads are cut off, and disturb nobody") {
  const DaemonProcess daemon({"--workers", "1"});
  const auto began = steady_clock::now();
  HttpSocket slow(daemon.endpoint());
  REQUIRE(slow.send("POST /v1/counters/a/inc"));
  // Ten pages of a list, asked for again and again, are more than the sockets hold.
  HttpSocket other(daemon.endpoint());
  for (int i = 0; i < 1'000; ++i) {
    const std::string name = "n" + std::to_string(i) + std::string(100, 'x');
    REQUIRE(other.send(request("POST", "/v1/counters/" + name + "/increment")));
  }
  for (int i = 0; i < 1'000; ++i) REQUIRE(other.receive()->status == 200);
  HttpSocket deaf(daemon.endpoint());
  const int small = 4096;
  setsockopt(deaf.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  std::string lists;
  for (int i = 0; i < 200; ++i) lists += request("GET", "/v1/counters?limit=1000");
  REQUIRE(deaf.send(lists));
  milliseconds longest{0};
  bool cut_off = false;
  while (!cut_off && steady_clock::now() - began < kReceiveTimeout + seconds(8)) {
    const auto asked = steady_clock::now();
    REQUIRE(other.ask(increment())->status == 200);
    longest =
        std::max(longest, std::chrono::duration_cast<milliseconds>(steady_clock::now() - asked));
    slow.send("r");
    cut_off = !slow.receive_some(milliseconds(250)).empty();
  }
  CHECK(cut_off);
  CHECK(steady_clock::now() - began > kReceiveTimeout - seconds(1));
  CHECK(longest < seconds(2));
  // What was in the sockets is still there to be read, then the connection has ended.
  std::size_t received = 0;
  while (const auto reply = deaf.receive(seconds(5))) ++received;
  CHECK(received < 200);
}

TEST_CASE("ten thousand idle connections cost sockets: no threads, at most 4 KiB each") {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  REQUIRE(limit.rlim_max >= 10'100);
  const DaemonProcess daemon({"--workers", "1", "--sync", "normal"});  // sooner
  const pid_t worker = daemon.worker_pids().at(0);
  HttpSocket first(daemon.endpoint());
  REQUIRE(first.ask(increment()));
  const long before = resident(worker);
  if (kMemoryIsOurs) CHECK(before < 16 * 1024);
  std::vector<HttpSocket> idle;
  for (int i = 0; i < 10'000; ++i) {
    idle.emplace_back(daemon.endpoint());
    REQUIRE(idle.back().ask(increment()));
  }
  const long each = (resident(worker) - before) * 1024 / 10'000;
  if (kMemoryIsOurs) CHECK(each < 4096);
  CHECK(threads_of(worker) <= 3);
  for (HttpSocket& client : idle) REQUIRE(client.ask(request("GET", "/livez")));
  CHECK(value_of_a(daemon) == "10001\n");
}

TEST_CASE("at the limit of connections others wait, and get in when one leaves") {
  const DaemonProcess daemon({"--workers", "1", "--max-connections", "2"});
  HttpSocket first(daemon.endpoint());
  HttpSocket third(daemon.endpoint());
  {
    HttpSocket second(daemon.endpoint());
    REQUIRE(first.ask(increment()));
    // Which of the two was accepted second is for the queue to say; both come in the end.
    REQUIRE(second.send(increment()));
    REQUIRE(third.send(increment()));
    first.end_sending();
    CHECK(second.receive());
  }
  CHECK(third.receive());
}

TEST_CASE("at the limit of connections no address takes all the room of another one") {
  const TemporaryDirectory directory;
  const std::string path = directory / "http.sock";
  const DaemonProcess daemon({"--workers", "1", "--max-connections", "1", "--listen", "127.0.0.1:0",
                              "--listen", "unix:" + path});
  std::vector<std::unique_ptr<HttpSocket>> many;
  for (int i = 0; i < 5; ++i) {
    many.push_back(std::make_unique<HttpSocket>(daemon.endpoint()));
    REQUIRE(many.back()->send(increment()));
  }
  HttpSocket other({"", 0, path});
  REQUIRE(other.send(increment()));
  bool has_come = false;
  for (std::size_t i = 0; i + 1 < many.size() && !has_come; ++i) {
    REQUIRE(many[i]->receive());
    many[i].reset();
    has_come = other.receive(seconds(1)).has_value();
  }
  CHECK(has_come);  // before the last of the many
}

TEST_CASE("at the limit of connections one that has long been idle makes way") {
  const DaemonProcess daemon({"--workers", "1", "--max-connections", "2"});
  HttpSocket silent(daemon.endpoint());
  HttpSocket idle(daemon.endpoint());
  REQUIRE(idle.ask(increment()));
  HttpSocket waiting(daemon.endpoint());
  REQUIRE(waiting.send(increment()));
  CHECK(waiting.receive(seconds(15)));
  CHECK(silent.ends());
  // Not more of them than wait.
  CHECK(idle.ask(increment()));
}

TEST_CASE("at the limit of connections one that asks just when it is to make way is answered") {
  const DaemonProcess daemon({"--workers", "1", "--max-connections", "2"});
  HttpSocket asking(daemon.endpoint());
  REQUIRE(asking.ask(increment()));
  HttpSocket idle(daemon.endpoint());
  REQUIRE(idle.ask(increment()));
  std::this_thread::sleep_for(milliseconds(5'200));
  const pid_t worker = daemon.worker_pids().front();
  kill(worker, SIGSTOP);
  HttpSocket waiting(daemon.endpoint());
  REQUIRE(waiting.send(increment()));
  REQUIRE(asking.send(increment()));
  kill(worker, SIGCONT);
  CHECK(asking.receive());
  CHECK(waiting.receive());
  CHECK(idle.ends());
}

TEST_CASE("no more make way than have come, also where workers share a socket") {
  constexpr int kWorkers = 8;
  const TemporaryDirectory directory;
  const DaemonProcess daemon({"--workers", std::to_string(kWorkers), "--max-connections", "1",
                              "--listen", "unix:" + (directory / "http.sock")});
  std::vector<HttpSocket> idle;
  for (int i = 0; i < kWorkers; ++i) REQUIRE(idle.emplace_back(daemon.endpoint()).ask(increment()));
  std::this_thread::sleep_for(milliseconds(5'200));
  constexpr int kNew = 3;
  std::vector<HttpSocket> fresh;
  for (int i = 0; i < kNew; ++i) REQUIRE(fresh.emplace_back(daemon.endpoint()).ask(increment()));
  CHECK(std::count_if(idle.begin(), idle.end(),
                      [](HttpSocket& client) { return client.ends(milliseconds(50)); }) == kNew);
}

TEST_CASE("connections that ask much at once let others in between") {
  constexpr int kMany = 1'000;
  constexpr int kGreedy = 20;
  const DaemonProcess daemon({"--workers", "1"});
  const pid_t worker = daemon.worker_pids().front();
  std::vector<HttpSocket> greedy;
  for (int i = 0; i < kGreedy; ++i) {
    REQUIRE(greedy.emplace_back(daemon.endpoint()).ask(increment()));
  }
  HttpSocket other(daemon.endpoint());
  REQUIRE(other.ask(increment()));
  std::string many;
  for (int i = 0; i < kMany; ++i) many += "GET /none HTTP/1.1\r\nHost: a\r\n\r\n";
  kill(worker, SIGSTOP);
  for (HttpSocket& client : greedy) REQUIRE(client.send(many));
  REQUIRE(other.send(request("GET", "/v1/status")));
  kill(worker, SIGCONT);
  const auto status = other.receive();
  REQUIRE(status);
  CAPTURE(status->body);
  const std::string name = "\"requests\":";
  const int served = std::stoi(status->body.substr(status->body.find(name) + name.size()));
  CHECK(served < kGreedy * kMany / 2);
}

TEST_CASE("those who ask much at once do not use up the queue of others") {
  constexpr std::size_t kGreedy = 2 * kMaxWaitingOperations / kMaxPipelined;
  const DaemonProcess daemon({"--workers", "1"});
  std::vector<HttpSocket> greedy;
  for (std::size_t i = 0; i < kGreedy; ++i) {
    REQUIRE(greedy.emplace_back(daemon.endpoint()).ask(request("GET", "/livez")));
  }
  HttpSocket other(daemon.endpoint());
  REQUIRE(other.ask(increment()));
  std::string many;
  for (std::size_t i = 0; i < kMaxPipelined; ++i) many += increment();
  HeldDatabase database(daemon);
  for (HttpSocket& client : greedy) REQUIRE(client.send(many));
  REQUIRE(other.send(increment()));
  std::this_thread::sleep_for(milliseconds(500));
  database.let_go();
  const auto reply = other.receive();
  REQUIRE(reply);
  CHECK(reply->status == 200);
}

TEST_CASE("SIGTERM: what is in flight is answered with Connection: close, idle ones end") {
  DaemonProcess daemon({"--workers", "1"});
  HttpSocket fresh(daemon.endpoint());  // before the idle one: who ends that one has looked at it
  HttpSocket idle(daemon.endpoint());
  REQUIRE(idle.ask(increment()));
  HttpSocket receiving(daemon.endpoint());
  const std::string half = request("POST", "/v1/counters/a/increment", "by=4",
                                   "Content-Type: application/x-www-form-urlencoded\r\n");
  REQUIRE(receiving.ask(half));
  REQUIRE(receiving.send(half.substr(0, half.size() - 1)));
  kill(daemon.pid(), SIGTERM);
  CHECK(idle.ends());
  REQUIRE(fresh.send(increment()));
  REQUIRE(receiving.send("4"));
  const auto last = receiving.receive();
  REQUIRE(last);
  CHECK(last->status == 200);
  CHECK(last->closes());
  const auto newest = fresh.receive();
  REQUIRE(newest);
  CHECK(newest->closes());
  CHECK(ends_in_good_order(daemon));
  daemon.start();
  CHECK(value_of_a(daemon) == "10\n");
}

TEST_CASE("SIGTERM: each whole request of a pipeline is answered, and nobody waits for more") {
  const std::string batch =
      request("POST", "/v1/batch", R"({"operations":[{"op":"increment","name":"a"}]})",
              "Content-Type: application/json\r\n");
  struct Pipeline {
    std::string one;
    int many;  // of more than one round; a batch has one by itself
  };
  for (const auto& [one, many] : {Pipeline{increment(), 2 * kMaxPipelined}, Pipeline{batch, 3},
                                  Pipeline{batch + "\r\n", 3}}) {
    DaemonProcess daemon({"--workers", "1"});
    HttpSocket client(daemon.endpoint());
    std::string all;
    for (int i = 0; i < many; ++i) all += one;
    HeldDatabase database(daemon);
    REQUIRE(client.send(all + one.substr(0, one.size() / 2)));
    std::this_thread::sleep_for(milliseconds(200));
    kill(daemon.pid(), SIGTERM);
    REQUIRE(becomes_true([&] { return !HttpSocket(daemon.endpoint()).is_open(); }));  // it drains
    database.let_go();
    for (int i = 1; i <= many; ++i) {
      const auto reply = client.receive();
      REQUIRE(reply);
      CHECK(reply->status == 200);
      CHECK(reply->closes() == (i == many));
    }
    CHECK(client.ends(seconds(2)));
    CHECK(ends_in_good_order(daemon));
    daemon.start();
    CHECK(value_of_a(daemon) == std::to_string(many) + "\n");
  }
}

TEST_CASE("SIGTERM: a client that is just asking again gets its answer") {
  DaemonProcess daemon({"--workers", "1"});
  std::vector<HttpSocket> clients;
  for (int i = 0; i < 20; ++i) REQUIRE(clients.emplace_back(daemon.endpoint()).ask(increment()));
  kill(daemon.pid(), SIGTERM);
  REQUIRE(becomes_true([&] { return contains(daemon.log(), "SIGTERM"); }));
  for (HttpSocket& client : clients) REQUIRE(client.send(increment()));
  for (HttpSocket& client : clients) {
    const auto reply = client.receive();  // the worker may not have heard of the end yet
    REQUIRE(reply);
    CHECK(reply->status == 200);
    CHECK((reply->closes() || client.ends()));
  }
  CHECK(ends_in_good_order(daemon));
}

TEST_CASE("readyz says that the store does not answer, and livez lives") {
  TemporaryDirectory directory;
  const std::string store = "sqlite:" + (directory / "counters.db");
  const DaemonProcess daemon({"--workers", "1", "--store", store});
  HttpSocket client(daemon.endpoint());
  CHECK(client.ask(request("GET", "/readyz"))->status == 200);
  std::filesystem::remove(directory / "counters.db");
  CHECK(client.ask(request("GET", "/readyz"))->status == 503);
  CHECK(client.ask(request("GET", "/livez"))->status == 200);
  CHECK(client.ask(increment())->status == 503);
  CHECK(!std::filesystem::exists(directory / "counters.db"));
}

// What a client of a worker sees whose Redis is away; `another` asks while a change may wait.
void check_away(HttpSocket& client, HttpSocket& another) {
  REQUIRE(another.send(increment()));
  auto begin = steady_clock::now();
  CHECK(client.ask(request("GET", "/livez"))->status == 200);
  CHECK(steady_clock::now() - begin < milliseconds(500));
  begin = steady_clock::now();
  CHECK(client.ask(request("GET", "/readyz"))->status == 503);
  CHECK(steady_clock::now() - begin < seconds(1));
  CHECK(client.ask(request("GET", "/livez"))->status == 200);
}

void check_back(HttpSocket& client) {
  const auto begin = steady_clock::now();
  CHECK(client.ask(increment())->status == 200);
  CHECK(client.ask(request("GET", "/readyz"))->status == 200);
  CHECK(steady_clock::now() - begin < seconds(1));
}

TEST_CASE("where Redis is away livez lives, readyz says so, and it is back within a second") {
  RedisServer redis({"--appendonly", "yes", "--appendfsync", "always"});
  const DaemonProcess daemon({"--workers", "1", "--store", redis.url()});
  HttpSocket client(daemon.endpoint());
  check_back(client);
  {
    HttpSocket waiting(daemon.endpoint());
    redis.pause();
    check_away(client, waiting);
    redis.resume();
    check_back(client);
    CHECK(waiting.receive()->status == 200);
  }
  HttpSocket refused(daemon.endpoint());
  redis.kill();
  check_away(client, refused);
  const auto refusal = refused.receive();
  CHECK(refusal->status == 503);
  CHECK(refusal->fields.contains("retry-after"));  // it is known that nothing happened
  redis.start();
  check_back(client);
  CHECK(value_of_a(daemon) == "4\n");
}

TEST_CASE("SIGTERM: a connection whose client reads late ends when it has all") {
  DaemonProcess daemon({"--workers", "1"});
  HttpSocket late(daemon.endpoint());
  std::string body = R"({"operations":[)";
  for (int i = 0; i < 1'000; ++i) {
    body += std::string(i == 0 ? "" : ",") +
            R"({"op":"increment","initial":-9000000000000000000,"max":-9100000000000000000,)"
            R"("per":"month","timezone":"America/Argentina/Buenos_Aires","name":")" +
            std::string(124, 'x') + std::to_string(i) + R"("})";
  }
  body += "]}";
  REQUIRE(late.send(request("POST", "/v1/batch", body, "Content-Type: application/json\r\n")));
  std::this_thread::sleep_for(milliseconds(500));
  kill(daemon.pid(), SIGTERM);
  std::this_thread::sleep_for(milliseconds(1'500));
  const auto reply = late.receive();
  REQUIRE(reply);
  CHECK(reply->status == 200);
  CHECK(reply->body.size() > 100'000);
  CHECK(late.ends(seconds(3)));
}

TEST_CASE("SIGTERM: connections that wait to be accepted are answered") {
  DaemonProcess daemon({"--workers", "1"});
  const pid_t worker = daemon.worker_pids().at(0);
  kill(worker, SIGSTOP);
  std::vector<HttpSocket> clients;
  for (int i = 0; i < 200; ++i) REQUIRE(clients.emplace_back(daemon.endpoint()).send(increment()));
  kill(daemon.pid(), SIGTERM);
  std::this_thread::sleep_for(milliseconds(500));
  kill(worker, SIGCONT);
  int answered = 0;
  for (HttpSocket& client : clients) {
    const auto reply = client.receive(seconds(3));
    if (reply && reply->status == 200) ++answered;
  }
  CHECK(answered == 200);
  CHECK(ends_in_good_order(daemon));
}

TEST_CASE("an answer of the store that comes after the patience with it disturbs no other") {
  RedisServer redis({"--appendonly", "yes", "--appendfsync", "always"});
  const DaemonProcess daemon({"--workers", "1", "--store", redis.url()});
  HttpSocket client(daemon.endpoint());
  CHECK(client.ask(increment())->status == 200);
  HttpSocket other(daemon.endpoint());
  redis.pause();
  REQUIRE(other.send(increment()));  // the store hangs in it
  std::this_thread::sleep_for(milliseconds(100));
  REQUIRE(client.send(request("GET", "/readyz") + increment()));
  std::this_thread::sleep_for(milliseconds(1'300));
  redis.resume();
  const auto ready = client.receive();
  REQUIRE(ready);
  CHECK(ready->status == 503);
  const auto counted = client.receive();
  REQUIRE(counted);
  CHECK(counted->status == 200);
  CHECK(counted->body.find("\"value\":3") != std::string::npos);
}

TEST_CASE("requests whose clients have gone free their share of the memory") {
  const DaemonProcess daemon({"--workers", "1"});
  const std::string whole = largest_request();
  const std::string part = whole.substr(0, whole.size() - 1);
  for (std::size_t held = 0; held <= kMaxBufferedBytes + part.size(); held += part.size()) {
    HttpSocket gone(daemon.endpoint());
    REQUIRE(gone.send(part));
    std::this_thread::sleep_for(milliseconds(10));
  }
  HttpSocket client(daemon.endpoint());
  REQUIRE(client.send(part));
  CHECK(client.receive_some(milliseconds(500)).empty());
  REQUIRE(client.send(" "));
  CHECK(client.receive()->status == 400);
}

TEST_CASE("one slow client after the other is cut off, and a refused one that sends on and on") {
  const DaemonProcess daemon({"--workers", "1"});
  HttpSocket first(daemon.endpoint());
  REQUIRE(first.send("POST /v1/counters/a/inc"));
  std::this_thread::sleep_for(seconds(1));
  HttpSocket second(daemon.endpoint());
  REQUIRE(second.send("POST /v1/counters/a/inc"));
  HttpSocket refused(daemon.endpoint());
  REQUIRE(refused.send("nonsense\r\n\r\n"));
  CHECK(refused.receive()->status == 400);
  const auto began = steady_clock::now();
  while (refused.send("x") && steady_clock::now() - began < kLongestLinger + seconds(5)) {
    std::this_thread::sleep_for(milliseconds(200));
  }
  CHECK(steady_clock::now() - began < kLongestLinger + seconds(3));
  for (const auto& late : {first.receive(seconds(1)), second.receive(seconds(4))}) {
    REQUIRE(late);
    CHECK(late->status == 408);
    CHECK(late->closes());
  }
}

WITH_ONE_WORKER("a HEAD that is refused has no body in its answer") {
  REQUIRE(client.send("HEAD /livez HTTP/1.1\r\n\r\n"));  // no Host
  const auto reply = client.receive(seconds(10), true);
  REQUIRE(reply);
  CHECK(reply->status == 400);
  CHECK(client.ends());
}

// Of a process of this user, by the number that it has there (pidfd_getfd(2)).
UniqueFd descriptor_of(pid_t pid, int number) {
  const UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  return UniqueFd(static_cast<int>(syscall(SYS_pidfd_getfd, process.get(), number, 0)));
}

// Of each TCP connection that the process has, whether replies go out without waiting for others.
std::vector<bool> sends_at_once(pid_t pid) {
  std::vector<bool> found;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
    const UniqueFd socket = descriptor_of(pid, std::stoi(entry.path().filename()));
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    const bool is_connected =
        socket && getpeername(socket.get(), reinterpret_cast<sockaddr*>(&peer), &size) == 0;
    if (!is_connected || peer.ss_family != AF_INET) continue;
    int value = 0;
    size = sizeof value;
    REQUIRE(getsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &value, &size) == 0);
    found.push_back(value != 0);
  }
  return found;
}

TEST_CASE("no reply waits for the client to acknowledge another, also before the worker is there") {
  const DaemonProcess daemon({"--workers", "1"});
  HttpSocket first(daemon.endpoint());
  REQUIRE(first.ask(increment()));
  const pid_t worker = daemon.worker_pids().at(0);
  if (!descriptor_of(worker, STDERR_FILENO)) {  // a container may forbid it
    WARN("no descriptor of another process can be looked at here");
    return;
  }
  CHECK(sends_at_once(worker) == std::vector{true});
  kill(worker, SIGKILL);
  HttpSocket early(daemon.endpoint());  // is served by the one that takes its place
  REQUIRE(early.ask(increment()));
  REQUIRE(becomes_true([&] { return !daemon.worker_pids().empty(); }));
  CHECK(sends_at_once(daemon.worker_pids().at(0)) == std::vector{true});
}

TEST_CASE(
    "a client that waits until its head is acknowledged before it sends the body is not kept") {
  const DaemonProcess daemon({"--workers", "1", "--sync", "normal"});
  HttpSocket client(daemon.endpoint());
  const int no = 0;
  REQUIRE(setsockopt(client.fd(), IPPROTO_TCP, TCP_NODELAY, &no, sizeof no) == 0);
  const std::string whole = request("POST", "/v1/counters/a/increment", "by=4",
                                    "Content-Type: application/x-www-form-urlencoded\r\n");
  const std::size_t head_size = whole.size() - 4;
  const auto counts = [&] {
    REQUIRE(client.send(whole.substr(0, head_size)));
    const auto reply = client.ask(whole.substr(head_size));
    REQUIRE(reply);
    CHECK(reply->status == 200);
  };
  for (int i = 0; i < 5; ++i) counts();  // at first the kernel acknowledges at once
  auto quickest = milliseconds::max();
  for (int i = 0; i < 20; ++i) {
    const auto start = steady_clock::now();
    counts();
    quickest = std::min(quickest, std::chrono::ceil<milliseconds>(steady_clock::now() - start));
  }
  CHECK(quickest < milliseconds(30));  // 40 where the acknowledgement is delayed
}

TEST_CASE("no more connections are served than the limit") {
  const DaemonProcess daemon({"--workers", "1", "--max-connections", "2"});
  const pid_t worker = daemon.worker_pids().front();
  const long before = ticks_of(worker);
  std::vector<HttpSocket> clients;
  int served = 0;
  for (int i = 0; i < 4; ++i) REQUIRE(clients.emplace_back(daemon.endpoint()).send(increment()));
  for (HttpSocket& client : clients) {
    if (!client.receive_some(milliseconds(500)).empty()) ++served;
  }
  CHECK(served == 2);
  // It is said once, and nothing is spent on those that wait.
  const std::string said = "others wait until one ends";
  const std::string log = daemon.log();
  CHECK(log.find(said) != std::string::npos);
  CHECK(log.find(said) == log.rfind(said));
  CHECK(ticks_of(worker) - before < 50);
}

TEST_CASE("at the limit of connections nobody is said to wait where nobody does") {
  const DaemonProcess daemon({"--workers", "1", "--max-connections", "2"});
  HttpSocket first(daemon.endpoint());
  REQUIRE(first.ask(increment()));
  HttpSocket second(daemon.endpoint());
  REQUIRE(second.ask(increment()));
  CHECK(daemon.log().find("others wait") == std::string::npos);
}

}  // namespace
}  // namespace counterd
