// Unix sockets: their addresses, as the system calls take them, listening on one, and connecting to
// one.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include <optional>
#include <string>
#include <string_view>

#include "common/deadline.h"
#include "common/unique_fd.h"

namespace counterd {

// REQUIRES: `path` has at most kMaxSocketPath (limits.h) bytes
sockaddr_un unix_address(std::string_view path);

// Locks the folder of `path` for as long as the descriptor is open, so that one daemon at a time
// looks at the socket there, and then removes it or puts its own there. The folder itself is
// locked, so that no lock file is left behind. Anyone who may read it can hold the lock, so waiting
// is limited to a second; after that, goes on without the lock.
UniqueFd lock_folder(const std::string& path);

// The name of a socket in the file system, which this process has just given to it. Removed at the
// end, if it is still the same one: somebody may have put another in its place.
class SocketName {
 public:
  explicit SocketName(std::string path);
  SocketName(SocketName&& other) noexcept;
  SocketName& operator=(SocketName&&) = delete;
  ~SocketName();
  const std::string& path() const { return path_; }

 private:
  std::string path_;  // empty: nothing to remove
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

// A listening socket, which does not block, and its name, or why there is none (an errno value).
struct UnixListener {
  UniqueFd socket;
  std::optional<SocketName> name = {};
  int failure = 0;
};

// Makes a socket at `path`, where there must be nothing, and listens on it. REQUIRES: `path` has at
// most kMaxSocketPath bytes
UnixListener listen_unix(const std::string& path, int backlog);

// Whether the other side of a connection is a process of this user or of root.
bool is_of_user_or_root(int connection);

// A connection, which does not block, or why there is none (an errno value).
struct UnixConnection {
  UniqueFd socket;
  int failure = 0;
};

// Connects to the socket at `path`. If too many connections wait there already, tries again until
// `deadline`; then the failure is EAGAIN. REQUIRES: `path` has at most kMaxSocketPath bytes
UnixConnection connect_unix(std::string_view path, Deadline deadline);

}  // namespace counterd
