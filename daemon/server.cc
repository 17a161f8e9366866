#include "daemon/server.h"

#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <asio/post.hpp>
#include <cerrno>
#include <chrono>
#include <optional>

#include "common/limits.h"
#include "common/log.h"
#include "daemon/timer.h"

namespace counterd {
namespace {

using std::chrono::steady_clock;

// How much is read at once: as many typical requests as are served at once (kMaxPipelined). What
// has come behind a request that waits for the store is kept until that is answered: it counts for
// kMaxBufferedBytes, but is not cut off.
constexpr std::size_t kScratchBytes = 16 * 1024;

// So that one listener does not keep the event loop from the others' requests.
constexpr std::size_t kAcceptedAtOnce = 64;

// When descriptors or memory have run out, accept() keeps failing at once: pause for a while.
constexpr std::chrono::milliseconds kAcceptPause{100};

// The log says at most this often why connections wait.
constexpr std::chrono::minutes kLogPause{1};

// How long a connection must have been idle to make way for another one, beyond the limit.
constexpr std::chrono::seconds kIdleBeforeMakingWay{5};

// What the allocator keeps of freed buffers is given back to the system after as much as this.
constexpr std::size_t kWorthGivingBack = 16 * 1024 * 1024;

// How long a drain waits for the next request of a connection, which may be on its way, and for the
// first one of a connection that has only just been made.
constexpr std::chrono::milliseconds kIdlePatience{100};
constexpr std::chrono::milliseconds kDrainPatience{1'000};

// Nothing: the phase has no deadline.
constexpr std::array<std::optional<std::chrono::seconds>, kPhases> kTimeouts = {
    kIdleTimeout, kReceiveTimeout, std::nullopt, kSendTimeout, kLingerTimeout};

std::size_t index_of(Phase phase) {
  return static_cast<std::size_t>(phase);
}

// A copy keeps the connection alive when it leaves the list while it is called.
std::shared_ptr<Connection> first_of(const std::list<Guest>& list) {
  return list.front().connection;
}

}  // namespace

Server::Server(asio::io_context& loop, Batcher& batcher, ApiOptions api_options, Figures figures,
               std::size_t max_connections)
    : loop_(loop),
      batcher_(batcher),
      ready_set_(loop),
      api_options_(std::move(api_options)),
      figures_(figures),
      max_connections_(max_connections),
      scratch_(kScratchBytes),
      expiry_(loop),
      pause_(loop) {}

void Server::listen(UniqueFd socket) {
  // For the connections that come by it. The kernel would take megabytes for one whose client does
  // not read, beside what is counted here.
  constexpr int kKernelBuffer = 128 << 10;
  setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUF, &kKernelBuffer, sizeof kKernelBuffer);
  wait_to_accept(listeners_.emplace_back(loop_, socket.release()));
}

void Server::wait_to_accept(Listener& listener) {
  listener.async_wait(Listener::wait_read, [this, &listener](const asio::error_code& failure) {
    if (failure) return;
    if (accept_queued(listener, kAcceptedAtOnce)) {
      wait_to_accept(listener);
    } else {
      pause_accepting();
    }
  });
}

bool Server::accept_queued(Listener& listener, std::size_t most) {
  for (std::size_t accepted = 0; accepted < most; ++accepted) {
    end_long_idle(max_connections_);
    const bool is_full = figures_.connections >= max_connections_;
    if (is_full && !is_readable(listener.native_handle())) return true;
    if (is_full && !one_has_long_been_idle()) {
      log_rarely("serves as many connections as it can, " + std::to_string(max_connections_) +
                 "; others wait until one ends");
      return false;
    }
    UniqueFd socket(
        accept4(listener.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) return true;
      if (errno == ECONNABORTED || errno == EINTR || errno == EPROTO) continue;
      log_rarely(system_error(Code::kIo, "cannot accept connections for now", errno).message);
      return false;
    }
    // Only now: on a socket that workers share, another one may have taken it.
    end_long_idle(max_connections_ - 1);
    admit(std::move(socket));
  }
  return true;
}

bool Server::one_has_long_been_idle() const {
  const List& idle = lists_[index_of(Phase::kIdle)];
  const Deadline latest = steady_clock::now() + kIdleTimeout - kIdleBeforeMakingWay;
  return !idle.empty() && idle.front().deadline <= latest;
}

// Ends those idle longest while there are more than `most` connections. Those that have just asked
// are answered instead, and stay.
void Server::end_long_idle(std::size_t most) {
  while (figures_.connections > most && one_has_long_been_idle()) {
    first_of(lists_[index_of(Phase::kIdle)])->end_if_silent();
  }
}

void Server::admit(UniqueFd socket) {
  const int yes = 1;
  setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);  // not on a Unix socket
  List& idle = lists_[index_of(Phase::kIdle)];
  const GuestPlace place = idle.emplace(idle.end());
  place->connection = std::make_shared<Connection>(*this, place, std::move(socket));
  ++figures_.connections;
  set_deadline(*place, Phase::kIdle);
  place->connection->start();
}

