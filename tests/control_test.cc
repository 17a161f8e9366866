// The words on the control socket, and how long a client waits there.
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <csignal>
#include <thread>

#include "common/control_socket.h"
#include "tests/catch.h"

namespace counterd {
namespace {

DaemonInfo some_daemon() {
  DaemonInfo info;
  info.pid = 7;
  info.ready = true;
  info.settings = {"sync = \"normal\""};
  info.wanted = 1;
  info.workers = {{8, 0, WorkerState::kReady, 1'700'000'000'000}};
  return info;
}

TEST_CASE("a daemon's answer reads as it was written") {
  const Result<DaemonInfo> read = decode_control_reply(encode(some_daemon()));
  REQUIRE(read);
  CHECK(read->pid == 7);
  CHECK(read->settings == some_daemon().settings);
  REQUIRE(read->workers.size() == 1);
  CHECK(read->workers[0].state == WorkerState::kReady);
}

TEST_CASE("what the daemon is asked reads as it was written, and is refused if it makes no sense") {
  const Result<ControlRequest> scale =
      decode_control_request(encode(ControlRequest{ControlCommand::kScale, 3}));
  REQUIRE(scale);
  CHECK(scale->command == ControlCommand::kScale);
  CHECK(scale->workers == 3);
  CHECK(decode_control_request(R"({"command":"stop"})")->command == ControlCommand::kStop);
  for (const char* line :
       {"", "{}", "[]", R"({"command":"dance"})", R"({"command":"scale"})", R"({"workers":3})",
        R"({"command":"scale","workers":0})", R"({"command":"stop","now":true})"}) {
    INFO(line);
    CHECK_FALSE(decode_control_request(line));
  }
}

TEST_CASE("a daemon's answer that lacks something is refused") {
  for (const char* line : {"{}", "[]", "", "null", R"({"error":{}})", R"({"error":1})"}) {
    INFO(line);
    const Result<DaemonInfo> read = decode_control_reply(line);
    REQUIRE_FALSE(read);
    CHECK(read.error().code == Code::kUnavailable);
  }
}

TEST_CASE("what a daemon says of an error draws nothing on a terminal") {
  const Result<DaemonInfo> read = decode_control_reply(
      R"({"error":{"code":"urn:counterd:error:forbidden","message":"\u001b[2J"}})");
  REQUIRE_FALSE(read);
  CHECK(read.error().code == Code::kForbidden);
  CHECK(read.error().message == R"(\x1b[2J)");
}

TEST_CASE("a daemon that has ended is told from one that has only closed the connection") {
  const std::string answer = encode(some_daemon());
  const std::string ended(1, kEndedWord);
  const Deadline deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  for (const std::string& said : {std::string(), ended, answer, answer + ended}) {
    CAPTURE(said);
    std::array<int, 2> ends{};
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) == 0);
    const UniqueFd ours(ends[0]);
    const UniqueFd theirs(ends[1]);
    send(theirs.get(), said.data(), said.size(), 0);
    shutdown(theirs.get(), SHUT_WR);
    CHECK(ask_daemon(ours, {ControlCommand::kStop}, deadline).ok() == said.starts_with(answer));
    const bool has_ended = wait_for_end(ours, deadline) == DaemonEnd::kComplete;
    CHECK(has_ended == said.ends_with(ended));
  }
}

TEST_CASE("a signal does not end the wait on the control socket") {
  struct sigaction nothing {};
  struct sigaction before {};
  nothing.sa_handler = [](int) {};
  sigaction(SIGUSR1, &nothing, &before);
  std::array<int, 2> ends{};
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) == 0);
  const UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  std::atomic<bool> done = false;
  std::thread nuisance([&, waiter = pthread_self()] {
    for (int i = 0; i < 20; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      pthread_kill(waiter, SIGUSR1);
    }
    done = true;
    theirs.reset();
  });
  using std::chrono::steady_clock;
  CHECK(wait_for_end(ours, steady_clock::now() + std::chrono::seconds(20)) == DaemonEnd::kUnknown);
  CHECK(done);
  nuisance.join();
  CHECK(wait_for_end(ours, steady_clock::now() - std::chrono::seconds(1)) == DaemonEnd::kNotYet);
  sigaction(SIGUSR1, &before, nullptr);
}

}  // namespace
}  // namespace counterd
