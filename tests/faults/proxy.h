// Stands between a client and a server and, when told to, spoils what passes next.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "common/endpoint.h"
#include "common/unique_fd.h"
#include "tests/faults/random.h"

namespace counterd::faults {

enum class Spoil : unsigned char {
  kCutBeforeRequest,  // the server never sees it
  kCutAfterRequest,   // the server sees it, and nobody hears its answer
  kCutBeforeReply,    // the answer is swallowed
  kCutInReply,        // half of the answer comes
  kDelayRequest,
  kDelayReply,
  kLateRequest,  // cut; the request reaches the server some time later
};
inline constexpr std::size_t kSpoils = 7;

class Proxy {
 public:
  // Listens on `address` (port 0: any free one) and connects to `upstream` for each connection.
  Proxy(const Endpoint& address, Endpoint upstream, std::uint64_t seed);
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;
  ~Proxy();

  const Endpoint& endpoint() const { return endpoint_; }

  // Spoils one of the next requests or answers in this way.
  void spoil(Spoil how);
  // How often that was done.
  std::int64_t spoilt(Spoil how) const { return spoilt_[static_cast<std::size_t>(how)]; }

 private:
  struct Portion {
    std::int64_t due = 0;
    std::string bytes;
  };
  struct Direction {
    std::deque<Portion> held;  // each until it is due
  };
  struct Pair {
    UniqueFd client;
    UniqueFd server;
    Direction up, down;
    bool ends_when_sent = false;  // the client is gone
    std::int64_t end = 0;         // then, at the latest
  };

  void run();
  void accept_one();
  bool serve(Pair& pair, short client_events, short server_events);
  bool pass_request(Pair& pair);
  bool pass_reply(Pair& pair);
  bool send_due(const UniqueFd& to, Direction& direction);
  std::optional<Spoil> take(bool request);

  Endpoint endpoint_;
  const Endpoint upstream_;
  Random random_;  // of the thread
  UniqueFd listener_;
  UniqueFd wake_;  // written to at the end
  std::list<Pair> pairs_;
  std::mutex mutex_;  // guards to_spoil_
  std::deque<Spoil> to_spoil_;
  std::array<std::atomic<std::int64_t>, kSpoils> spoilt_{};
  std::thread thread_;
};

}  // namespace counterd::faults
