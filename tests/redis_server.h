// A real redis-server for one test: on a Unix socket of its own, on demand also on a loopback TCP
// port of its own, in a temporary folder. It ends with its object, and with the test's process.
//
// Everything here throws when it fails, which fails the test: without Redis the suite is red.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "tests/temporary_directory.h"

namespace counterd {

class RedisServer {
 public:
  enum class Tcp : unsigned char { kNo, kYes };

  // `arguments` come after ours, for instance {"--appendonly", "yes"}.
  explicit RedisServer(std::vector<std::string> arguments = {}, Tcp tcp = Tcp::kNo);
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;
  ~RedisServer();

  // Starts it and waits until it answers.
  // REQUIRES: it does not run; the calling thread outlives it, or its end would end the server
  void start();
  void stop();  // cleanly
  void kill();  // as a crash does
  void restart();
  void pause() const;   // SIGSTOP
  void resume() const;  // SIGCONT

  const TemporaryDirectory& directory() const { return directory_; }
  std::string socket_path() const { return directory_ / "redis.sock"; }
  std::string url() const { return "redis+unix://" + socket_path(); }
  int port() const { return port_; }
  std::string tcp_url() const { return "redis://127.0.0.1:" + std::to_string(port_); }

  // Runs a command on a connection of its own, for which `login` (AUTH and its arguments, if any)
  // comes first. Replies as text: arrays with a newline between, nil as "(nil)", errors as they
  // are.
  std::string command(const std::vector<std::string>& arguments,
                      const std::vector<std::string>& login = {}) const;

 private:
  bool try_to_start();
  void spawn();
  bool is_dead();
  bool answers() const;
  void end(int signal);
  std::string log() const;

  const TemporaryDirectory directory_;
  const std::vector<std::string> arguments_;
  const Tcp tcp_;
  int port_ = 0;
  pid_t pid_ = 0;  // 0: it does not run
};

}  // namespace counterd
