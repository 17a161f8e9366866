// The Leader/Followers pattern: a second thread runs the event loop while the first one waits for
// the store for longer than a moment, so that nothing that hangs beneath the store keeps requests,
// deadlines or signals waiting.
//
// Why the store has no thread of its own: to hand it a batch and to get back the answers would take
// two wake-ups of a sleeping thread, as much time as a quick store takes, and as much work as the
// requests are.
#pragma once

#include <asio/io_context.hpp>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>

#include "common/deadline.h"

namespace counterd {

// One thread at a time has the event loop: it alone runs handlers, and may touch what they touch.
class StandIn {
 public:
  // The calling thread has the loop; cover() and the destructor must be called on it.
  explicit StandIn(asio::io_context& loop);
  ~StandIn();
  StandIn(const StandIn&) = delete;
  StandIn& operator=(const StandIn&) = delete;

  // Calls `work`, which must touch nothing that belongs to the loop, and returns its result. If it
  // takes longer than 2 to 4 milliseconds, the second thread runs the loop until it is done.
  // REQUIRES: no handler of the loop is running
  template <class Work>
  auto cover(Work work) {
    leave();
    const Return to_the_loop{*this};
    return work();
  }

  // Since when the first thread has been away, if the second one stands in for it. Called by
  // whoever runs the loop.
  std::optional<Time> away_since() const { return away_since_; }

 private:
  struct Return {
    StandIn& stand_in;
    ~Return() { stand_in.come_back(); }
  };

  void leave();
  void come_back();
  void run();
  void doze(std::unique_lock<std::mutex>& lock, std::uint64_t moves);
  void stand_in(std::uint64_t absence);

  asio::io_context& loop_;
  std::mutex loop_mutex_;  // the thread that holds it has the loop, and away_since_
  std::optional<Time> away_since_;
  // Counts departures and returns: odd while the first thread is away.
  std::atomic<std::uint64_t> moves_{0};
  std::atomic<bool> dozes_{false};  // whether the second thread sleeps until the next departure

  std::mutex mutex_;  // guards ending_, and what changed_ signals
  std::condition_variable changed_;
  bool ending_ = false;

  std::thread thread_;
};

}  // namespace counterd
