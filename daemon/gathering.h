// How long to gather steps for one batch before it is put to the store.
//
// Clients that were just answered tend to come back at once. Putting them and those that already
// wait into one batch makes one commit instead of two, so it is worth waiting for most of them, but
// for no longer than half a commit takes; and if they did not come, not again for a while. Once
// most are there, the last ones are not far off.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>

#include "common/deadline.h"

namespace counterd {

class Gathering {
 public:
  // Expects so many steps, now that a commit which took `commit` is over.
  void begin(std::size_t expected, std::chrono::steady_clock::duration commit, Time now);

  // Until when to wait for more when so many have come; in the past: not at all.
  Deadline end(std::size_t come, Time now);

  // Called when a batch of so many steps is put to the store. If more were waited for and did not
  // come, the next batches that lack them do not wait: one batch, then 2, 4 and so on.
  void learn(std::size_t come);
  // The same, when the batch is put for another reason, which says nothing about who comes.
  void learn_nothing() { waited_ = false; }

 private:
  std::size_t expected_ = 0;
  std::chrono::steady_clock::duration commit_{0};
  Deadline patience_end_;
  std::optional<Deadline> last_ones_end_;  // of the wait for the rest; set when most have come
  bool waited_ = false;                    // whether most of them were waited for
  std::size_t skip_ = 0;                   // how many of the next batches begin without waiting
  std::size_t skipped_ = 0;                // what skip_ was last set to, after a useless wait
};

}  // namespace counterd
