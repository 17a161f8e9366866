// A Unix socket in front of a Redis server's, that does to a batch what a network may do.
//
// Throws when it fails, which fails the test.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <list>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "common/unique_fd.h"
#include "common/unix_socket.h"
#include "tests/redis_server.h"

namespace counterd {

class RedisProxy {
 public:
  enum class Fault : unsigned char {
    kNone,
    kCutBeforeRequest,   // the batch never reaches the server
    kCutAfterRequest,    // the batch is on its way, the connection is lost
    kCutBeforeReply,     // the server has answered, the answer is lost
    kHoldRequest,        // the connection is lost, the batch is stuck until release_held()
    kHoldCopy,           // nothing happens to it, but a copy of it is stuck until release_held()
    kSwallow,            // the batch vanishes, the connection seems to live
    kTellWhenForwarded,  // nothing happens to it
    kBreakOff,           // the answer says that it was broken off in the middle
    kComeLate,           // the answer comes a second later
    kComeTwice,          // the answer comes twice, in one piece
  };

  // `latency`: how much later each reply comes.
  explicit RedisProxy(const RedisServer& server,
                      std::chrono::milliseconds latency = std::chrono::milliseconds(0))
      : path_(server.directory() / "proxy.sock"),
        server_path_(server.socket_path()),
        latency_(latency) {
    listener_ = UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = unix_address(path_);
    if (!listener_ ||
        bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        listen(listener_.get(), 16) != 0) {
      fail("proxy");
    }
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) fail("pipe2");
    stop_reader_ = UniqueFd(ends[0]);
    stop_writer_ = UniqueFd(ends[1]);
    thread_ = std::thread([this] { serve(); });
  }
  RedisProxy(const RedisProxy&) = delete;
  RedisProxy& operator=(const RedisProxy&) = delete;
  ~RedisProxy() {
    stop_writer_.reset();
    thread_.join();
  }

  std::string url() const { return "redis+unix://" + path_; }

  // The next `times` calls of `command` meet `fault`, each on the connection that it comes by.
  void arm(Fault fault, int times = 1, std::string command = "EVALSHA") {
    const std::lock_guard lock(mutex_);
    fault_ = fault;
    times_ = times;
    command_ = "\r\n" + std::move(command) + "\r\n";
    faults_seen_ = 0;
  }

  // Until that many of them have.
  bool wait_for_faults(int count = 1) {
    std::unique_lock lock(mutex_);
    return changed_.wait_until(lock, std::chrono::steady_clock::now() + std::chrono::seconds(20),
                               [&] { return faults_seen_ >= count; });
  }
  int faults_seen() {
    const std::lock_guard lock(mutex_);
    return faults_seen_;
  }

  // How many pieces of replies it has forwarded: what is sent at once is answered in one.
  int trips() {
    const std::lock_guard lock(mutex_);
    return trips_;
  }

  // Until it has no connection.
  bool wait_until_idle() {
    std::unique_lock lock(mutex_);
    return changed_.wait_until(lock, std::chrono::steady_clock::now() + std::chrono::seconds(20),
                               [&] { return connections_ == 0; });
  }

  // Sends what was held to the server and gives its reply.
  std::string release_held() {
    const std::lock_guard lock(mutex_);
    if (!held_connection_) throw std::runtime_error("nothing is held");
    send_all(held_connection_.get(), held_request_);
    return read_some(held_connection_.get());
  }

 private:
  struct Pair {
    UniqueFd client, server;
    Fault at_reply = Fault::kNone;
  };