// Why connections have to wait; not again at each attempt.
void Server::log_rarely(std::string_view message) {
  const Time now = steady_clock::now();
  if (now < next_log_) return;
  next_log_ = now + kLogPause;
  log_warning(message);
}

// After the pause asks every listener again; those that were not paused have an operation pending,
// and replacing it does no harm. Each time another one first: at the limit of connections the first
// takes all the room that there is.
void Server::pause_accepting() {
  pause_.expires_after(kAcceptPause);
  pause_.async_wait([this](const asio::error_code& failure) {
    if (failure || draining_) return;
    listeners_.splice(listeners_.end(), listeners_, listeners_.begin());
    for (Listener& listener : listeners_) {
      listener.cancel();
      wait_to_accept(listener);
    }
  });
}

void Server::move(GuestPlace place, Phase from, Phase to) {
  List& list = lists_[index_of(to)];
  list.splice(list.end(), lists_[index_of(from)], place);
  note_buffers(*place);
  set_deadline(*place, to);
}

void Server::set_deadline(Guest& guest, Phase phase) {
  const std::optional<std::chrono::seconds> timeout = kTimeouts[index_of(phase)];
  guest.deadline = timeout ? steady_clock::now() + *timeout : Deadline::max();
  if (guest.deadline < armed_for_) arm(guest.deadline);
}

void Server::note_buffers(Guest& guest) {
  const std::size_t now = guest.connection->buffered();
  buffered_ += now - std::exchange(guest.buffered, now);
  give_back_memory();
}

// When nearly all of what a burst needed has been freed.
void Server::give_back_memory() {
  most_buffered_ = std::max(most_buffered_, buffered_);
  if (most_buffered_ < kWorthGivingBack || buffered_ > most_buffered_ / 16) return;
  most_buffered_ = buffered_;
  malloc_trim(0);
}

void Server::make_room(GuestPlace place) {
  note_buffers(*place);
  if (buffered_ <= kMaxBufferedBytes || std::exchange(makes_room_, true)) return;
  for (const Phase phase : {Phase::kSending, Phase::kReceiving}) {
    const List& list = lists_[index_of(phase)];
    while (buffered_ > kMaxBufferedBytes && !list.empty()) {
      first_of(list)->cut_off(
          {Code::kOverloaded, "too many unfinished requests are held in memory"});
    }
  }
  makes_room_ = false;
}

void Server::remove(GuestPlace place, Phase phase) {
  buffered_ -= place->buffered;
  lists_[index_of(phase)].erase(place);
  --figures_.connections;
  give_back_memory();
  end_drain_if_empty();
}

void Server::end_drain_if_empty() {
  if (figures_.connections == 0 && drained_) asio::post(loop_, std::exchange(drained_, nullptr));
}

void Server::arm(Deadline deadline) {
  armed_for_ = deadline;
  expiry_.expires_at(deadline);
  expiry_.async_wait([this](const asio::error_code& failure) {
    if (!failure) expire();
  });
}

void Server::expire() {
  armed_for_ = Deadline::max();
  const Time now = steady_clock::now();
  Deadline next = Deadline::max();
  for (List& list : lists_) {
    while (!list.empty() && list.front().deadline <= now) {
      first_of(list)->cut_off({Code::kRequestTimeout, "the request did not come within " +
                                                          std::to_string(kReceiveTimeout.count()) +
                                                          " seconds"});
    }
    if (!list.empty()) next = std::min(next, list.front().deadline);
  }
  if (next < armed_for_) arm(next);
}

void Server::drain(std::chrono::milliseconds longest, std::function<void()> done) {
  draining_ = true;
  drained_ = std::move(done);
  for (Listener& listener : listeners_) accept_queued(listener, max_connections_);
  listeners_.clear();
  pause_.cancel();
  after(loop_, std::min(kIdlePatience, longest / 2), [this] { drain_idle(); });
  after(loop_, kDrainPatience, [this] {
    drain_is_late_ = true;
    drain_idle();
  });
  end_drain_if_empty();
}

std::size_t Server::cut_off_all() {
  const std::size_t answered = lists_[index_of(Phase::kLingering)].size();
  const std::size_t unanswered = figures_.connections - answered;
  for (List& list : lists_) {
    while (!list.empty()) first_of(list)->close();
  }
  return unanswered;
}

void Server::drain_idle() {
  const List idle = lists_[index_of(Phase::kIdle)];
  for (const Guest& guest : idle) guest.connection->drain();
}

}  // namespace counterd
