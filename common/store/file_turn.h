// The right to change a database file, which one holder among all processes has at a time: flock(2)
// on the database file itself, through a descriptor of its own.
//
// Not a lock file beside it, which can be unlinked and recreated, so that two hold it, or be held
// by anyone who may read it. Not SQLite's own lock, which does not keep a checkpoint away from a
// writer. The kernel frees the turn when its holder dies; a holder that is stopped keeps it.
#pragma once

#include <ctime>

#include "common/deadline.h"
#include "common/error.h"

namespace counterd {

class FileTurn {
 public:
  // REQUIRES: `file` is open in take() and yield()
  explicit FileTurn(int file) : file_(file) {}
  FileTurn(const FileTurn&) = delete;
  FileTurn& operator=(const FileTurn&) = delete;
  ~FileTurn();

  // Waits until `deadline` at the latest, asleep in the kernel. kOverloaded: not obtained by then;
  // kUnavailable: it cannot be waited for.
  Result<void> take(Deadline deadline);
  void yield();

 private:
  Result<void> wait(Deadline deadline);
  Result<void> arm(Deadline deadline);
  void disarm();

  const int file_;
  timer_t timer_{};
  pid_t timer_thread_ = 0;  // the thread that the timer interrupts; 0: there is no timer
};

}  // namespace counterd