  [[noreturn]] static void fail(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
  }
  static void send_all(int to, std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(to, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  static std::string read_some(int from) {
    std::array<char, 65'536> bytes{};
    const ssize_t size = recv(from, bytes.data(), bytes.size(), 0);
    return {bytes.data(), size > 0 ? static_cast<std::size_t>(size) : 0};
  }

  void serve() {
    std::list<Pair> pairs;
    for (;;) {
      std::vector<pollfd> polled = {{stop_reader_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
      for (const Pair& pair : pairs) {
        polled.push_back({pair.client.get(), POLLIN, 0});
        polled.push_back({pair.server.get(), POLLIN, 0});
      }
      if (poll(polled.data(), polled.size(), -1) < 0) continue;
      if (polled[0].revents != 0) return;
      std::size_t place = 2;
      for (auto pair = pairs.begin(); pair != pairs.end(); place += 2) {
        bool lives = true;
        if (polled[place].revents != 0) lives = forward_request(*pair);
        if (lives && polled[place + 1].revents != 0) lives = forward_reply(*pair);
        pair = lives ? std::next(pair) : pairs.erase(pair);
      }
      if (polled[1].revents != 0) accept_one(pairs);
      const std::lock_guard lock(mutex_);
      connections_ = pairs.size();
      changed_.notify_all();
    }
  }

  void accept_one(std::list<Pair>& pairs) {
    Pair pair;
    pair.client = UniqueFd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    pair.server = connect_to_server();
    if (pair.server) pairs.push_back(std::move(pair));
  }

  // Nothing: it does not run.
  UniqueFd connect_to_server() const {
    UniqueFd connection(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = unix_address(server_path_);
    const bool connected =
        connect(connection.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    return connected ? std::move(connection) : UniqueFd();
  }

  // False: the connection is over.
  bool forward_request(Pair& pair) {
    const std::string request = read_some(pair.client.get());
    if (request.empty()) return false;
    const Fault fault = take_fault(request);
    if (fault == Fault::kHoldRequest) {
      const std::lock_guard lock(mutex_);
      held_request_ = request;
      held_connection_ = std::move(pair.server);
    }
    if (fault == Fault::kSwallow) {
      note_fault();
      return true;
    }
    if (fault == Fault::kHoldCopy) {
      const std::lock_guard lock(mutex_);
      held_request_ = request;
      held_connection_ = connect_to_server();
    }
    const bool forwards = fault != Fault::kCutBeforeRequest && fault != Fault::kHoldRequest;
    if (forwards) send_all(pair.server.get(), request);
    if (fault != Fault::kNone) note_fault();
    pair.at_reply = fault;
    return forwards && fault != Fault::kCutAfterRequest;
  }

  bool forward_reply(Pair& pair) {
    std::string reply = read_some(pair.server.get());
    if (reply.empty() || pair.at_reply == Fault::kCutBeforeReply) return false;
    std::this_thread::sleep_for(latency_);
    note_trip();
    const Fault fault = std::exchange(pair.at_reply, Fault::kNone);
    if (fault == Fault::kComeLate) std::this_thread::sleep_for(std::chrono::seconds(1));
    if (fault == Fault::kBreakOff) reply = "-PARTIAL no memory\r\n";
    if (fault == Fault::kComeTwice) reply += reply;
    send_all(pair.client.get(), reply);
    return true;
  }

  Fault take_fault(const std::string& request) {
    const std::lock_guard lock(mutex_);
    if (times_ == 0 || request.find(command_) == std::string::npos) return Fault::kNone;
    --times_;
    return fault_;
  }
  void note_trip() {
    const std::lock_guard lock(mutex_);
    ++trips_;
  }
  void note_fault() {
    const std::lock_guard lock(mutex_);
    ++faults_seen_;
    changed_.notify_all();
  }

  const std::string path_;
  const std::string server_path_;
  const std::chrono::milliseconds latency_;
  UniqueFd listener_, stop_reader_, stop_writer_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Fault fault_ = Fault::kNone;
  int times_ = 0;
  std::string command_;
  int faults_seen_ = 0;
  int trips_ = 0;
  std::size_t connections_ = 0;
  std::string held_request_;
  UniqueFd held_connection_;
  std::thread thread_;
};

}  // namespace counterd
