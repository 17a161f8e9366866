// Accepts connections and holds what they share: their readiness, scratch memory, the batcher and
// the deadlines.
#pragma once

#include <array>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/steady_timer.hpp>
#include <functional>
#include <list>
#include <span>
#include <vector>

#include "common/unique_fd.h"
#include "daemon/api.h"
#include "daemon/batcher.h"
#include "daemon/connection.h"
#include "daemon/ready_set.h"

namespace counterd {

class Server {
 public:
  // `batcher` outlives the server. At `max_connections` those that have long been idle make way for
  // others; if there are none, accepting pauses.
  Server(asio::io_context& loop, Batcher& batcher, ApiOptions api_options, Figures figures,
         std::size_t max_connections);

  // Serves the connections of a listening, non-blocking stream socket.
  void listen(UniqueFd socket);

  // Accepts the connections that are already queued and stops listening; ends each connection after
  // what it has asked. Calls `done` when none is left. Idle ones get a moment to ask once more, up
  // to half of `longest`; those that have not asked anything yet get a second, whatever `longest`
  // is.
  void drain(std::chrono::milliseconds longest, std::function<void()> done);

  // Closes all connections, whatever they wait for; returns how many of them had not got all their
  // answers, or might have asked for more. REQUIRES: drain() was called
  std::size_t cut_off_all();

  // For connections.
  asio::io_context& loop() { return loop_; }
  Batcher& batcher() { return batcher_; }
  ReadySet& ready_set() { return ready_set_; }
  const ApiOptions& api_options() const { return api_options_; }
  const Figures& figures() const { return figures_; }
  bool draining() const { return draining_; }
  bool drain_is_late() const { return drain_is_late_; }
  std::span<char> scratch() { return scratch_; }
  void count_request() { ++figures_.requests; }
  // The connection at `place` goes from one phase into another, with the deadline of that phase
  // from now.
  void move(GuestPlace place, Phase from, Phase to);
  // Called when the connection at `place` may hold more than before. If all together hold more than
  // kMaxBufferedBytes, cuts off those that have waited longest for their client to take its
  // replies, then those that have waited longest for the rest of a request; perhaps this one.
  void make_room(GuestPlace place);
  void remove(GuestPlace place, Phase phase);

 private:
  using Listener = asio::posix::stream_descriptor;
  using List = std::list<Guest>;

  void wait_to_accept(Listener& listener);
  // Accepts what is queued, at most `most`. False: accepting must pause.
  bool accept_queued(Listener& listener, std::size_t most);
  void log_rarely(std::string_view message);
  void pause_accepting();
  void drain_idle();
  bool one_has_long_been_idle() const;
  void end_long_idle(std::size_t most);
  void admit(UniqueFd socket);
  void set_deadline(Guest& guest, Phase phase);
  void note_buffers(Guest& guest);
  void give_back_memory();
  void expire();
  void arm(Deadline deadline);
  void end_drain_if_empty();

  asio::io_context& loop_;
  Batcher& batcher_;
  ReadySet ready_set_;
  const ApiOptions api_options_;
  Figures figures_;
  const std::size_t max_connections_;
  std::vector<char> scratch_;
  std::list<Listener> listeners_;
  std::array<List, kPhases> lists_;  // in the order of their deadlines
  asio::steady_timer expiry_;
  Deadline armed_for_ = Deadline::max();
  std::size_t buffered_ = 0;       // by all connections
  std::size_t most_buffered_ = 0;  // since memory was last given back
  bool makes_room_ = false;
  asio::steady_timer pause_;
  Deadline next_log_;
  bool draining_ = false;
  bool drain_is_late_ = false;
  std::function<void()> drained_;
};

}  // namespace counterd
