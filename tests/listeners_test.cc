#include "daemon/listeners.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/file.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <latch>
#include <numeric>
#include <optional>
#include <thread>

#include "common/limits.h"
#include "common/unix_socket.h"
#include "tests/catch.h"
#include "tests/temporary_directory.h"

using counterd::Endpoint;
using counterd::Listeners;
using counterd::TemporaryDirectory;
using counterd::UniqueFd;

namespace {

Endpoint unix_endpoint(const std::string& path) {
  return {"", 0, path};
}

UniqueFd bind_unix(const std::string& path) {
  UniqueFd bound(socket(AF_UNIX, SOCK_STREAM, 0));
  const sockaddr_un address = counterd::unix_address(path);
  REQUIRE(bind(bound.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  return bound;
}

// Connects to the only endpoint, on the loopback address.
UniqueFd connect_to(const Listeners& listeners) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(listeners.endpoints().front().port));
  UniqueFd client(socket(AF_INET, SOCK_STREAM, 0));
  REQUIRE(connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  return client;
}

// So many times. Closes each connection; it stays in the queue that it came to.
void connect_to(const Listeners& listeners, int times) {
  for (int i = 0; i < times; ++i) connect_to(listeners);
}

int port_of(const UniqueFd& client) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  getsockname(client.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

// The slots that have been connected to.
std::vector<std::size_t> reached(const Listeners& listeners, std::size_t slots) {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < slots; ++i) {
    if (listeners.has_queued(i)) found.push_back(i);
  }
  return found;
}

Listeners listeners_with(std::size_t slots) {
  Listeners listeners = std::move(*Listeners::open({{"127.0.0.1", 0, ""}}));
  while (slots-- > 1) REQUIRE(listeners.add_slot());
  return listeners;
}

}  // namespace

TEST_CASE("connections go to the slots that they are routed to, and to no other") {
  using Slots = std::vector<std::size_t>;
  const auto slots = GENERATE(Slots{0}, Slots{3}, Slots{0, 2}, Slots{1, 2, 3});
  Listeners listeners = listeners_with(4);
  listeners.route_to(slots);
  connect_to(listeners, 100);
  CHECK(reached(listeners, 4) == slots);
}

TEST_CASE("connections can be routed to as many slots as a daemon has workers") {
  constexpr std::size_t kSlots = counterd::kMaxWorkers;
  Listeners listeners = listeners_with(kSlots);
  std::vector<std::size_t> all_but_first(kSlots - 1);
  std::iota(all_but_first.begin(), all_but_first.end(), 1);
  listeners.route_to(all_but_first);
  connect_to(listeners, 2'000);
  CHECK_FALSE(listeners.has_queued(0));
}

TEST_CASE("of several that open one address at once, no two get it") {
  for (int round = 0; round < 1'000; ++round) {
    const Endpoint endpoint = Listeners::open({{"127.0.0.1", 0, ""}})->endpoints().front();
    std::latch begin(2);
    std::optional<counterd::Result<Listeners>> theirs;
    std::thread other([&] {
      begin.arrive_and_wait();
      theirs = Listeners::open({endpoint});
    });
    begin.arrive_and_wait();
    const counterd::Result<Listeners> ours = Listeners::open({endpoint});
    other.join();
    REQUIRE_FALSE((ours.ok() && theirs->ok()));
  }
}

TEST_CASE("an address that becomes free in time is opened") {
  const TemporaryDirectory directory;
  const bool is_unix = GENERATE(false, true);
  const Endpoint endpoint =
      is_unix ? unix_endpoint(directory / "socket") : Endpoint{"127.0.0.1", 0, ""};
  std::optional<Listeners> others = std::move(*Listeners::open({endpoint}));
  const std::vector<Endpoint> taken = others->endpoints();
  CHECK_FALSE(Listeners::open(taken));
  std::thread goes([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    others.reset();
  });
  CHECK(Listeners::open(taken, std::chrono::steady_clock::now() + std::chrono::seconds(10)));
  goes.join();
}

TEST_CASE("a port that a client's end of a connection has is taken, and the message says so") {
  const Listeners server = listeners_with(1);
  const UniqueFd client = connect_to(server);
  const counterd::Result<Listeners> opened = Listeners::open({{"127.0.0.1", port_of(client), ""}});
  REQUIRE_FALSE(opened);
  CHECK(opened.error().message.find("ss -tanp") != std::string::npos);
  CHECK(opened.error().message.find("net.ipv4.ip_local_port_range") != std::string::npos);
}

TEST_CASE("a Unix socket that is bound and does not listen yet is not taken for a stale one") {
  const TemporaryDirectory directory;
  const std::string path = directory / "socket";
  // Another daemon, amid the same.
  UniqueFd folder(open(directory.path().c_str(), O_RDONLY | O_DIRECTORY));
  REQUIRE(flock(folder.get(), LOCK_EX) == 0);
  const UniqueFd other = bind_unix(path);
  std::thread listens([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    listen(other.get(), 1);
    folder.reset();
  });
  const counterd::Result<Listeners> opened = Listeners::open({unix_endpoint(path)});
  listens.join();
  REQUIRE_FALSE(opened);
  CHECK(opened.error().message.find("the address is taken") != std::string::npos);
}

TEST_CASE("a Unix socket that is given up never looks like a stale one") {
  const TemporaryDirectory directory;
  std::vector<Endpoint> endpoints;  // many, so that closing them takes a while
  for (int i = 0; i < 500; ++i) endpoints.push_back(unix_endpoint(directory / std::to_string(i)));
  Listeners listeners = std::move(*Listeners::open(endpoints));
  std::latch connected(1);
  int failure = 0;
  std::thread client([&] {
    const auto connect_again = [&] {
      return counterd::connect_unix(endpoints.front().path, counterd::Deadline()).failure;
    };
    failure = connect_again();
    connected.count_down();
    while (failure == 0 || failure == EAGAIN) failure = connect_again();
  });
  connected.wait();
  listeners.close();
  client.join();
  CHECK(failure == ENOENT);
}

TEST_CASE("a folder that somebody keeps locked does not keep a daemon from listening there") {
  const TemporaryDirectory directory;
  const UniqueFd folder(open(directory.path().c_str(), O_RDONLY | O_DIRECTORY));
  REQUIRE(flock(folder.get(), LOCK_EX) == 0);
  bind_unix(directory / "socket");  // stale
  CHECK(Listeners::open({unix_endpoint(directory / "socket")}));
}
