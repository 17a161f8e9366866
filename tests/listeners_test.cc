#include "daemon/listeners.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>

#include <chrono>
#include <thread>

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

}  // namespace

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

TEST_CASE("a folder that somebody keeps locked does not keep a daemon from listening there") {
  const TemporaryDirectory directory;
  const UniqueFd folder(open(directory.path().c_str(), O_RDONLY | O_DIRECTORY));
  REQUIRE(flock(folder.get(), LOCK_EX) == 0);
  bind_unix(directory / "socket");  // stale
  CHECK(Listeners::open({unix_endpoint(directory / "socket")}));
}
