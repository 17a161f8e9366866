// The right to change a database file, which one holder in all processes has at a time: flock(2)
// on the database file itself, by a descriptor of its own.
//
// Not a lock file beside it, which can be unlinked and made anew, so that two hold it, or be held
// by whoever may read it. Not SQLite's own lock, which does not keep a checkpoint away from a
// writer. The kernel frees the turn when its holder dies; one that is stopped keeps it.
//
// And what one tells those that come later: that the file is in use, and by an alarm that it is in
// doubt; only who has raised it ends it.
#pragma once

#include <ctime>

#include "common/deadline.h"
#include "common/error.h"
#include "common/unique_fd.h"

namespace counterd {

class FileTurn {
 public:
  // `file` is open for reading and writing and is kept open: closing any descriptor of a database
  // drops the locks that SQLite has on it in this process. So a FileTurn is made before SQLite
  // opens the file and outlives its connection.
  explicit FileTurn(UniqueFd file) : file_(std::move(file)) {}
  FileTurn(const FileTurn&) = delete;
  FileTurn& operator=(const FileTurn&) = delete;
  ~FileTurn();

  // Waits until `deadline` at the latest, asleep in the kernel. kUnavailable: not got by then.
  Result<void> take(Deadline deadline);
  void yield();

  // From now on, until leave() or the end of this object, others see that somebody uses the file.
  void be_present();
  void leave();
  bool is_another_present() const;

  // Heard by all others, of whatever process, until end_alarm() or the end of this object.
  void raise_alarm();
  void end_alarm();
  // Whether another one's alarm is raised.
  bool hears_alarm() const;

 private:
  Result<void> wait(Deadline deadline);
  Result<void> arm(Deadline deadline);
  void disarm();

  UniqueFd file_;
  timer_t timer_{};
  pid_t timer_thread_ = 0;  // the thread that the timer interrupts; 0: there is no timer
};

}  // namespace counterd
