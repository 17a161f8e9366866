#include "tests/daemon_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace counterd {
namespace {

constexpr int kStartTimeoutMs = 30'000;

bool names(const std::vector<std::string>& arguments, const std::string& flag) {
  return std::find(arguments.begin(), arguments.end(), flag) != arguments.end();
}

// The line that counterd writes when it is ready; empty if it ends before.
std::string read_line(int fd) {
  std::string line;
  while (!line.ends_with('\n')) {
    pollfd polled{.fd = fd, .events = POLLIN, .revents = 0};
    char byte = 0;
    if (poll(&polled, 1, kStartTimeoutMs) <= 0 || read(fd, &byte, 1) != 1) return {};
    line += byte;
  }
  line.pop_back();
  return line;
}

}  // namespace

DaemonProcess::DaemonProcess(std::vector<std::string> arguments)
    : arguments_(std::move(arguments)) {
  if (!names(arguments_, "--store")) {
    arguments_.insert(arguments_.end(), {"--store", "sqlite:" + (directory_ / "counters.db")});
  }
  start();
}

DaemonProcess::~DaemonProcess() {
  if (pid_ == 0) return;
  ::kill(pid_, SIGTERM);
  wait_for_end();
}

void DaemonProcess::start() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  const UniqueFd ready(ends[0]);
  UniqueFd to_daemon(ends[1]);
  std::vector<std::string> words = {COUNTERD_BINARY, "--ready-fd", "3"};
  words.insert(words.end(), arguments_.begin(), arguments_.end());
  if (!names(arguments_, "--listen")) {
    words.insert(words.end(),
                 {"--listen", endpoint_.port == 0 ? "127.0.0.1:0" : to_string(endpoint_)});
  }
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  setenv("XDG_RUNTIME_DIR", directory_.path().c_str(), 1);
  pid_ = fork();
  if (pid_ < 0) throw std::runtime_error("fork");
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    const int log = open((directory_ / "log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(log, STDERR_FILENO);
    // Where it is 3 already, dup2() would leave it to be closed by exec.
    if (to_daemon.get() == 3) fcntl(3, F_SETFD, 0);
    dup2(to_daemon.get(), 3);
    execv(argv[0], argv.data());
    perror("exec of " COUNTERD_BINARY);
    _exit(127);
  }
  to_daemon.reset();
  const std::string line = read_line(ready.get());
  const Result<Endpoint> endpoint =
      parse_server(line.empty() ? line : line.substr(line.find(' ') + 1));
  if (!endpoint) throw std::runtime_error("counterd did not start: " + log());
  endpoint_ = *endpoint;
}

// Whether any thread of the process is more than a zombie: one that waits for the disk keeps the
// sockets open after the first thread has ended.
static bool is_running(pid_t pid) {
  std::error_code gone;
  const std::string tasks = "/proc/" + std::to_string(pid) + "/task";
  for (const auto& task : std::filesystem::directory_iterator(tasks, gone)) {
    std::ifstream file(task.path() / "stat");
    std::string text;
    if (std::getline(file, text) && text.find(") Z") == std::string::npos) return true;
  }
  return false;
}

int DaemonProcess::stop() {
  ::kill(pid_, SIGTERM);
  return wait_for_end();
}

void DaemonProcess::kill_all() {
  const DaemonInfo daemon = info();
  ::kill(pid_, SIGKILL);
  for (const WorkerInfo& worker : daemon.workers) {
    if (worker.pid > 0) ::kill(worker.pid, SIGKILL);
  }
  wait_for_end();
  // Killed is not gone yet: the sockets are closed a little later.
  for (const WorkerInfo& worker : daemon.workers) {
    while (worker.pid > 0 && is_running(worker.pid)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
}

int DaemonProcess::wait_for_end() {
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = 0;
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

DaemonInfo DaemonProcess::info() const {
  setenv("XDG_RUNTIME_DIR", directory_.path().c_str(), 1);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  const Result<DaemonInfo> info = ask_daemon(endpoint_, {"workers"}, deadline);
  if (!info) throw std::runtime_error(info.error().message);
  return *info;
}

std::vector<pid_t> DaemonProcess::worker_pids() const {
  std::vector<pid_t> pids;
  for (const WorkerInfo& worker : info().workers) {
    if (worker.state == "ready") pids.push_back(worker.pid);
  }
  return pids;
}

std::string DaemonProcess::log() const {
  std::ifstream file(directory_ / "log");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace counterd
