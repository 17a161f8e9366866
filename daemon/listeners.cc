#include "daemon/listeners.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "common/deadline.h"
#include "common/number.h"
#include "common/quote.h"
#include "common/tcp_address.h"

namespace counterd {
namespace {

// As many as the system allows (net.core.somaxconn).
constexpr int kBacklog = 65'535;

// The first descriptor that systemd hands over (sd_listen_fds(3)).
constexpr int kFirstSystemdFd = 3;

// Between two looks at an address that is taken.
constexpr std::chrono::milliseconds kTakenPause{10};

void set_option(const UniqueFd& socket, int level, int option) {
  const int yes = 1;
  setsockopt(socket.get(), level, option, &yes, sizeof yes);
}

// Whether it may pass by itself, as for an address that the network does not have yet.
Code code_of(int number) {
  return number == EADDRNOTAVAIL ? Code::kIo : setup_code(number);
}

bool is_socket(const std::string& path) {
  struct stat found {};
  return stat(path.c_str(), &found) != 0 || S_ISSOCK(found.st_mode);
}

// Where counterctl reaches who has the address: a daemon that listens on the loopback address alone
// does not answer to the one that stands for all.
Endpoint asked_at(Endpoint endpoint) {
  if (endpoint.host == "0.0.0.0") endpoint.host = "127.0.0.1";
  if (endpoint.host == "::") endpoint.host = "::1";
  return endpoint;
}

Error cannot_listen(const Endpoint& endpoint, int number) {
  const std::string what = "cannot listen on " + to_string(endpoint);
  const std::string taken = ": the address is taken; if counterctl status --server " +
                            word_for_shell(to_url(asked_at(endpoint))) +
                            " shows a counterd, it serves already";
  if (number == EEXIST) {
    return {Code::kConfig, what +
                               ": there is something else than a socket; remove it, or choose "
                               "another path with --listen"};
  }
  if (number == EADDRINUSE && endpoint.is_unix()) {
    return {Code::kConfig,
            what + taken +
                "; if nobody has the socket (ss -lxp does not show it), remove it, else choose "
                "another path with --listen"};
  }
  if (number == EADDRINUSE) {
    return {Code::kConfig,
            what + taken +
                ", else end what has it (ss -tanp shows it: perhaps a stopped worker of an earlier "
                "daemon, or a client's end of a connection, which may have one of "
                "net.ipv4.ip_local_port_range), or choose another with --listen"};
  }
  return system_error(code_of(number), what, number);
}

in_port_t& port_of(sockaddr_storage& address) {
  return address.ss_family == AF_INET ? reinterpret_cast<sockaddr_in&>(address).sin_port
                                      : reinterpret_cast<sockaddr_in6&>(address).sin6_port;
}

// With its port, as the system may have chosen it.
TcpAddress address_of(const UniqueFd& socket) {
  TcpAddress address;
  address.size = sizeof address.storage;
  getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address.storage), &address.size);
  return address;
}

Endpoint endpoint_of(TcpAddress address) {
  return {numeric_host(address), ntohs(port_of(address.storage))};
}

// A listening socket, or why there is none (an errno value).
struct Bound {
  UniqueFd socket;
  int failure = 0;
};

// Whether a socket is the first on its address or joins others of ours.
enum class Joining : unsigned char { kFirst, kJoins };

