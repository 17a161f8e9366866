// The workers of a daemon and the sockets that they serve: starts them, replaces them, and changes
// their number.
//
// A worker that dies is replaced at once, on the same sockets; one that is told to end by somebody
// else, as soon as it says that it takes no more connections; one that dies while starting, after a
// pause that doubles up to 10 s, or 1 s while no worker serves. A worker that was to end but has
// not, a little after its drain timeout, is killed. The first worker starts alone, so that a
// configuration error is reported only once.
//
// Never waits: the functions that do what is due are called when next_deadline() has come, a
// descriptor of add_to() can be read, or a child has ended.
#pragma once

#include <poll.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "common/control.h"
#include "common/deadline.h"
#include "common/timestamp.h"
#include "common/unique_fd.h"
#include "daemon/listeners.h"
#include "daemon/worker_process.h"

namespace counterd {

// What workers are started from.
struct WorkerProgram {
  UniqueFd binary;  // the program image
  // Setups (worker_setup.h): the first one, which may create the store, until a worker has been
  // ready; from then on the other one, which may not.
  UniqueFd first_setup, setup;
};

class WorkerPool {
 public:
  // How long beyond its own drain timeout a worker may take before it is killed.
  static constexpr std::chrono::milliseconds kKillPatience{2'000};

  // Of `wanted` workers, 1 to kMaxWorkers; those that are to end may take `drain_timeout`.
  WorkerPool(Listeners listeners, WorkerProgram program, int wanted,
             std::chrono::milliseconds drain_timeout);

  void add_to(std::vector<pollfd>& polled) const;
  Time next_deadline() const;  // max(): none

  void start_due();
  void take_words();
  // Takes note of the children that have ended. Returns an exit status if the daemon must end with
  // it: that of a worker with a configuration error (78), unless the pool has been ready and
  // another worker serves, when it is like any that dies.
  std::optional<int> reap();
  void kill_overdue();
  // Brings the number of workers to what is wanted. kIo: there are no sockets for more; the present
  // number is the wanted one then.
  Result<void> adjust();

  // 1 to kMaxWorkers. Errors: as adjust().
  Result<void> resize(int wanted);
  // Whether all workers serve, and have not done so before: true once.
  bool note_ready();
  // Stops listening, and tells all workers to end. Nothing is started from now on.
  void drain();
  void kill_all();  // at the next kill_overdue()

  int serving() const;  // how many workers do, apart from those that are to end
  bool all_ready() const { return serving() >= wanted(); }
  bool was_ready() const { return was_ready_; }
  bool is_draining() const { return draining_; }
  bool has_ended() const;  // drained, and no worker is left
  int wanted() const { return static_cast<int>(wanted_); }
  std::vector<WorkerInfo> workers() const;
  const std::vector<Endpoint>& endpoints() const { return listeners_.endpoints(); }

 private:
  // As in WorkerInfo. kWaiting: there is no process.
  struct Worker {
    std::size_t slot = 0;
    WorkerProcess process = {};
    WorkerState state = WorkerState::kWaiting;
    std::int64_t since_ms = unix_now_ms();
    Time kill_at = Time::max();
    std::string failure = {};  // why it cannot start, once it has said so

    std::string name() const;  // for people
  };

  // A place for a worker, with sockets of its own.
  struct Slot {
    Worker worker;
    bool is_new = false;  // added while others serve: gets connections once its worker is ready
    // Set: goes away when its worker, which serves until then, has ended and its queue is empty.
    std::optional<Time> retires_at;
    Time start_at;
    std::chrono::milliseconds pause{0};  // after a start that has failed; 0: the last one has not
    std::string logged;                  // of the last start that has failed
    Time log_again_at;                   // if the next one fails in the same way

    std::string replacement() const;  // for people: whether one that ends is replaced
  };

  void start(Slot& slot);
  void take_word_of(Slot& slot);
  void become_ready(Slot& slot);
  void let_go(Slot& slot);
  std::optional<int> take_end_of(Slot& slot, int status);
  static Worker vacate(Slot& slot);
  void back_off(Slot& slot);
  static void log_failed_start(Slot& slot, const std::string& how);
  void route();
  void drain_retired_workers();
  void remove_retired_slots();
  void retire_slots_from(std::size_t first);
  Result<void> add_slots_up_to(std::size_t wanted);
  void drain(Worker& worker);
  Time end_of_patience() const;
  bool serves(std::size_t count) const;
  static void enter(Worker& worker, WorkerState state);

  Listeners listeners_;
  WorkerProgram program_;
  std::size_t wanted_;
  std::chrono::milliseconds drain_timeout_;
  std::vector<Slot> slots_;
  std::vector<Worker> leaving_;  // while another one already has their slot
  bool one_was_ready_ = false;
  bool was_ready_ = false;  // all were, at the same time
  bool draining_ = false;
};

}  // namespace counterd
