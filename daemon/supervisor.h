// The daemon's first process: opens the sockets, has the workers started and replaced
// (worker_pool.h), and answers systemd, signals and the control socket. Knows nothing of counters:
// any process of the daemon can be killed at any moment and nothing acknowledged is lost.
//
// One thread, which waits in one place, also for SIGTERM, SIGINT, SIGHUP and SIGCHLD. SIGTERM and
// SIGINT drain the daemon and end it with 0, a second one a moment later kills the workers. SIGHUP
// is ignored. A configuration error of a worker may end the daemon with 78.
#pragma once

#include "common/control.h"
#include "common/deadline.h"
#include "common/unique_fd.h"
#include "daemon/control_server.h"
#include "daemon/notify.h"
#include "daemon/options.h"
#include "daemon/worker_pool.h"

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
  Supervisor(DaemonOptions options, UniqueFd ready, UniqueFd signals, ControlServer control,
             WorkerPool workers)
      : options_(std::move(options)),
        workers_(std::move(workers)),
        control_(std::move(control)),
        signals_(std::move(signals)),
        ready_(std::move(ready)) {}

  void wait();
  int milliseconds_to_wait() const;
  void take_signals();
  void take_end_signal(int number);
  void take_ends_of_workers();
  void say_ready();
  void tell_systemd();
  void stop();
  Result<DaemonInfo> answer(const ControlRequest& request);
  Result<DaemonInfo> scale(int workers);
  DaemonInfo info() const;

  DaemonOptions options_;
  WorkerPool workers_;
  ControlServer control_;
  UniqueFd signals_;
  UniqueFd ready_;  // options_.ready_fd, until the daemon is ready
  SystemdNotifier systemd_;
  Time one_signal_until_;  // see kOneSignal
  int exit_status_ = 0;
};

}  // namespace counterd
