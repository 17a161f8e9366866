#include "daemon/worker_process.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <string>

#include "common/process.h"

namespace counterd {
namespace {

// In the child, before it is a worker.
[[noreturn]] void cannot_start(int lifeline) {
  const Error error = system_error(Code::kIo, "cannot start a worker", errno);
  tell_failure(lifeline, error);
  _exit(code_info(error.code).exit_status);
}

// Puts `fds`, the last of which is the program image, at kSetupFd and up, marks all others to be
// closed, and becomes the worker. In the child; never returns. A worker that lacked one would take
// another file for it. An exception ends the child here: what it would destroy on its way out is
// the supervisor's, whose sockets it would remove.
[[noreturn]] void become_worker(const std::vector<int>& fds, char** argv) noexcept {
  const int first = kSetupFd;
  const int after = first + static_cast<int>(fds.size());
  std::vector<int> copies;
  copies.reserve(fds.size());
  for (const int fd : fds) {
    copies.push_back(fcntl(fd, F_DUPFD_CLOEXEC, after));
    if (copies.back() < 0) cannot_start(fds[kLifelineFd - first]);
  }
  const int lifeline = copies[kLifelineFd - first];
  for (std::size_t i = 0; i < copies.size(); ++i) {
    if (dup2(copies[i], first + static_cast<int>(i)) < 0) cannot_start(lifeline);
  }
  close_range(static_cast<unsigned>(after), ~0U, CLOSE_RANGE_CLOEXEC);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  unsetenv("NOTIFY_SOCKET");  // the supervisor speaks for the service
  // Stays open: what runs programs of another architecture (binfmt_misc) reads it only then.
  fexecve(after - 1, argv, environ);
  cannot_start(lifeline);
}

}  // namespace

Result<WorkerProcess> start_worker(const UniqueFd& binary, const UniqueFd& setup, std::size_t slot,
                                   const std::vector<int>& sockets) {
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0) {
    return system_error(Code::kIo, "cannot start a worker", errno);
  }
  UniqueFd ours(ends[0]);
  const UniqueFd theirs(ends[1]);
  std::vector<int> fds = {setup.get(), theirs.get()};
  fds.insert(fds.end(), sockets.begin(), sockets.end());
  fds.push_back(binary.get());
  std::vector<std::string> words = {"counterd", "worker", std::to_string(slot),
                                    std::to_string(sockets.size())};
  std::vector<char*> argv = argv_of(words);
  const pid_t pid = fork();
  if (pid < 0) {
    return system_error(Code::kIo, "cannot start a worker", errno,
                        errno == EAGAIN ? " (ulimit -u; TasksMax= of systemd)" : "");
  }
  if (pid == 0) become_worker(fds, argv.data());
  return WorkerProcess{pid, std::move(ours)};
}

void tell_failure(int lifeline, const Error& error) {
  const std::string words = kFailedWord + error.message;
  send(lifeline, words.data(), words.size(), MSG_NOSIGNAL);
}

}  // namespace counterd
