#include "common/unix_socket.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <thread>
#include <utility>

#include "common/limits.h"

namespace counterd {

static_assert(kMaxSocketPath == sizeof(sockaddr_un::sun_path) - 1);  // and a NUL

UniqueFd lock_folder(const std::string& path) {
  // Others hold it for as long as it takes to create a socket.
  constexpr std::chrono::seconds kPatience{1};
  constexpr std::chrono::milliseconds kPause{5};
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  UniqueFd lock(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (lock && flock(lock.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK &&
         std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(kPause);
  }
  return lock;
}

sockaddr_un unix_address(std::string_view path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, kMaxSocketPath);
  return address;
}

SocketName::SocketName(std::string path) : path_(std::move(path)) {
  struct stat made {};
  lstat(path_.c_str(), &made);
  device_ = made.st_dev;
  inode_ = made.st_ino;
}

SocketName::SocketName(SocketName&& other) noexcept
    : path_(std::exchange(other.path_, {})), device_(other.device_), inode_(other.inode_) {}

SocketName::~SocketName() {
  struct stat now {};
  const bool is_ours = !path_.empty() && lstat(path_.c_str(), &now) == 0 && now.st_dev == device_ &&
                       now.st_ino == inode_;
  if (is_ours) unlink(path_.c_str());
}

UnixListener listen_unix(const std::string& path, int backlog) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const sockaddr_un address = unix_address(path);
  if (!socket ||
      bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return {UniqueFd(), std::nullopt, errno};
  }
  SocketName name(path);
  if (listen(socket.get(), backlog) != 0) return {UniqueFd(), std::nullopt, errno};
  return {std::move(socket), std::move(name), 0};
}

bool is_of_user_or_root(int connection) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == geteuid() || peer.uid == 0;
}

UnixConnection connect_unix(std::string_view path, Deadline deadline) {
  constexpr std::chrono::milliseconds kPause{1};
  const sockaddr_un address = unix_address(path);
  for (;;) {
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) return {UniqueFd(), errno};
    if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
      return {std::move(socket), 0};
    }
    const int failure = errno;
    if (failure != EAGAIN || std::chrono::steady_clock::now() >= deadline) {
      return {UniqueFd(), failure};
    }
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace counterd