// The first listens without SO_REUSEPORT, so that it fails if another program listens there, and
// gets the option afterwards, so that our other sockets can join it. Had it the option before
// listen(), two daemons that start at once would both listen.
Bound bind_tcp(const TcpAddress& address, Joining joining) {
  UniqueFd socket(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return {UniqueFd(), errno};
  set_option(socket, SOL_SOCKET, SO_REUSEADDR);
  if (address.family() == AF_INET6) set_option(socket, IPPROTO_IPV6, IPV6_V6ONLY);
  if (joining == Joining::kJoins) set_option(socket, SOL_SOCKET, SO_REUSEPORT);
  if (bind(socket.get(), address.get(), address.size) != 0) {
    return {UniqueFd(), errno};
  }
  if (listen(socket.get(), kBacklog) != 0) return {UniqueFd(), errno};
  set_option(socket, SOL_SOCKET, SO_REUSEPORT);
  return {std::move(socket), 0};
}

// What `listen` returns, which is called again until `deadline` while its address is taken.
template <class Listen>
auto wait_for_address(Deadline deadline, Listen listen) {
  for (;;) {
    auto listening = listen();
    const bool is_late = std::chrono::steady_clock::now() >= deadline;
    if (listening.failure != EADDRINUSE || is_late) return listening;
    std::this_thread::sleep_for(kTakenPause);
  }
}

// Empty: the socket has no path, but an abstract name, which begins with a NUL, or none.
std::string path_of(const sockaddr_storage& address, socklen_t size) {
  const char* const path = reinterpret_cast<const sockaddr_un&>(address).sun_path;
  // A path that fills the whole array has no terminating NUL.
  return {path, strnlen(path, size - offsetof(sockaddr_un, sun_path))};
}

// Makes a socket from systemd one of ours; returns its address.
Result<Endpoint> take_over_socket(int fd) {
  const auto refuse = [fd](const std::string& why) {
    return Error{Code::kConfig, "descriptor " + std::to_string(fd) + " from systemd is " + why};
  };
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  const auto option = [fd](int name) {
    int value = 0;
    socklen_t value_size = sizeof value;
    getsockopt(fd, SOL_SOCKET, name, &value, &value_size);
    return value;
  };
  constexpr std::array kFamilies = {AF_INET, AF_INET6, AF_UNIX};
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      option(SO_ACCEPTCONN) == 0 || option(SO_TYPE) != SOCK_STREAM ||
      std::ranges::find(kFamilies, address.ss_family) == kFamilies.end()) {
    return refuse(
        "no listening stream socket of TCP or Unix; check ListenStream= in the socket unit");
  }
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  if (address.ss_family != AF_UNIX) return endpoint_of({address, size});
  const std::string path = path_of(address, size);
  if (!path.empty()) return Endpoint{"", 0, path};
  return refuse("a Unix socket without a path; name a path in ListenStream= of the socket unit");
}

// Removes the socket at `path` if nobody listens on it. Leaves whatever else is there.
void remove_if_stale(const std::string& path) {
  struct stat found {};
  if (lstat(path.c_str(), &found) != 0 || !S_ISSOCK(found.st_mode)) return;
  if (connect_unix(path, Deadline()).failure == ECONNREFUSED) unlink(path.c_str());
}

// A socket at `path`, where there is none or one that nobody listens on. EEXIST: there is something
// else than a socket.
UnixListener replace_unix(const std::string& path) {
  const UniqueFd lock = lock_folder(path);  // between bind() and listen() a socket looks stale
  remove_if_stale(path);
  const mode_t mask = umask(0117);  // for the owner and the group
  UnixListener listener = listen_unix(path, kBacklog);
  umask(mask);
  if (listener.failure == EADDRINUSE && !is_socket(path)) listener.failure = EEXIST;
  return listener;
}

}  // namespace

Result<Listeners> Listeners::open(const std::vector<Endpoint>& endpoints, Deadline deadline) {
  Listeners listeners;
  listeners.slots_.emplace_back();
  for (const Endpoint& endpoint : endpoints) {
    const Result<void> opened = endpoint.is_unix() ? listeners.open_unix(endpoint, deadline)
                                                   : listeners.open_tcp(endpoint, deadline);
    if (!opened) return opened.error();
  }
  return listeners;
}

Result<void> Listeners::open_unix(const Endpoint& endpoint, Deadline deadline) {
  auto [socket, name, failure] =
      wait_for_address(deadline, [&] { return replace_unix(endpoint.path); });
  if (!socket) return cannot_listen(endpoint, failure);
  names_.push_back(std::move(*name));
  endpoints_.push_back(endpoint);
  shared_.push_back(std::move(socket));
  return {};
}

