// The words on the control socket, and how long a client waits there.
#include "common/control.h"

#include "tests/catch.h"

namespace counterd {
namespace {

DaemonInfo some_daemon() {
  DaemonInfo info;
  info.pid = 7;
  info.ready = true;
  info.arguments = {"--sync=normal"};
  info.addresses = {"http://127.0.0.1:4747", "unix:/run/x"};
  info.wanted = 1;
  info.workers = {{8, 0, "ready", 1'700'000'000'000}};
  return info;
}

TEST_CASE("a daemon's answer reads as it was written") {
  const Result<DaemonInfo> read = decode_control_reply(encode(some_daemon()));
  REQUIRE(read);
  CHECK(read->pid == 7);
  CHECK(read->arguments == some_daemon().arguments);
  CHECK(read->addresses == some_daemon().addresses);
  REQUIRE(read->workers.size() == 1);
  CHECK(read->workers[0].state == "ready");
}

TEST_CASE("a daemon's answer that lacks something is refused") {
  DaemonInfo homeless = some_daemon();
  homeless.addresses.clear();
  for (const std::string& line :
       {encode(homeless), std::string("{}"), std::string("[]"), std::string(), std::string("null"),
        std::string(R"({"error":{}})"), std::string(R"({"error":1})")}) {
    INFO(line);
    const Result<DaemonInfo> read = decode_control_reply(line);
    REQUIRE_FALSE(read);
    CHECK(read.error().code == Code::kUnavailable);
  }
}

}  // namespace
}  // namespace counterd
