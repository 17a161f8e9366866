#include "tests/faults/proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "common/unix_socket.h"
#include "tests/faults/clock.h"

namespace counterd::faults {
namespace {

constexpr std::size_t kPortion = 256 * 1024;  // holds any request whole
constexpr std::int64_t kMs = 1'000'000;

// A socket, bound or connected by `use`.
template <class Use>
UniqueFd make_socket(const Endpoint& endpoint, const Use& use) {
  UniqueFd made(socket(endpoint.is_unix() ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  // A server that does not read must not stop all other connections for long.
  const timeval patience{.tv_sec = 0, .tv_usec = 100'000};
  setsockopt(made.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  const int yes = 1;
  int done = -1;
  if (endpoint.is_unix()) {
    sockaddr_un address = unix_address(endpoint.path);
    done = use(made.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  } else {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(endpoint.port));
    inet_pton(AF_INET, endpoint.host.c_str(), &address.sin_addr);
    setsockopt(made.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    done = use(made.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  }
  return done == 0 ? std::move(made) : UniqueFd();
}

bool of_request(Spoil how) {
  return how != Spoil::kCutBeforeReply && how != Spoil::kCutInReply && how != Spoil::kDelayReply;
}

}  // namespace

Proxy::Proxy(const Endpoint& address, Endpoint upstream, std::uint64_t seed)
    : endpoint_(address),
      upstream_(std::move(upstream)),
      random_(seed, 1'000'000),
      listener_(make_socket(address, ::bind)),
      wake_(eventfd(0, EFD_CLOEXEC)) {
  if (!listener_ || ::listen(listener_.get(), 512) != 0) throw std::runtime_error("proxy: listen");
  if (!address.is_unix()) {
    sockaddr_in bound{};
    socklen_t size = sizeof bound;
    getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&bound), &size);
    endpoint_.port = ntohs(bound.sin_port);
  }
  thread_ = std::thread([this] { run(); });
}

Proxy::~Proxy() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof one);
  thread_.join();
}

void Proxy::spoil(Spoil how) {
  const std::lock_guard lock(mutex_);
  to_spoil_.push_back(how);
}

// The next thing to do to a request, or to an answer; nothing: it passes as it is.
std::optional<Spoil> Proxy::take(bool request) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(to_spoil_.begin(), to_spoil_.end(),
                                  [&](Spoil each) { return of_request(each) == request; });
  if (found == to_spoil_.end()) return std::nullopt;
  const Spoil how = *found;
  to_spoil_.erase(found);
  ++spoilt_[static_cast<std::size_t>(how)];
  return how;
}

void Proxy::run() {
  std::vector<pollfd> polled;
  for (;;) {
    polled.assign({{wake_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}});
    std::int64_t due = now_ns() + 1'000 * kMs;
    for (const Pair& pair : pairs_) {
      polled.push_back({pair.ends_when_sent ? -1 : pair.client.get(), POLLIN, 0});
      polled.push_back({pair.server.get(), POLLIN, 0});
      for (const Direction* direction : {&pair.up, &pair.down}) {
        if (!direction->held.empty()) due = std::min(due, direction->held.front().due);
      }
      if (pair.ends_when_sent) due = std::min(due, pair.end);
    }
    const std::int64_t left = std::max<std::int64_t>(0, due - now_ns());
    poll(polled.data(), polled.size(), static_cast<int>((left + kMs - 1) / kMs));
    if (polled[0].revents != 0) return;
    std::size_t at = 2;
    for (auto pair = pairs_.begin(); pair != pairs_.end(); at += 2) {
      const bool lives = serve(*pair, polled[at].revents, polled[at + 1].revents);
      pair = lives ? std::next(pair) : pairs_.erase(pair);
    }
    if (polled[1].revents != 0) accept_one();
  }
}

void Proxy::accept_one() {
  UniqueFd client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!client) return;
  const timeval patience{.tv_sec = 0, .tv_usec = 100'000};
  setsockopt(client.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  UniqueFd server = make_socket(upstream_, ::connect);
  if (!server) return;
  Pair& pair = pairs_.emplace_back();
  pair.client = std::move(client);
  pair.server = std::move(server);
}

// False: the connection is over.
bool Proxy::serve(Pair& pair, short client_events, short server_events) {
  if (client_events != 0 && !pass_request(pair)) return false;
  if (server_events != 0 && !pass_reply(pair)) return false;
  if (!send_due(pair.server, pair.up)) return false;
  if (pair.ends_when_sent) return now_ns() < pair.end;
  return send_due(pair.client, pair.down);
}

bool Proxy::pass_request(Pair& pair) {
  std::string bytes(kPortion, '\0');
  const ssize_t size = recv(pair.client.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (size <= 0) return false;
  bytes.resize(static_cast<std::size_t>(size));
  std::int64_t due = pair.up.held.empty() ? 0 : pair.up.held.back().due;
  if (const std::optional<Spoil> how = take(true)) {
    if (how == Spoil::kCutBeforeRequest) return false;
    if (how == Spoil::kDelayRequest) due = now_ns() + random_.between(1, 300) * kMs;
    if (how == Spoil::kLateRequest) due = now_ns() + random_.between(1, 400) * kMs;
    if (how == Spoil::kCutAfterRequest || how == Spoil::kLateRequest) {
      pair.client.reset();
      pair.ends_when_sent = true;
      pair.end = std::max(due, now_ns()) + 500 * kMs;
    }
  }
  pair.up.held.push_back({due, std::move(bytes)});
  return true;
}

bool Proxy::pass_reply(Pair& pair) {
  std::string bytes(kPortion, '\0');
  const ssize_t size = recv(pair.server.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (size <= 0) return false;
  if (pair.ends_when_sent) return true;
  bytes.resize(static_cast<std::size_t>(size));
  std::int64_t due = pair.down.held.empty() ? 0 : pair.down.held.back().due;
  if (const std::optional<Spoil> how = take(false)) {
    if (how == Spoil::kCutBeforeReply) return false;
    if (how == Spoil::kDelayReply) due = now_ns() + random_.between(1, 300) * kMs;
    if (how == Spoil::kCutInReply) {
      send(pair.client.get(), bytes.data(), bytes.size() / 2, MSG_NOSIGNAL);
      return false;
    }
  }
  pair.down.held.push_back({due, std::move(bytes)});
  return true;
}

bool Proxy::send_due(const UniqueFd& to, Direction& direction) {
  while (!direction.held.empty() && direction.held.front().due <= now_ns()) {
    std::string_view bytes = direction.held.front().bytes;
    while (!bytes.empty()) {
      const ssize_t size = send(to.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (size <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(size));
    }
    direction.held.pop_front();
  }
  return true;
}

}  // namespace counterd::faults
