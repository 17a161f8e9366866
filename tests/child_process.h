// A child that runs a function of the test, and can be killed and stopped as real processes are.
//
// SQLite connections must not cross a fork: a test forks before it opens the store itself.
#pragma once

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <system_error>

#include "common/unique_fd.h"

namespace counterd {

class ChildProcess {
 public:
  // Runs `body` in a child; what it returns is the child's exit status. The child writes to its
  // test through the descriptor that `body` gets. It dies with the thread that made it.
  explicit ChildProcess(const std::function<int(int)>& body) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) fail("pipe2");
    output_ = UniqueFd(ends[0]);
    UniqueFd input(ends[1]);
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ < 0) fail("fork");
    if (pid_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int status = 99;
    if (getppid() == parent) {
      try {
        status = body(input.get());
      } catch (...) {
      }
    }
    _exit(status);
  }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ~ChildProcess() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    wait();
  }

  // For the child: writes a byte, then waits to be killed.
  static int say_and_wait(int output) {
    while (::write(output, "!", 1) == 1) pause();
    return 1;
  }

  pid_t pid() const { return pid_; }
  void send(int signal) const { ::kill(pid_, signal); }

  // Waits until the child has ended; returns its exit status, or minus the signal that ended it.
  int wait() {
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  }

  // Waits until the child is stopped; false: it has ended instead.
  bool wait_until_stopped() const {
    siginfo_t found{};
    while (waitid(P_PID, static_cast<id_t>(pid_), &found, WSTOPPED | WEXITED | WNOWAIT) < 0 &&
           errno == EINTR) {
    }
    return found.si_code == CLD_STOPPED;
  }

  // The next `size` bytes that the child writes; false: it wrote no more.
  bool read(void* bytes, std::size_t size) const {
    auto* next = static_cast<char*>(bytes);
    while (size > 0) {
      const ssize_t got = ::read(output_.get(), next, size);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return false;
      next += got;
      size -= static_cast<std::size_t>(got);
    }
    return true;
  }
  bool wait_for_byte() const {
    char byte = 0;
    return read(&byte, 1);
  }

 private:
  [[noreturn]] static void fail(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
  }

  pid_t pid_ = 0;
  UniqueFd output_;
};

}  // namespace counterd
