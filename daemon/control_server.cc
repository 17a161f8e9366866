#include "daemon/control_server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "common/control_socket.h"
#include "common/limits.h"
#include "common/path.h"

namespace counterd {
namespace {

using std::chrono::steady_clock;

// How long nobody is accepted where there are no descriptors for them: the socket stays ready.
constexpr std::chrono::milliseconds kAcceptPause{100};

// A shortage may pass by itself.
Error cannot_make(const std::string& path, int failure) {
  const Code code = setup_code(failure);
  return system_error(code, "cannot make the control socket " + path, failure,
                      code == Code::kConfig ? kNameAnotherPlace : "");
}

// kConfig: a daemon that is not ending answers there, kIo: has it and does not answer. The address
// is ours, but it may have the same one in another network, as in a container that shares this
// folder.
Result<void> check_unused(const std::string& path, const Endpoint& endpoint) {
  constexpr std::chrono::milliseconds kPatience{2'000};
  const Deadline deadline = steady_clock::now() + kPatience;
  const UnixConnection daemon = connect_unix(path, deadline);
  bool answers = false;
  if (daemon.socket) {
    const auto info = ask_daemon(daemon.socket, {ControlCommand::kWorkers}, deadline);
    if (info ? info->stopping : info.error().code == Code::kUnavailable) return {};
    answers = info.ok() || info.error().code != Code::kOverloaded;
  } else if (daemon.failure != EAGAIN) {
    return {};
  }
  return Error{answers ? Code::kConfig : Code::kIo,
               "another counterd" + std::string(answers ? "" : ", which does not answer,") +
                   " has the control socket " + path +
                   (endpoint.is_unix() ? ": it still runs, although its own socket was removed"
                                       : ", for the same address in another network") +
                   kNameAnotherPlace};
}

bool is_ready(const std::vector<pollfd>& polled, int fd) {
  return std::ranges::any_of(polled,
                             [fd](const pollfd& one) { return one.fd == fd && one.revents != 0; });
}

}  // namespace

Result<ControlServer> ControlServer::open(const std::vector<Endpoint>& endpoints) {
  const Result<std::string> directory = control_directory();
  if (!directory) return directory.error();
  ControlServer server;
  for (const Endpoint& endpoint : endpoints) {
    // Absolute, since the daemon does not stay in the folder in which it was started.
    const Result<std::string> absolute =
        absolute_path(*directory + "/" + control_socket_name(endpoint));
    if (!absolute) return absolute.error();
    const std::string& path = *absolute;
    if (path.size() > kMaxSocketPath) {
      return Error{Code::kConfig,
                   "the control socket's path is too long: " + path + kNameAnotherPlace};
    }
    if (const Result<void> unused = check_unused(path, endpoint); !unused) return unused.error();
    const UniqueFd lock = lock_folder(path);  // see say_ended()
    unlink(path.c_str());
    UnixListener listener = listen_unix(path, static_cast<int>(kMaxControlConnections));
    if (!listener.socket) return cannot_make(path, listener.failure);
    server.listeners_.push_back(std::move(listener));
  }
  return server;
}

void ControlServer::add_to(std::vector<pollfd>& polled) const {
  const auto kept =
      static_cast<std::size_t>(std::ranges::count(connections_, true, &Connection::kept));
  const bool room = connections_.size() - kept < kMaxControlConnections &&
                    kept < kMaxControlWaiters && !accepts_from_;
  for (const UnixListener& listener : listeners_) {
    if (room) polled.push_back({listener.socket.get(), POLLIN, 0});
  }
  for (const Connection& connection : connections_) {
    // Of one that is kept only the end matters, which poll() reports unasked.
    const short events = connection.kept ? 0 : POLLIN;
    polled.push_back({connection.socket.get(), events, 0});
  }
}

void ControlServer::serve(const std::vector<pollfd>& polled, const Handler& handler) {
  for (auto it = connections_.begin(); it != connections_.end();) {
    const bool done = is_ready(polled, it->socket.get()) && !serve_connection(*it, handler);
    it = done ? connections_.erase(it) : std::next(it);
  }
  for (const UnixListener& listener : listeners_) {
    if (is_ready(polled, listener.socket.get())) accept(listener);
  }
}

bool ControlServer::accept(const UnixListener& listener) {
  UniqueFd socket(accept4(listener.socket.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!socket) {
    if (is_shortage(errno)) accepts_from_ = steady_clock::now() + kAcceptPause;
    return false;
  }
  if (!is_of_user_or_root(socket.get())) {
    const std::string refusal =
        encode(Error{Code::kForbidden, "the daemon belongs to another user"});
    send(socket.get(), refusal.data(), refusal.size(), MSG_NOSIGNAL);
    return true;
  }
  connections_.push_back({std::move(socket), "", steady_clock::now() + kControlTimeout, false});
  return true;
}

bool ControlServer::serve_connection(Connection& connection, const Handler& handler) {
  std::array<char, kMaxControlRequestBytes> portion{};
  const ssize_t size = recv(connection.socket.get(), portion.data(), portion.size(), 0);
  if (size < 0) return errno == EAGAIN || errno == EINTR;
  if (size == 0 || connection.kept) return false;
  connection.input.append(portion.data(), static_cast<std::size_t>(size));
  const std::size_t end = connection.input.find('\n');
  if (end == std::string::npos) return connection.input.size() < kMaxControlRequestBytes;
  const Result<ControlRequest> request = decode_control_request(connection.input.substr(0, end));
  const Result<DaemonInfo> answer = request ? handler(*request) : request.error();
  const std::string reply = answer ? encode(*answer) : encode(answer.error());
  send(connection.socket.get(), reply.data(), reply.size(), MSG_NOSIGNAL);
  connection.kept = answer.ok() && answer->stopping;
  return connection.kept;
}

void ControlServer::say_ended() {
  for (UnixListener& listener : listeners_) {
    // A daemon that starts may be replacing it, and must not lose its own.
    const UniqueFd lock = lock_folder(listener.name->path());
    listener.name.reset();
    while (accept(listener)) continue;
  }
  for (const Connection& connection : connections_) {
    send(connection.socket.get(), &kEndedWord, 1, MSG_NOSIGNAL);
  }
}

Time ControlServer::next_deadline() const {
  Time next = accepts_from_.value_or(Time::max());
  for (const Connection& connection : connections_) {
    if (!connection.kept) next = std::min(next, connection.deadline);
  }
  return next;
}

void ControlServer::expire() {
  const auto now = steady_clock::now();
  if (accepts_from_ && *accepts_from_ <= now) accepts_from_.reset();
  connections_.remove_if([now](const Connection& connection) {
    return !connection.kept && connection.deadline <= now;
  });
}

}  // namespace counterd