// Opens each address of the name except those that this machine does not have, as long as it has
// one: localhost often has two, of which the IPv6 one may be switched off. With port 0, all use the
// port that the first one gets.
Result<void> Listeners::open_tcp(const Endpoint& endpoint, Deadline deadline) {
  auto [addresses, failure] = look_up(endpoint);
  if (failure != 0) {
    return Error{failure == EAI_AGAIN ? Code::kIo : Code::kConfig,
                 "cannot listen on " + to_string(endpoint) + ": " + gai_strerror(failure)};
  }
  Endpoint wanted = endpoint;
  int skipped = 0;
  bool has_one = false;
  for (TcpAddress& address : addresses) {
    port_of(address.storage) = htons(static_cast<std::uint16_t>(wanted.port));
    Bound bound = wait_for_address(deadline, [&] { return bind_tcp(address, Joining::kFirst); });
    if (bound.failure == EADDRNOTAVAIL || bound.failure == EAFNOSUPPORT) {
      if (skipped != EADDRNOTAVAIL) skipped = bound.failure;  // which may pass by itself
      continue;
    }
    if (!bound.socket) return cannot_listen(wanted, bound.failure);
    endpoints_.push_back(endpoint_of(address_of(bound.socket)));
    slots_.front().push_back(std::move(bound.socket));
    wanted.port = endpoints_.back().port;
    has_one = true;
  }
  if (!has_one) return cannot_listen(wanted, skipped);
  return {};
}

Result<Listeners> Listeners::from_systemd() {
  Listeners listeners;
  const char* pid = std::getenv("LISTEN_PID");
  const char* count = std::getenv("LISTEN_FDS");
  if (pid == nullptr || count == nullptr || pid != std::to_string(getpid())) return listeners;
  const auto number = parse_int64_within(count, "LISTEN_FDS", 1, 64);
  if (!number) return Error{Code::kConfig, number.error().message};
  listeners.slots_.emplace_back();
  for (int fd = kFirstSystemdFd; fd < kFirstSystemdFd + static_cast<int>(*number); ++fd) {
    listeners.shared_.emplace_back(fd);
    const Result<Endpoint> endpoint = take_over_socket(fd);
    if (!endpoint) return endpoint.error();
    listeners.endpoints_.push_back(*endpoint);
  }
  unsetenv("LISTEN_PID");
  unsetenv("LISTEN_FDS");
  unsetenv("LISTEN_FDNAMES");
  return listeners;
}

Result<void> Listeners::add_slot() {
  std::vector<UniqueFd> sockets;
  for (const UniqueFd& first : slots_.front()) {
    const TcpAddress address = address_of(first);
    Bound bound = bind_tcp(address, Joining::kJoins);
    if (!bound.socket) return cannot_listen(endpoint_of(address), bound.failure);
    sockets.push_back(std::move(bound.socket));
  }
  slots_.push_back(std::move(sockets));
  return {};
}

void Listeners::remove_slot() {
  slots_.pop_back();
}

void Listeners::route_to(const std::vector<std::size_t>& slots) {
  // A = random; A %= number of slots; if A is 0 return the first one, if it is 1 the second ...
  // The kernel keeps the sockets of an address in the order in which they began to listen, so a
  // slot's number is its place.
  const auto number = [](std::size_t value) { return static_cast<std::uint32_t>(value); };
  std::vector<sock_filter> code = {
      {BPF_LD | BPF_W | BPF_ABS, 0, 0, static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_RANDOM)},
      {BPF_ALU | BPF_MOD | BPF_K, 0, 0, number(slots.size())}};
  for (std::size_t i = 0; i + 1 < slots.size(); ++i) {
    code.push_back({BPF_JMP | BPF_JEQ | BPF_K, 0, 1, number(i)});
    code.push_back({BPF_RET | BPF_K, 0, 0, number(slots[i])});
  }
  code.push_back({BPF_RET | BPF_K, 0, 0, number(slots.back())});
  const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  // Without it the kernel spreads by a hash over all slots, which is as good until one is removed.
  for (const UniqueFd& socket : slots_.front()) {
    setsockopt(socket.get(), SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program);
  }
}

std::vector<int> Listeners::sockets_of(std::size_t slot) const {
  std::vector<int> sockets;
  for (const UniqueFd& socket : slots_[slot]) sockets.push_back(socket.get());
  for (const UniqueFd& socket : shared_) sockets.push_back(socket.get());
  return sockets;
}

bool Listeners::has_queued(std::size_t slot) const {
  return std::ranges::any_of(slots_[slot], is_readable, &UniqueFd::get);
}

void Listeners::close() {
  // First, as a daemon that starts now takes a name whose socket is closed for a stale one, and
  // puts its own in its place.
  names_.clear();
  slots_.clear();
  shared_.clear();
}

}  // namespace counterd
