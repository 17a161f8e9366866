#include "daemon/stand_in.h"

#include <asio/post.hpp>
#include <chrono>

namespace counterd {
namespace {

// The second thread stands in for an absence that is still the same one after this long. It checks
// at this interval while there are absences, and not at all when there are none.
constexpr std::chrono::milliseconds kPatience{2};

bool is_away(std::uint64_t moves) {
  return moves % 2 == 1;
}

}  // namespace

StandIn::StandIn(asio::io_context& loop) : loop_(loop) {
  loop_mutex_.lock();
  thread_ = std::thread([this] { run(); });
}

StandIn::~StandIn() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_one();
  thread_.join();
  loop_mutex_.unlock();
}

void StandIn::leave() {
  ++moves_;
  loop_mutex_.unlock();
  if (!dozes_) return;
  {
    const std::lock_guard lock(mutex_);
    dozes_ = false;
  }
  changed_.notify_one();
}

void StandIn::come_back() {
  ++moves_;
  if (loop_mutex_.try_lock()) return;
  asio::post(loop_, [] {});  // the second thread may be asleep in the loop
  loop_mutex_.lock();
}

void StandIn::run() {
  std::unique_lock lock(mutex_);
  while (!ending_) {
    const std::uint64_t moves = moves_;
    changed_.wait_for(lock, kPatience, [this] { return ending_; });
    if (moves_ != moves) continue;
    if (is_away(moves)) {
      lock.unlock();
      stand_in(moves);
      lock.lock();
    } else {
      doze(lock, moves);
    }
  }
}

// Waits until there are more than `moves`. A departing thread counts its move, then checks whether
// this thread dozes; so this thread first says that it does, then checks for more moves.
void StandIn::doze(std::unique_lock<std::mutex>& lock, std::uint64_t moves) {
  dozes_ = true;
  if (moves_ == moves) changed_.wait(lock, [this] { return ending_ || !dozes_; });
  dozes_ = false;
}

// Does not wait for the loop: the first thread, if it is back by now, may keep it until the end.
void StandIn::stand_in(std::uint64_t absence) {
  const std::unique_lock loop(loop_mutex_, std::try_to_lock);
  if (!loop) return;
  away_since_ = std::chrono::steady_clock::now();
  while (moves_ == absence && !loop_.stopped()) loop_.run_one();
  away_since_.reset();
}

}  // namespace counterd
