#include "common/control_socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <string_view>
#include <vector>

#include "common/environment.h"
#include "common/limits.h"
#include "common/tcp_address.h"
#include "common/unix_socket.h"

namespace counterd {
namespace {

// Not so where su(1) has left another user's directory in the environment, or where the session has
// ended.
bool is_of_this_user(const std::string& directory) {
  struct stat found {};
  return stat(directory.c_str(), &found) == 0 && found.st_uid == geteuid();
}

// Where control sockets may be; a daemon makes its own in the first.
std::vector<std::string> directories_of_user() {
  std::vector<std::string> found;
  const std::string by_systemd = environment("RUNTIME_DIRECTORY");
  if (!by_systemd.empty()) found.push_back(by_systemd.substr(0, by_systemd.find(':')));
  const std::string user = std::to_string(geteuid());
  found.push_back((geteuid() == 0 ? "/run/counterd-" : "/tmp/counterd-") + user);
  const std::string by_session = environment("XDG_RUNTIME_DIR");
  if (by_session.starts_with('/')) {
    const bool is_first = by_systemd.empty() && is_of_this_user(by_session);
    found.insert(is_first ? found.begin() : found.end(), by_session + "/counterd");
  }
  // That of a login session, for those outside it, such as a cron job. It ends with the session.
  found.push_back("/run/user/" + user + "/counterd");
  // That of the service, which root may ask.
  if (geteuid() == 0) found.push_back("/run/counterd");
  return found;
}

// FNV-1a, to name a socket for a path that may be longer than a socket's name.
std::string hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  std::array<char, 17> digits{};
  std::snprintf(digits.data(), digits.size(), "%016llx", static_cast<unsigned long long>(hash));
  return digits.data();
}

// Only an address of this machine can be bound.
bool is_of_this_machine(const TcpAddress& address) {
  const UniqueFd probe(socket(address.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return probe && bind(probe.get(), address.get(), address.size) == 0;
}

// The endpoints that a daemon of this machine may be named after when a client reaches it at
// `endpoint`: those of the host's addresses that are this machine's, each with what stands for all
// addresses. None for another machine: a daemon here that happens to have the same port is not the
// one that was meant.
std::vector<Endpoint> names_of(const Endpoint& endpoint) {
  if (endpoint.is_unix()) return {endpoint};
  std::vector<Endpoint> names;
  for (const TcpAddress& address : look_up({endpoint.host}).found) {
    if (!is_of_this_machine(address)) continue;
    const std::string host = numeric_host(address);
    const bool v4 = address.family() == AF_INET;
    names.push_back({host, endpoint.port});
    if (v4) names.push_back({"0.0.0.0", endpoint.port});
    names.push_back({"::", endpoint.port});  // for both families, where systemd made the socket
    // Connecting to "all addresses" reaches the loopback one.
    const bool is_all = host == "0.0.0.0" || host == "::";
    if (is_all) names.push_back({v4 ? "127.0.0.1" : "::1", endpoint.port});
  }
  return names;
}

Error no_answer() {
  return {Code::kOverloaded,
          "the daemon did not answer on its control socket; its supervisor may be stopped or busy: "
          "see its log"};
}

// Appends what has come of the reply, but not what comes after it, which wait_for_end() takes.
// False: the daemon has ended.
bool receive_reply(const UniqueFd& daemon, std::string& reply) {
  std::array<char, 4096> portion{};
  const ssize_t size = recv(daemon.get(), portion.data(), portion.size(), MSG_PEEK);
  if (size <= 0 || (reply.empty() && portion.front() == kEndedWord)) return false;
  const std::string_view come(portion.data(), static_cast<std::size_t>(size));
  const std::size_t taken = std::min(come.find('\n'), come.size() - 1) + 1;
  reply += come.substr(0, taken);
  return recv(daemon.get(), portion.data(), taken, 0) > 0;
}

// Root trusts all folders: it may ask any user's daemon, and that of the service, whose folder
// belongs to the service's user. Others trust their own and root's alone: in /tmp anybody can
// create a folder with this user's name, and in it a link to another daemon of this user.
bool is_trusted(const std::string& directory) {
  struct stat folder {};
  return geteuid() == 0 || (lstat(directory.c_str(), &folder) == 0 &&
                            (folder.st_uid == geteuid() || folder.st_uid == 0));
}

bool is_trusted(const UniqueFd& connection) {
  return geteuid() == 0 || is_of_user_or_root(connection.get());
}

}  // namespace

Result<std::string> control_directory() {
  std::string directory = directories_of_user().front();
  if (!environment("RUNTIME_DIRECTORY").empty()) return directory;
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return system_error(setup_code(errno), "cannot make the directory " + directory, errno,
                        kNameAnotherPlace);
  }
  struct stat found {};
  if (lstat(directory.c_str(), &found) != 0) {
    return system_error(Code::kConfig, "cannot examine the directory " + directory, errno);
  }
  if (!S_ISDIR(found.st_mode) || found.st_uid != geteuid() ||
      (found.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return Error{Code::kConfig, "the directory " + directory + " must belong to this user alone" +
                                    kNameAnotherPlace};
  }
  return directory;
}

std::string control_socket_name(const Endpoint& endpoint) {
  return (endpoint.is_unix() ? "unix-" + hash_of(endpoint.path) : to_string(endpoint)) + ".control";
}

Result<UniqueFd> find_daemon(const Endpoint& endpoint, Deadline deadline) {
  Error error{Code::kUnavailable,
              "no counterd of this user serves " + to_string(endpoint) + " on this host"};
  const std::vector<Endpoint> names = names_of(endpoint);
  for (const std::string& directory : directories_of_user()) {
    if (!is_trusted(directory)) continue;
    for (const Endpoint& name : names) {
      const std::string path = directory + "/" + control_socket_name(name);
      if (path.size() > kMaxSocketPath) continue;
      auto [connection, failure] = connect_unix(path, deadline);
      if (failure == EAGAIN) return no_answer();
      if (!connection) continue;
      if (is_trusted(connection)) return std::move(connection);
      error = {Code::kForbidden, "the control socket " + path +
                                     " belongs to another user, who is not believed; ask as that "
                                     "user or as root"};
    }
  }
  return error;
}

Result<DaemonInfo> ask_daemon(const UniqueFd& daemon, const ControlRequest& request,
                              Deadline deadline) {
  const std::string line = encode(request);
  std::string reply;
  const Error ended{Code::kUnavailable, "the daemon has ended; its log says why"};
  const ssize_t gone = send(daemon.get(), line.data(), line.size(), MSG_NOSIGNAL);
  if (gone < 0 && (errno == EPIPE || errno == ECONNRESET)) return ended;
  const bool sent = gone == static_cast<ssize_t>(line.size());
  while (sent && !reply.ends_with('\n') && reply.size() < kMaxControlReplyBytes) {
    if (!wait_ready(daemon.get(), POLLIN, deadline)) break;
    if (!receive_reply(daemon, reply)) return ended;
  }
  if (reply.ends_with('\n')) return decode_control_reply(reply);
  Error error = no_answer();
  if (sent && request.command != ControlCommand::kWorkers) error.code = Code::kUnknown;
  return error;
}

Result<DaemonInfo> ask_daemon(const Endpoint& endpoint, const ControlRequest& request,
                              Deadline deadline) {
  const Result<UniqueFd> daemon = find_daemon(endpoint, deadline);
  if (!daemon) return daemon.error();
  return ask_daemon(*daemon, request, deadline);
}

DaemonEnd wait_for_end(const UniqueFd& daemon, Deadline deadline) {
  if (!wait_ready(daemon.get(), POLLIN, deadline)) return DaemonEnd::kNotYet;
  char word = 0;
  const bool is_said = recv(daemon.get(), &word, 1, 0) == 1 && word == kEndedWord;
  if (!is_said) return DaemonEnd::kUnknown;
  wait_ready(daemon.get(), POLLIN, deadline);  // for the end of the process that has said it
  return DaemonEnd::kComplete;
}

}  // namespace counterd
