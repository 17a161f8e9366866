// Starts and replaces the workers. Knows nothing of counters: any process of the daemon can be
// killed at any moment and nothing acknowledged is lost.
//
// One thread, which waits in one place, also for SIGTERM, SIGINT, SIGHUP and SIGCHLD. A worker that
// dies is replaced at once, on the same sockets; one that is told to end, as soon as it says that
// it takes no more connections; one that dies while starting, after a pause that doubles to 10 s. A
// worker that was to end but has not, a little after its drain timeout, is killed. The first worker
// starts alone, so that a configuration error is reported only once. A worker that exits with 78
// ends the daemon with 78, unless the daemon has been ready and another worker serves: then it is
// like any that dies while starting. SIGTERM and SIGINT drain the daemon and end it with 0, a
// second one kills the workers. SIGHUP is ignored.
#pragma once

#include <chrono>
#include <vector>

#include "common/control.h"
#include "common/unique_fd.h"
#include "daemon/control_server.h"
#include "daemon/listeners.h"
#include "daemon/options.h"
#include "daemon/worker_process.h"

namespace counterd {

class Supervisor {
 public:
  // Opens the sockets and pins the program's own image, from which every worker will be started,
  // whatever becomes of the file. kConfig, kIo.
  // Must be called before anything else opens a descriptor, which the number in options.ready_fd
  // could otherwise name by mistake.
  static Result<Supervisor> open(DaemonOptions options);

  // Runs until the daemon ends; returns the exit status.
  int run();

 private:
  using Clock = std::chrono::steady_clock;

  // A place for a worker, with sockets of its own.
  struct Slot {
    WorkerState state = WorkerState::kWaiting;
    std::int64_t since_ms = 0;
    WorkerProcess process;
    bool retiring = false;  // goes away when its worker has ended and its queue is empty
    Clock::time_point start_at;
    std::chrono::milliseconds pause{0};  // after a start that has failed; 0: the last one has not
    Clock::time_point kill_at = Clock::time_point::max();
  };

  // A worker that is draining while another already has its slot.
  struct Leaving {
    WorkerProcess process;
    std::size_t slot = 0;
    std::int64_t since_ms = 0;
    Clock::time_point kill_at;
  };

  explicit Supervisor(DaemonOptions options) : options_(std::move(options)) {}

  Result<void> set_up();
  Result<void> open_listeners();
  Result<void> write_worker_setup();
  void wait();
  int milliseconds_to_wait() const;
  void tell_watchdog();
  void take_signals();
  void reap();
  void take_end_of_worker(std::size_t slot, int status);
  void back_off(Slot& slot);
  void take_words_of_workers();
  void take_word_of_worker(std::size_t slot);
  void become_ready(Slot& slot);
  void let_go(std::size_t slot);
  void start_due_workers();
  void start(std::size_t slot);
  void say_ready();
  Result<void> adjust_slots();
  void remove_retired_slots();
  void retire_slots_from(std::size_t first);
  Result<void> add_slots_up_to(std::size_t wanted);
  void route();
  void stop();
  void drain(Slot& slot);
  Clock::time_point end_of_patience() const;
  void kill_all();
  void kill_overdue();
  void end_when_empty();
  void tell_status() const;
  Result<DaemonInfo> answer(const ControlRequest& request);
  Result<DaemonInfo> scale(int workers);
  DaemonInfo info() const;
  bool serves(std::size_t count) const;
  bool all_ready() const;
  static void enter(Slot& slot, WorkerState state);

  DaemonOptions options_;
  Listeners listeners_;
  ControlServer control_;
  UniqueFd binary_;
  UniqueFd signals_;
  UniqueFd setup_;
  UniqueFd ready_;  // options_.ready_fd, until the daemon is ready
  std::vector<Slot> slots_;
  std::vector<Leaving> leaving_;
  Clock::time_point next_watchdog_ = Clock::time_point::max();
  std::size_t wanted_ = 0;    // how many workers there should be
  bool was_ready_ = false;    // all workers have served at once
  bool first_ready_ = false;  // one worker has served
  bool stopping_ = false;
  bool ended_ = false;
  int exit_status_ = 0;
};

}  // namespace counterd
