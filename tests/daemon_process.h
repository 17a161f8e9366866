// A real counterd for one test, with folders and a port of its own. It ends with its object.
//
// Throws when it fails, which fails the test.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "common/control.h"
#include "common/endpoint.h"
#include "tests/temporary_directory.h"

namespace counterd {

// What is run as counterd, and what is added to its environment, each as NAME=VALUE.
struct DaemonProgram {
  std::string binary = COUNTERD_BINARY;
  std::vector<std::string> environment = {};
};

class DaemonProcess {
 public:
  // Starts counterd with `arguments` and waits until it is ready. Without --listen it listens on a
  // loopback port of its own, without --store on a database in directory().
  explicit DaemonProcess(std::vector<std::string> arguments = {}, DaemonProgram program = {});
  DaemonProcess(const DaemonProcess&) = delete;
  DaemonProcess& operator=(const DaemonProcess&) = delete;
  ~DaemonProcess();

  // Starts it again, on the same address. REQUIRES: it does not run
  void start();
  // Sends SIGTERM, then as wait_for_end().
  int stop();
  // Returns the exit status, or minus the signal. After SIGTERM to pid(): a second one, as by
  // stop(), would kill the workers.
  int wait_for_end();
  // Sends SIGKILL to the supervisor and every worker, as if all had crashed; waits for the end of
  // all of them.
  void kill_all();

  const TemporaryDirectory& directory() const { return directory_; }
  const Endpoint& endpoint() const { return endpoint_; }
  int port() const { return endpoint_.port; }
  pid_t pid() const { return pid_; }
  DaemonInfo info() const;
  std::vector<pid_t> worker_pids() const;  // of those that are ready
  std::string log() const;

 private:
  TemporaryDirectory directory_;
  std::vector<std::string> arguments_;
  DaemonProgram program_;
  Endpoint endpoint_;
  pid_t pid_ = 0;
};

}  // namespace counterd
